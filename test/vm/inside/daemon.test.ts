/**
 * Networks of macvlan and ipvlan on VLANs of a link, whole: daemon, command line tool, names, and the tags on the peer's plain
 * link. One daemon for all, since a program of Node's takes seconds to start here.
 */

import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { NetworkJson, SandboxAnswer } from '../../../src/base/index.ts';
import { Lab } from '../../e2e/lab.ts';
import { expectTagged, heard, peerVlan, plugTrunk } from './trunk.ts';

const LIMIT_MS = 600_000;
const CREATE = ['create', '-d', 'macvlan', '--subnet=10.0.0.0/24', '--ip-range=10.0.0.0/25', '--gateway=10.0.0.1'] as const;
const SAME = { Name: 'mymacvlan', Driver: 'macvlan', Options: { parent: 'eth0.100' } };
const SUBNET = { Subnet: '10.0.0.0/24', IPRange: '10.0.0.0/25', Gateway: '10.0.0.1' };

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open({ flags: ['--bridge', 'none'] });
  await plugTrunk(lab.host, lab.outside);
  await peerVlan(lab.outside, 100, '10.0.0.1/24');
}, LIMIT_MS);
afterAll(() => lab?.close(), LIMIT_MS);

/** One request, which must succeed. */
async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
  const { status, json } = await lab.api<T>(method, path, body);
  if (status >= 400) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(json)}`);
  return json;
}

const network = (body: object): Promise<unknown> => ask('POST', '/networks/create', body);
const sandboxOf = (name: string): Promise<SandboxAnswer> => ask('GET', `/sandboxes/${name}`);

/** A sandbox on one network; answers the path of its namespace. */
async function sandbox(name: string, net: string, settings: object = {}): Promise<string> {
  await ask('POST', '/sandboxes/create', { Name: name, Networks: { [net]: settings } });
  return (await sandboxOf(name)).Netns;
}

async function remove(...names: readonly string[]): Promise<void> {
  for (const name of names) await ask('DELETE', `/sandboxes/${name}?force=true`);
}

const inside = (key: string, command: string, ...args: string[]) => execa('nsenter', [`--net=${key}`, command, ...args]);

/** Whether one of some pings is answered: a neighbour may have to be found first. */
async function reaches(key: string, to: string, tries = 5): Promise<boolean> {
  const words = [`--net=${key}`, 'ping', '-c', String(tries), '-i', '0.3', '-W', '3', to];
  return (await execa('nsenter', words, { reject: false })).exitCode === 0;
}

/** Answer of the embedded resolver; empty when there is none. */
const resolved = async (key: string, name: string): Promise<string> =>
  (await inside(key, 'dig', '+short', '+tries=2', '+time=10', '@127.0.0.11', '-q', name)).stdout;

const outsideKey = (): string => `/run/netns/${lab.outside}`;
const hostKey = (): string => `/run/netns/${lab.host}`;

/** VLANs of the host: name and number. */
async function vlans(): Promise<string[]> {
  const { stdout } = await inside(hostKey(), 'ip', '-j', '-d', 'link', 'show', 'type', 'vlan');
  const links = JSON.parse(stdout || '[]') as { ifname: string; linkinfo: { info_data: { id: number } } }[];
  return links.map((link) => `${link.ifname} ${link.linkinfo.info_data.id}`);
}

async function macOf(key: string, link = 'eth0'): Promise<string> {
  const [found] = JSON.parse((await inside(key, 'ip', '-j', 'link', 'show', link)).stdout) as { address: string }[];
  return found?.address ?? '';
}

test(
  'the usual command on a VLAN: it is made, tagged both ways on the wire, outlives a kill, and goes',
  { timeout: LIMIT_MS },
  async () => {
    expect(await lab.ok(...CREATE, '-o', 'parent=eth0.100', 'mymacvlan')).toMatch(/^[0-9a-f]{64}$/);
    expect(await vlans()).toEqual(['eth0.100 100']);
    expect((await inside(hostKey(), 'ip', 'link', 'show', 'eth0.100')).stdout).toContain('state UP');
    await lab.ok('run', '-d', '--name', 'web', '--network', 'mymacvlan', '--', 'sleep', '3600');
    const shown = await ask<NetworkJson>('GET', '/networks/mymacvlan');
    expect(shown).toMatchObject({ ...SAME, IPAM: { Config: [SUBNET] } });
    // The router has the first address.
    expect(Object.values(shown.Containers ?? {}).map(({ Name, IPv4Address }) => [Name, IPv4Address])).toEqual([
      ['web', '10.0.0.2/24'],
    ]);
    const web = (await sandboxOf('web')).Netns;
    const maria = await sandbox('maria', 'mymacvlan');
    const mac = await macOf(web);
    expect(Object.values(shown.Containers ?? {}).map(({ MacAddress }) => MacAddress)).toEqual([mac]);

    const frames = await heard(lab.outside, async () => expect(await reaches(web, '10.0.0.1')).toBe(true));
    expectTagged(frames, 100, '10.0.0.2', '10.0.0.1');
    expect(frames.some(({ from, text }) => from === mac && text.endsWith('request'))).toBe(true);
    expect(frames.some(({ to, text }) => to === mac && text.endsWith('reply'))).toBe(true);
    expect((await inside(web, 'ip', 'route', 'show', 'default')).stdout).toContain('default via 10.0.0.1 dev eth0');
    expect(await resolved(maria, 'web')).toBe('10.0.0.2');
    expect(await resolved(web, 'maria')).toBe('10.0.0.3');
    expect(await reaches(maria, '10.0.0.2')).toBe(true);

    await lab.stop('SIGKILL');
    expectTagged(
      await heard(lab.outside, async () => expect(await reaches(outsideKey(), '10.0.0.2')).toBe(true)),
      100,
      '10.0.0.1',
      '10.0.0.2',
    );
    await lab.start();
    expect(await resolved(maria, 'web')).toBe('10.0.0.2');
    expect(await reaches(web, '10.0.0.1')).toBe(true);
    const other = { Name: 'other', Driver: 'ipvlan', IPAM: { Config: [{ Subnet: '10.0.1.0/24' }] }, Options: SAME.Options };
    const refused = await lab.api<{ code: string; message: string }>('POST', '/networks/create', other);
    expect([refused.status, refused.json]).toEqual([
      403,
      {
        code: 'parent_in_use',
        message: expect.stringContaining(
          'network mymacvlan is already using parent interface eth0.100, and it is of driver macvlan',
        ),
      },
    ]);
    await remove('maria', 'web');
    await lab.ok('rm', 'mymacvlan');
    expect(await vlans()).toEqual([]);
    expect(await lab.leftovers()).toEqual([]);
  },
);

test('a VLAN made by hand bears the network as well, and stays', { timeout: LIMIT_MS }, async () => {
  await inside(hostKey(), 'ip', 'link', 'add', 'link', 'eth0', 'name', 'eth0.100', 'type', 'vlan', 'id', '100');
  await inside(hostKey(), 'ip', 'link', 'set', 'eth0.100', 'up');
  await network({ ...SAME, IPAM: { Config: [SUBNET] } });
  const web = await sandbox('web', 'mymacvlan', { IPAMConfig: { IPv4Address: '10.0.0.77' } });
  const frames = await heard(lab.outside, async () => expect(await reaches(web, '10.0.0.1')).toBe(true));
  expectTagged(frames, 100, '10.0.0.77', '10.0.0.1');
  await remove('web');
  await ask('DELETE', '/networks/mymacvlan');
  expect(await vlans()).toEqual(['eth0.100 100']);
  await inside(hostKey(), 'ip', 'link', 'del', 'eth0.100');
});

test('ipvlan l2: the wire, names, no MAC of its own, and nobody of another network', { timeout: LIMIT_MS }, async () => {
  await peerVlan(lab.outside, 200, '10.20.0.1/24');
  await peerVlan(lab.outside, 201, '10.21.0.1/24');
  for (const id of [200, 201]) {
    const Config = [{ Subnet: `10.2${id - 200}.0.0/24`, Gateway: `10.2${id - 200}.0.1` }];
    await network({ Name: `l2-${id}`, Driver: 'ipvlan', IPAM: { Config }, Options: { parent: `eth0.${id}` } });
  }
  const [a, b] = [await sandbox('ann', 'l2-200'), await sandbox('ben', 'l2-200')];
  const c = await sandbox('cid', 'l2-201');
  const frames = await heard(lab.outside, async () => {
    expect(await reaches(a, '10.20.0.1')).toBe(true);
    expect(await reaches(c, '10.21.0.1')).toBe(true);
  });
  expectTagged(frames, 200, '10.20.0.2', '10.20.0.1');
  expectTagged(frames, 201, '10.21.0.2', '10.21.0.1');
  expect(await reaches(a, '10.20.0.3')).toBe(true);
  // The peer is no router between them.
  expect(await reaches(a, '10.21.0.2', 2)).toBe(false);
  expect(await reaches(c, '10.20.0.2', 2)).toBe(false);
  expect([await resolved(a, 'ben'), await resolved(b, 'ann'), await resolved(a, 'cid')]).toEqual(['10.20.0.3', '10.20.0.2', '']);

  const parent = await macOf(hostKey(), 'eth0.200');
  expect([await macOf(a), await macOf(b)]).toEqual([parent, parent]);
  const shown = await ask<NetworkJson>('GET', '/networks/l2-200');
  expect(Object.values(shown.Containers ?? {}).map(({ MacAddress }) => MacAddress)).toEqual(['', '']);
  expect(Object.values((await sandboxOf('ann')).Networks).map(({ MacAddress }) => MacAddress)).toEqual(['']);
  const asked = { Container: 'cid', EndpointConfig: { MacAddress: '02:00:00:00:00:07' } };
  const refused = await lab.api<{ code: string; message: string }>('POST', '/networks/l2-200/connect', asked);
  expect([refused.status, refused.json.code, refused.json.message]).toEqual([
    501,
    'driver_lacks',
    expect.stringContaining('ipvlan interfaces do not support custom mac address assignment'),
  ]);
  await remove('ann', 'ben', 'cid');
  for (const id of [200, 201]) await ask('DELETE', `/networks/l2-${id}`);
  expect(await vlans()).toEqual([]);
});

test.each([
  { mode: 'l3', id: 300, net: '10.6' },
  { mode: 'l3s', id: 301, net: '10.7' },
])(
  'ipvlan $mode: routes onto the link, over subnets, from the wire by a route',
  { timeout: LIMIT_MS },
  async ({ mode, id, net }) => {
    const [host, peer] = [`${net}9.0.1`, `${net}9.0.2`];
    await peerVlan(lab.outside, id, `${peer}/24`);
    const l3 = (name: string, parent: string, ...subnets: string[]): Promise<unknown> => {
      const Config = subnets.map((Subnet) => ({ Subnet }));
      return network({ Name: name, Driver: 'ipvlan', IPAM: { Config }, Options: { parent, ipvlan_mode: mode } });
    };
    await l3(mode, `eth0.${id}`, `${net}1.0.0/24`, `${net}2.0.0/24`);
    await l3(`${mode}-other`, `eth0.${id + 10}`, `${net}3.0.0/24`);
    const one = await sandbox(`${mode}-1`, mode, { IPAMConfig: { IPv4Address: `${net}1.0.5` } });
    const two = await sandbox(`${mode}-2`, mode, { IPAMConfig: { IPv4Address: `${net}2.0.7` } });
    await sandbox(`${mode}-3`, `${mode}-other`, { IPAMConfig: { IPv4Address: `${net}3.0.9` } });
    const routes = (await inside(one, 'ip', 'route')).stdout.split('\n').map((line) => line.trim());
    expect(routes.toSorted()).toEqual([
      expect.stringMatching(/^10\.\d1\.0\.0\/24 dev eth0 .*src \S+\.5$/),
      expect.stringMatching(/^default dev eth0 .*scope link$/),
    ]);
    expect(await reaches(one, `${net}2.0.7`)).toBe(true);
    expect(await reaches(two, `${net}1.0.5`)).toBe(true);
    expect([await resolved(one, `${mode}-2`), await resolved(two, `${mode}-1`)]).toEqual([`${net}2.0.7`, `${net}1.0.5`]);
    // Nobody on the way routes between them.
    expect(await reaches(one, `${net}3.0.9`, 2)).toBe(false);
    // The wire needs a route to the subnets, by the host's address on it.
    await inside(hostKey(), 'ip', 'addr', 'add', `${host}/24`, 'dev', `eth0.${id}`);
    await inside(outsideKey(), 'ip', 'route', 'add', `${net}2.0.0/24`, 'via', host);
    const frames = await heard(lab.outside, async () => expect(await reaches(outsideKey(), `${net}2.0.7`)).toBe(true));
    expectTagged(frames, id, peer, `${net}2.0.7`);
    // What l3s adds: the host's packet filter sees what sandboxes get from the wire.
    const rule = ['INPUT', '-d', `${net}2.0.7`, '-p', 'icmp', '-j', 'DROP'];
    await inside(hostKey(), 'iptables', '-I', ...rule);
    expect(await reaches(outsideKey(), `${net}2.0.7`, 2)).toBe(mode === 'l3');
    await inside(hostKey(), 'iptables', '-D', ...rule);
    expect(await reaches(outsideKey(), `${net}2.0.7`)).toBe(true);
    await remove(`${mode}-1`, `${mode}-2`, `${mode}-3`);
    for (const name of [mode, `${mode}-other`]) await ask('DELETE', `/networks/${name}`);
    expect(await vlans()).toEqual([]);
  },
);
