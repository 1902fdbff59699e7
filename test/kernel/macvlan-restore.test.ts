/** Parents that go and come back, losses, restarts, and the host's own place in a network. */

import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/base/index.ts';
import { waitUntil } from '../e2e/lab.ts';
import { House } from './house-lab.ts';
import { ask } from './firewall-lab.ts';
import { LAN, comes, lanHouse, linksIn, onLan, pings, plugIn } from './parent-lab.ts';
import type { TestHost } from './support.ts';

const NAMES = ['a', 'b'] as const;
/** For what is heard to be done, milliseconds. */
const HEARD_MS = 20_000;

/** Two sandboxes on a network, and what is to work. */
async function busy(options: Readonly<Record<string, string>> = {}) {
  const house = await lanHouse();
  const id = await house.network('lan', onLan(options));
  const [a, b] = [await house.sandbox('a', [['lan', {}]]), await house.sandbox('b', [['lan', {}]])];
  const works = async (): Promise<void> => {
    expect(await comes(a, LAN.far)).toBe(true);
    expect(await comes(a, LAN.far6)).toBe(true);
    expect(await comes(b, LAN.router)).toBe(true);
    expect(await ask(a, house.address('b', 'lan'), 80)).toMatch(/^b /);
  };
  await works();
  return { house, id, a, b, works };
}

const degraded = (house: House): string | undefined => house.controller.network('lan').record.degraded;
const linksOf = (places: readonly TestHost[]): Promise<string[][]> => Promise.all(places.map(linksIn));

test('a parent that is deleted degrades the network; with its return endpoints have their MACs, addresses and routes again', async () => {
  const { house, a, b, works } = await busy();
  const before = await house.world();
  const links = await linksOf([a, b]);
  await house.host.exec('ip', ['link', 'del', 'lan0']);
  expect(await linksOf([a, b])).toEqual([[], []]);
  await house.controller.mend();
  expect(degraded(house)).toMatch(/^parent lan0 is not there: the network goes on when it is back/);
  await house.controller.mend();
  await expect(house.controller.createSandbox({ name: 'c', networks: [['lan', {}]] })).rejects.toMatchObject({
    code: 'parent_gone',
  });
  await plugIn(house);
  await house.controller.mend();
  expect(degraded(house)).toBeUndefined();
  expect(await linksOf([a, b])).toEqual(links);
  await works();
  const { records, keeper } = await house.world();
  expect({ records, keeper }).toEqual({ records: before.records, keeper: before.keeper });
});

test('a parent that goes and comes back between two looks, or goes down and up, is no loss', async () => {
  const { house, a, b, works } = await busy();
  const links = await linksOf([a, b]);
  await house.host.exec('ip', ['link', 'set', 'lan0', 'down']);
  await house.controller.mend();
  expect(degraded(house)).toBeUndefined();
  await house.host.exec('ip', ['link', 'set', 'lan0', 'up']);
  await works();
  await house.host.exec('ip', ['link', 'del', 'lan0']);
  await plugIn(house);
  await house.controller.mend();
  expect(await linksOf([a, b])).toEqual(links);
  await works();
});

test('another parent may stand under the name: endpoints and the host move to it', async () => {
  const { house, a, id, works } = await busy({ host_access: 'true' });
  await house.host.exec('ip', ['link', 'set', 'lan0', 'down']);
  await house.host.exec('ip', ['link', 'set', 'lan0', 'name', 'old0']);
  await house.controller.mend();
  expect(degraded(house)).toContain('parent lan0 is not there');
  await house.outside.exec('ip', ['link', 'set', 'slan0', 'name', 'sold0']);
  await plugIn(house);
  // A network that is degraded is tried again after some looks.
  for (let round = 0; round < 6; round++) await house.controller.mend();
  expect(degraded(house)).toBeUndefined();
  const parent = await house.host.host.rtnl().link.get({ name: 'lan0' });
  expect((await a.host.rtnl().link.get({ name: 'eth0' })).parent).toBe(parent.index);
  expect((await house.host.host.rtnl().link.get({ name: `hm-${id.slice(0, 12)}` })).parent).toBe(parent.index);
  expect(await ask(house.host, house.address('a', 'lan'), 80)).toMatch(/^a /);
  await works();
});

