/**
 * A real engine runs its containers on VLANs of a link, by our plugins. One engine, the newest, and one daemon for all; what can be
 * asked without the engine's client is, since that takes seconds to start here.
 */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineLab } from '../../engine/lab.ts';
import { expectTagged, heard, peerVlan, plugTrunk } from './trunk.ts';

const LIMIT_MS = 600_000;

let lab: EngineLab;
beforeAll(async () => {
  lab = await EngineLab.open('newest');
  await plugTrunk(lab.host, lab.outside);
}, LIMIT_MS);
afterAll(() => lab?.close(), LIMIT_MS);

const create = (driver: 'macvlan' | 'ipvlan', name: string, ...options: readonly string[]): Promise<string> =>
  lab.ok('network', 'create', '-d', `patchbay-${driver}`, ...options, name);
const run = (name: string, net: string, ...args: readonly string[]): Promise<string> =>
  lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', name, '--network', net, ...args, 'bb:1', 'sleep', '3600');

/** A container as its engine shows it. */
interface Shown {
  /** Path of its namespace. */
  readonly key: string;
  readonly address: string;
}

async function shown<N extends string>(...names: readonly N[]): Promise<Record<N, Shown>> {
  const all = JSON.parse(await lab.ok('inspect', ...names)) as {
    Name: string;
    NetworkSettings: { SandboxKey: string; Networks: Record<string, { IPAddress: string }> };
  }[];
  const entries = all.map(({ Name, NetworkSettings: { SandboxKey, Networks } }) => {
    return [Name.slice(1), { key: SandboxKey, address: Object.values(Networks)[0]?.IPAddress ?? '' }];
  });
  return Object.fromEntries(entries) as Record<N, Shown>;
}

const inside = ({ key }: Shown, ...words: readonly string[]): Promise<string> => lab.on('nsenter', `--net=${key}`, ...words);

const reaches = ({ key }: Shown, to: string, tries = 5): Promise<boolean> =>
  lab.on('nsenter', `--net=${key}`, 'ping', '-c', String(tries), '-i', '0.3', '-W', '3', to).then(
    () => true,
    () => false,
  );

/** By the name that the engine gives. */
const resolves = async (name: string, to: string): Promise<boolean> =>
  (await lab.docker('exec', name, 'ping', '-c', '3', '-W', '3', to)).code === 0;

/** VLANs of the machine and links on them. */
async function links(): Promise<string[]> {
  const all = JSON.parse(await lab.on('ip', '-j', '-d', 'link')) as { ifname: string; linkinfo?: { info_kind?: string } }[];
  return all.flatMap(({ ifname, linkinfo }) =>
    ['vlan', 'macvlan', 'ipvlan'].includes(linkinfo?.info_kind ?? '') ? [`${ifname} ${linkinfo?.info_kind}`] : [],
  );
}

test('macvlan on a VLAN: made, tagged both ways, names, and gone with its network', { timeout: LIMIT_MS }, async () => {
  await peerVlan(lab.outside, 100, '10.0.0.1/24');
  const range = ['--subnet=10.0.0.0/24', '--ip-range=10.0.0.0/25', '--gateway=10.0.0.1'];
  await create('macvlan', 'mymacvlan', ...range, '-o', 'parent=eth0.100');
  expect(await links()).toEqual(['eth0.100 vlan']);
  await run('one', 'mymacvlan');
  await run('two', 'mymacvlan', '--ip', '10.0.0.77');
  const { one, two } = await shown('one', 'two');
  expect([one.address, two.address]).toEqual([expect.stringMatching(/^10\.0\.0\.(?:\d\d?|1[01]\d|12[0-7])$/), '10.0.0.77']);
  const frames = await heard(lab.outside, async () => expect(await reaches(one, '10.0.0.1')).toBe(true));
  expectTagged(frames, 100, one.address, '10.0.0.1');
  expect(await inside(one, 'ip', 'route')).toContain('default via 10.0.0.1 dev eth0');
  expect(await resolves('one', 'two')).toBe(true);
  const other = ['-d', 'patchbay-ipvlan', '--subnet=10.0.1.0/24', '-o', 'parent=eth0.100', 'other'];
  expect((await lab.docker('network', 'create', ...other)).stderr).toContain(
    'is already using parent interface eth0.100, and it is of driver macvlan',
  );
  await lab.engine.clear();
  expect(await links()).toEqual([]);
});

test('ipvlan l2 and l3 on VLANs: the wire, names, routes, and no MAC that somebody gives', { timeout: LIMIT_MS }, async () => {
  await peerVlan(lab.outside, 200, '10.20.0.1/24');
  await peerVlan(lab.outside, 300, '10.99.0.2/24');
  await create('ipvlan', 'l2', '--subnet=10.20.0.0/24', '--gateway=10.20.0.1', '-o', 'parent=eth0.200');
  const subnets = ['--subnet=10.61.0.0/24', '--subnet=10.62.0.0/24'];
  await create('ipvlan', 'l3', ...subnets, '-o', 'ipvlan_mode=l3', '-o', 'parent=eth0.300');
  await run('ann', 'l2');
  await run('cid', 'l3', '--ip', '10.61.0.5');
  await run('dan', 'l3', '--ip', '10.62.0.7');
  const { ann, cid, dan } = await shown('ann', 'cid', 'dan');
  const frames = await heard(lab.outside, async () => expect(await reaches(ann, '10.20.0.1')).toBe(true));
  expectTagged(frames, 200, ann.address, '10.20.0.1');
  expect(await reaches(ann, cid.address, 2)).toBe(false);
  const given = await lab.docker('run', '--rm', '--network', 'l2', '--mac-address', '02:00:00:00:00:07', 'bb:1', 'true');
  expect(given.stderr).toContain('ipvlan interfaces do not support custom mac address assignment');

  expect(await inside(cid, 'ip', 'route')).toMatch(/^default dev eth0\b/m);
  expect(await reaches(dan, '10.61.0.5')).toBe(true);
  expect(await resolves('cid', 'dan')).toBe(true);
  await lab.on('ip', 'addr', 'add', '10.99.0.1/24', 'dev', 'eth0.300');
  await lab.out('ip', 'route', 'add', '10.62.0.0/24', 'via', '10.99.0.1');
  const routed = await heard(lab.outside, () => lab.out('ping', '-c', '5', '-W', '3', '10.62.0.7'));
  expectTagged(routed, 300, '10.99.0.2', '10.62.0.7');
  await lab.engine.clear();
  expect(await links()).toEqual([]);
});
