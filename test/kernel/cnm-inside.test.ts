/** What somebody inside a sandbox takes away of ours is back after the next look; what he adds is his. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { shortId } from '../../src/base/index.ts';
import { waitUntil } from '../e2e/lab.ts';
import { ask } from './firewall-lab.ts';
import { House, WIRE, type World } from './house-lab.ts';
import { afterTest } from './keeper-lab.ts';

/** Longest wait for a process inside, milliseconds. */
const LIMIT_MS = 20_000;
const PORTS = { '80/tcp': [{ HostIp: '', HostPort: '8080' }] };

async function furnished() {
  const house = await House.open();
  await house.network('net', { enableIPv6: true });
  const web = await house.sandbox('web', [['net', {}]], { portBindings: PORTS });
  const client = await house.sandbox('client', [['net', {}]]);
  const sh = async (script: string): Promise<string> => (await web.exec('sh', ['-ec', script])).stdout;
  const works = async (): Promise<void> => {
    for (const family of [4, 6] as const) expect(await ask(client, house.address('web', 'net', family), 80)).toMatch(/^web /);
    for (const address of [WIRE.host, WIRE.host6]) expect(await ask(house.outside, address, 8080)).toMatch(/^web /);
    expect(await sh('dig +short +tries=1 +time=5 @127.0.0.11 client')).toBe(house.address('client', 'net'));
  };
  await works();
  await house.controller.mend();
  return { house, sh, works };
}

/** Links made anew have new ids, and the host's connection of a test its own neighbours. */
const told = ({ kernel, rules, files, keeper, records }: World) => ({
  kernel: Object.fromEntries(Object.entries(kernel).map(([place, tables]) => [place, { ...tables, neighbours: [] }])),
  rules,
  files,
  keeper,
  records,
});

/** Starts anew; from then on what is said at warn and error, without its fields. */
async function overheard(house: House): Promise<string[]> {
  const said: string[] = [];
  const tell = (_fields: unknown, message: string): void => void said.push(message);
  const log = { debug: () => {}, info: () => {}, warn: tell, error: tell };
  await house.start({ foundation: (parts) => ({ ...parts, env: { ...parts.env, log } }) });
  return said;
}

describe('back after the next look', () => {
  test.each([
    ['its addresses, and with them its routes', 'ip addr flush dev eth0'],
    ['one address', 'ip -4 addr flush dev eth0'],
    ['its default routes', 'ip route del default; ip -6 route del default'],
    ['its being up', 'ip link set eth0 down'],
    ['its link', 'ip link del eth0'],
    ['the being up of its loopback device', 'ip link set lo down'],
    ['the address of its loopback device', 'ip -4 addr flush dev lo'],
    ['all rules', 'nft flush ruleset'],
    ['the rules of the redirect, its table stays', 'nft flush table ip $(nft list tables | grep -o "patchbay-.*")'],
    ['one chain of the redirect', 'nft flush chain ip $(nft list tables | grep -o "patchbay-.*") questions'],
  ])('%s', async (_what, script) => {
    const { house, sh, works } = await furnished();
    const before = told(await house.world());
    await sh(script);
    await house.controller.mend();
    await works();
    expect(told(await house.world())).toEqual(before);
    expect(house.controller.network('net').record.degraded).toBeUndefined();
  });

  test.each(['hosts', 'resolv.conf', 'hostname', ''])('the file %s', async (name) => {
    const { house, works } = await furnished();
    const before = told(await house.world());
    const folder = join(house.runDir, 'sandboxes', shortId(house.controller.sandbox('web').id));
    rmSync(join(folder, name), { recursive: true });
    await house.controller.mend();
    await works();
    expect(told(await house.world())).toEqual(before);
  });
});

test('what cannot be put back inside is told once, and is back in the first look that can', async () => {
  const { house, sh, works } = await furnished();
  const told = await overheard(house);
  // IPv6 takes no smaller MTU (RFC 8200 section 5), and no address on such a link.
  await sh('ip link set eth0 mtu 1000');
  for (let round = 0; round < 12; round++) await house.controller.mend();
  expect(told).toEqual(['a network is degraded']);
  expect(house.controller.network('net').record.degraded).toContain('endpoint ');
  await sh('ip link set eth0 mtu 1500');
  await house.controller.mend();
  expect(told).toEqual(['a network is degraded', 'a network was not as left: it is mended']);
  expect(house.controller.network('net').record.degraded).toBeUndefined();
  await works();
});