test('another parent under the name, between two looks: all move to it, and the wire is told', async () => {
  const { house, a, id, works } = await busy({ host_access: 'true' });
  const stale = '02:00:00:00:00:bb';
  const address = house.address('a', 'lan');
  await house.host.exec('sh', ['-ec', 'ip link set lan0 down; ip link set lan0 name old0']);
  await house.outside.exec('ip', ['link', 'set', 'slan0', 'name', 'sold0']);
  await plugIn(house);
  await house.outside.exec('ip', ['neigh', 'replace', address, 'lladdr', stale, 'nud', 'stale', 'dev', 'switch0']);
  // What is younger than a second is not taken from an announcement (arp(7), locktime).
  await sleep(1100);
  await house.controller.mend();
  const parent = await house.host.host.rtnl().link.get({ name: 'lan0' });
  expect((await a.host.rtnl().link.get({ name: 'eth0' })).parent).toBe(parent.index);
  expect((await house.host.host.rtnl().link.get({ name: `hm-${id.slice(0, 12)}` })).parent).toBe(parent.index);
  // Before anybody has sent a packet.
  const { stdout } = await house.outside.exec('ip', ['neigh', 'show', address]);
  expect(stdout).toContain(house.controller.sandbox('a').endpoints()[0]?.record.mac);
  await works();
});

test('a parent may be given by another name that it has, and nothing is mended for that', async () => {
  const house = await lanHouse();
  await house.host.exec('ip', ['link', 'property', 'add', 'dev', 'lan0', 'altname', 'mylan']);
  await house.network('lan', onLan({ parent: 'mylan', host_access: 'true' }));
  const a = await house.sandbox('a', [['lan', {}]]);
  expect(await comes(a, LAN.far)).toBe(true);
  const said: string[] = [];
  const log = { ...silentLogger, warn: (_about: unknown, text: string) => void said.push(text) };
  await house.start({ parts: (parts) => ({ ...parts, env: { ...parts.env, log } }) });
  for (let i = 0; i < 7; i++) await house.controller.mend();
  expect(said).toEqual([]);
  expect(degraded(house)).toBeUndefined();
});

test('options that are not taken any more are a problem of their network alone, which can still be deleted', async () => {
  const house = await lanHouse();
  const id = await house.network('lan', onLan({ host_access: 'true' }));
  await house.network('other', onLan({}, { enableIPv6: false, ipam: { config: [{ subnet: '10.31.0.0/24' }] } }));
  await house.sandbox('a', [['lan', {}]]);
  const b = await house.sandbox('b', [['other', {}]]);
  await house.controller.close();
  const key = `network/${id}`;
  const value = (await house.store.list('network/')).entries.find((one) => one.key === key)?.value as { options: object };
  await house.store.commit({ put: [{ key, value: { ...value, options: { ...value.options, macvlan_mode: 'swirl' } } }] });
  await house.start();
  for (let round = 0; round < 2; round++) {
    expect(degraded(house)).toContain("requested macvlan mode 'swirl' is not valid");
    expect(house.controller.network('other').record.degraded).toBeUndefined();
    await b.exec('ip', ['link', 'del', 'eth0']);
    await house.controller.mend();
    expect((await linksIn(b))[0]).toContain('eth0 macvlan');
  }
  for (const name of ['a', 'b']) await house.controller.deleteSandbox(name, true);
  for (const name of ['lan', 'other']) await house.controller.deleteNetwork(name);
  expect((await linksIn(house.host)).filter((line) => line.includes('macvlan'))).toEqual([]);
});

describe('what somebody took away inside a sandbox is back after the next look', () => {
  test.each([
    ['the link', 'ip link del eth0'],
    ['its addresses', 'ip addr flush dev eth0 scope global'],
    ['the default routes', 'ip route del default; ip -6 route del default'],
  ])('%s', async (_what, command) => {
    const { house, a, works } = await busy();
    const links = await linksIn(a);
    await a.exec('sh', ['-ec', command]);
    await house.controller.mend();
    expect(await linksIn(a)).toEqual(links);
    await works();
  });

  test('but a link of somebody else under the name stays, and the network says so', async () => {
    const { house, a } = await busy();
    await a.exec('sh', ['-ec', 'ip link del eth0; ip link add eth0 type bridge']);
    await house.controller.mend();
    expect(degraded(house)).toBe('endpoint a: another link is called eth0 in its sandbox: rename or remove that one');
    expect((await linksIn(a))[0]).toContain('eth0 bridge');
    await house.controller.deleteSandbox('a', true);
  });
});

test('a parent that goes or comes back is heard, and not only seen by the next look', async () => {
  const house = await lanHouse();
  // Without news nobody would look within the hour.
  await house.start({ parts: (parts) => ({ ...parts, mendEveryMs: 3_600_000 }) });
  await house.network('lan', onLan());
  await house.network('net');
  const a = await house.sandbox('a', [
    ['lan', {}],
    ['net', {}],
  ]);
  const links = await linksIn(a);
  await house.host.exec('ip', ['link', 'del', 'lan0']);
  await waitUntil(() => degraded(house) !== undefined, HEARD_MS);
  await plugIn(house);
  await waitUntil(() => degraded(house) === undefined, HEARD_MS);
  expect(await comes(a, LAN.router)).toBe(true);
  // A bridge as well.
  const bridge = `br-${house.controller.network('net').id.slice(0, 12)}`;
  const has = async (): Promise<boolean> => (await house.host.host.rtnl().link.find({ name: bridge }))?.up === true;
  await house.host.exec('ip', ['link', 'del', bridge]);
  await waitUntil(has, HEARD_MS);
  await waitUntil(async () => (await linksIn(a)).length === links.length, HEARD_MS);
  await house.controller.close();
});

test('a look that finds all as it was changes nothing', async () => {
  const { house } = await busy({ host_access: 'true' });
  const before = await house.world();
  for (let i = 0; i < 14; i++) await house.controller.mend();
  expect(await house.world()).toEqual(before);
});

test('a restart changes nothing, and makes what is missing', async () => {
  const { house, a, works } = await busy({ host_access: 'true' });
  const before = await house.world();
  await house.start();
  expect(await house.world()).toEqual(before);
  await works();
  const links = await linksIn(a);
  await a.exec('ip', ['link', 'del', 'eth0']);
  await house.start();
  expect(await linksIn(a)).toEqual(links);
  await works();
  await house.host.exec('ip', ['link', 'del', 'lan0']);
  await house.start();
  expect(degraded(house)).toContain('parent lan0 is not there');
  for (const name of NAMES) await house.controller.deleteSandbox(name, true);
  await house.controller.deleteNetwork('lan');
});

test('a link that its sandbox has renamed is the endpoint’s all the same, and goes with it', async () => {
  const { house, a } = await busy();
  await a.exec('sh', ['-ec', 'ip link set eth0 down; ip link set eth0 name lan7; ip link set lan7 up']);
  const links = await linksIn(a);
  await house.start();
  expect(degraded(house)).toBeUndefined();
  expect(await linksIn(a)).toEqual(links);
  await house.controller.disconnect('lan', 'a', false);
  expect(await linksIn(a)).toEqual([]);
});

test('a link that a kill left without its final name goes with its endpoint, and is no endpoint’s at a start', async () => {
  const { house, a, works } = await busy();
  const links = await linksIn(a);
  const half = `half${house.controller.sandbox('a').endpoints()[0]?.id.slice(0, 11)}`;
  const halve = (): Promise<unknown> =>
    a.exec('sh', ['-ec', `ip link set eth0 down; ip addr flush dev eth0; ip link set eth0 name ${half}`]);
  await halve();
  expect((await linksIn(a))[0]).toContain(half);
  await house.start();
  expect(await linksIn(a)).toEqual(links);
  await works();
  await halve();
  await house.controller.disconnect('lan', 'a', false);
  expect(await linksIn(a)).toEqual([]);
});

test('a join that fails takes no link of another endpoint with it, not even one of the same MAC', async () => {
  const { house, a } = await busy();
  const mac = house.controller.sandbox('a').endpoints()[0]?.record.mac ?? '';
  await house.network('other', onLan({}, { enableIPv6: false, ipam: { config: [{ subnet: '10.31.0.0/24' }] } }));
  const links = await linksIn(a);
  await expect(house.controller.connect('other', 'a', { mac })).rejects.toMatchObject({ code: 'address_in_use' });
  expect(await linksIn(a)).toEqual(links);
  // What somebody inside has called by the name that is next stays, too.
  await a.exec('ip', ['link', 'add', 'eth1', 'type', 'bridge']);
  const withTheirs = await linksIn(a);
  expect(withTheirs.filter((line) => line.startsWith('eth1'))).toHaveLength(1);
  await expect(house.controller.connect('other', 'a', { mac })).rejects.toMatchObject({ code: 'address_in_use' });
  expect(await linksIn(a)).toEqual(withTheirs);
});