test('what somebody inside added, or put in the place of ours, stays', async () => {
  const { house, sh } = await furnished();
  const gateway = house.address('client', 'net');
  await sh(`ip addr add 192.0.2.77/32 dev eth0; ip addr add 10.99.0.1/24 dev lo; ip route add 192.0.2.0/25 dev eth0
    ip route replace default via ${gateway}; ip route add 198.18.0.0/15 via ${gateway}
    ip link add extra0 type veth peer name extra1
    nft add table ip theirs; nft add chain ip theirs out '{ type filter hook output priority 0; }'; nft add rule ip theirs out accept`);
  const before = told(await house.world());
  for (let round = 0; round < 3; round++) await house.controller.mend();
  expect(told(await house.world())).toEqual(before);
  await sh('ip addr del $(ip -o -4 addr show dev eth0 primary | grep -o "[0-9.]*/[0-9]*" | head -n 1) dev eth0');
  await house.controller.mend();
  const { kernel } = await house.world();
  const held = kernel[house.inside('web').path]?.['addresses']?.join() ?? '';
  for (const address of ['192.0.2.77', house.address('web', 'net')]) expect(held).toContain(`"local":"${address}"`);
});

test('IPv6 that a sandbox switches off stays off, is no loss, and keeps it from no change', async () => {
  const { house, sh } = await furnished();
  await house.network('other', { enableIPv6: true });
  await house.controller.connect('other', 'web', {});
  await sh('sysctl -qw net.ipv6.conf.all.disable_ipv6=1');
  const told = await overheard(house);
  for (let round = 0; round < 3; round++) await house.controller.mend();
  expect(told).toEqual([]);
  expect(house.controller.network('net').record.degraded).toBeUndefined();
  expect(await sh('cat /proc/sys/net/ipv6/conf/eth?/disable_ipv6')).toBe('1\n1');
  const gateway = async (): Promise<string> => (await sh('ip route show default')).split(' ')[2] ?? '';
  const before = await gateway();
  await house.controller.disconnect('net', 'web', false);
  expect(await gateway()).not.toBe(before);
  await house.controller.connect('net', 'web', {});
  expect(await gateway()).toBe(before);
  // The interface that was made anew has IPv6 as any other.
  expect(await sh('cat /proc/sys/net/ipv6/conf/eth?/disable_ipv6')).toBe('0\n1');
  // With something else to put back, which is.
  await sh('ip -4 addr flush dev eth1');
  await house.controller.mend();
  expect(await sh('ip -4 addr show dev eth1')).toContain(house.address('web', 'other'));
});

test('a sandbox with thousands of routes of its own is looked at and mended like another', async () => {
  const { house, sh } = await furnished();
  await sh(`i=0; while [ $i -lt 20000 ]; do echo "route add 203.0.$((i / 256 % 128)).$((i % 256))/32 dev eth0 table $((1000 + i / 32768))"
    i=$((i + 1)); done > ${house.runDir}/many; ip -force -batch ${house.runDir}/many; rm ${house.runDir}/many`);
  expect(Number(await sh('ip route show table 1000 | wc -l'))).toBeGreaterThan(10_000);
  await sh('ip route del default');
  await house.controller.mend();
  expect(await sh('ip route show default')).toContain('via');
});

test('a process inside that owns the table of our resolver is told of once, and so is its end, after which names resolve again', async () => {
  const { house, sh, works } = await furnished();
  let told = await overheard(house);
  const table = await sh('nft list tables | grep -o "patchbay-.*"');
  const owner = spawn('nsenter', [`--net=${house.inside('web').path}`, 'nft', '-i'], { stdio: ['pipe', 'ignore', 'ignore'] });
  afterTest(() => void owner.kill('SIGKILL'));
  owner.stdin.write(`delete table ip ${table}; add table ip ${table} { flags owner; }\n`);
  await waitUntil(async () => (await sh('nft list ruleset')).includes('flags owner'), LIMIT_MS);
  for (let round = 0; round < 3; round++) await house.controller.mend();
  expect(told).toEqual([expect.stringContaining('owns the table of our resolver')]);
  told.length = 0;
  // With something else to put back, which is.
  await sh('ip route del default');
  await house.controller.mend();
  expect(await sh('ip route show default')).toContain('via');
  expect(told).toEqual([expect.stringContaining('a sandbox has lost something inside')]);
  // A start passes it over as well.
  told = await overheard(house);
  await house.controller.mend();
  expect(told).toEqual([expect.stringContaining('owns the table of our resolver')]);
  told.length = 0;
  const ended = once(owner, 'exit');
  owner.kill('SIGKILL');
  await ended;
  await waitUntil(async () => !(await sh('nft list tables')).includes(table), LIMIT_MS);
  for (let round = 0; round < 3; round++) await house.controller.mend();
  expect(told).toEqual([
    expect.stringContaining('nobody in a sandbox owns the table'),
    expect.stringContaining('a sandbox has lost something inside'),
  ]);
  await works();
});