describe('host_access', () => {
  const shimOf = async (house: House, id: string): Promise<string> =>
    (await house.host.exec('sh', ['-c', `ip -o addr show dev hm-${id.slice(0, 12)} scope global`])).stdout
      .split('\n')
      .map((line) => /inet6? (\S+)/.exec(line)?.[1] ?? '')
      .sort()
      .join(' ');

  test('host and sandboxes reach each other by an address of the network, which is leased', async () => {
    const { house, id, a, works } = await busy({ host_access: 'true' });
    // The first of each subnet: it is leased before those of endpoints.
    expect(await shimOf(house, id)).toBe('10.30.0.1/32 fd30::1/128');
    expect(house.address('a', 'lan')).not.toBe('10.30.0.1');
    expect(await ask(house.host, house.address('a', 'lan'), 80)).toBe('a 10.30.0.1');
    expect(await ask(house.host, house.address('b', 'lan', 6), 80)).toBe('b fd30::1');
    expect(await comes(a, '10.30.0.1')).toBe(true);
    expect(await comes(a, 'fd30::1')).toBe(true);
    await works();
    const route = `${house.address('a', 'lan')} dev hm-${id.slice(0, 12)}`;
    const routes = async (): Promise<string> => (await house.host.exec('ip', ['route'])).stdout;
    expect(await routes()).toContain(route);
    await house.controller.disconnect('lan', 'a', false);
    expect(await routes()).not.toContain(route);
    await house.controller.deleteSandbox('a', true);
    await house.controller.deleteSandbox('b', true);
    await house.controller.deleteNetwork('lan');
    expect((await linksIn(house.host)).filter((line) => line.includes('macvlan'))).toEqual([]);
  });

  test('an address that is given is the one', async () => {
    const house = await lanHouse();
    const config = [{ subnet: LAN.v4, range: '10.30.0.128/26', gateway: LAN.router, aux: { host: '10.30.0.200' } }];
    const id = await house.network('lan', onLan({ host_access: 'true' }, { enableIPv6: false, ipam: { config } }));
    expect(await shimOf(house, id)).toBe('10.30.0.200/32');
    await house.sandbox('a', [['lan', {}]]);
    expect(await ask(house.host, house.address('a', 'lan'), 80)).toBe('a 10.30.0.200');
  });

  test.each([
    ['the link', 'ip link del SHIM'],
    ['its being up', 'ip link set SHIM down'],
    ['its addresses', 'ip addr flush dev SHIM'],
    ['a route', 'ip route flush dev SHIM'],
    ['the parent, which is plugged in again', 'ip link del lan0'],
  ])('%s is back after the next look, and after a restart', async (what, command) => {
    const { house, id, works } = await busy({ host_access: 'true' });
    const reached = async (): Promise<void> => {
      expect(await ask(house.host, house.address('a', 'lan'), 80)).toMatch(/^a /);
      expect(await ask(house.host, house.address('b', 'lan', 6), 80)).toMatch(/^b /);
    };
    await reached();
    for (const again of [() => house.controller.mend(), () => house.start()]) {
      await house.host.exec('sh', ['-ec', command.replace('SHIM', `hm-${id.slice(0, 12)}`)]);
      if (what.startsWith('the parent')) await plugIn(house);
      await again();
      expect(degraded(house)).toBeUndefined();
      await works();
      await reached();
    }
  });

  test('a route of somebody else to an endpoint stays, and the network says so', async () => {
    const { house } = await busy({ host_access: 'true' });
    const to = house.address('a', 'lan');
    await house.controller.disconnect('lan', 'a', false);
    await house.host.exec('ip', ['route', 'add', to, 'dev', 'wire0']);
    await expect(house.controller.connect('lan', 'a', { ipv4: to })).rejects.toMatchObject({ code: 'address_in_use' });
    expect((await house.host.exec('ip', ['route', 'show', to])).stdout).toContain('wire0');
    expect(await linksIn(house.inside('a'))).toEqual([]);
    await house.host.exec('ip', ['route', 'del', to, 'dev', 'wire0']);
    await house.controller.connect('lan', 'a', { ipv4: to });
    expect(await pings(house.host, to)).toBe(true);
  });
});
