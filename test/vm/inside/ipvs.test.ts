/** Balancing by IPVS on Debian's kernel: as by rules alone, and what the kernel's own list says. */

import { expect, test } from 'vitest';
import { type BalancerKind, createBalancer } from '../../../src/balance/index.ts';
import { changeIpvs, readIpvs, readIpvsTimeout, readSysctl, requireIpvs } from '../../../src/kernel/index.ts';
import { balanceCases, tableOf } from '../../kernel/balance-cases.ts';
import { balanceLab, MANY, serviceOf, Talk, VIP, VIP6 } from '../../kernel/balance-lab.ts';
import { ask, markOf } from '../../kernel/firewall-lab.ts';
import { eventually } from '../../kernel/keeper-lab.ts';
import type { TestHost } from '../../kernel/support.ts';

const LIMIT_MS = 120_000;

await requireIpvs();
balanceCases({ kind: 'ipvs', total: 90, busy: 90, timeout: LIMIT_MS, isEmulated: true });

const balancerOf = (kind: BalancerKind) => createBalancer(markOf('0123abcd'), kind);
const balancer = balancerOf('ipvs');
/** The kernel's own list: destinations in hex, their weights, and connections that they have. */
const listed = async (at: TestHost): Promise<string[]> => {
  const { stdout } = await at.exec('cat', ['/proc/net/ip_vs']);
  return [...stdout.matchAll(/-> (\S+)\s+Masq\s+(\d+)/g)].map(([, to, weight]) => `${to} ${weight}`).toSorted();
};
const settings = ({ host }: TestHost): unknown[] => [
  readSysctl(host, 'net.ipv4.vs.conntrack'),
  readSysctl(host, 'net.ipv4.vs.expire_nodest_conn'),
  readIpvsTimeout(host),
];

test('destinations are those of IPVS, a drained one has no weight, and all goes with the last service', async () => {
  const lab = await balanceLab(2);
  const { host } = lab.client;
  await lab.client.exec('sysctl', ['-qw', 'net.ipv4.vs.expire_nodest_conn=1']);
  const before = settings(lab.client);
  await balancer.apply(host, [serviceOf([1], [2])]);
  expect(await listed(lab.client)).toEqual([
    '0A05000B:0000 1',
    '0A05000C:0000 0',
    '[fd05:0000:0000:0000:0000:0000:0000:0011]:0000 1',
    '[fd05:0000:0000:0000:0000:0000:0000:0012]:0000 0',
  ]);
  expect(settings(lab.client)).toEqual(['1', '1', 432_000]);
  await balancer.apply(host, [serviceOf([2])]);
  expect((await listed(lab.client))[0]).toBe('0A05000C:0000 1');
  await balancer.apply(host, []);
  expect(await listed(lab.client)).toEqual([]);
  expect(settings(lab.client)).toEqual(before);
  expect((await lab.client.exec('nft', ['list', 'ruleset'])).stdout).toBe('');
});

test('what others took out of IPVS is put back, and what is theirs stays', async () => {
  const lab = await balanceLab(2);
  const { host } = lab.client;
  const theirs = { family: 4, mark: 7 } as const;
  await changeIpvs(host, [{ op: 'service.add', service: theirs }]);
  await balancer.apply(host, [serviceOf([1, 2])]);
  const services = readIpvs(host).filter(({ mark }) => mark !== theirs.mark);
  expect(services).toHaveLength(2);
  await changeIpvs(
    host,
    services.map((service) => ({ op: 'service.remove', service })),
  );
  await balancer.apply(host, [serviceOf([1, 2])]);
  expect(new Set([await ask(lab.client, VIP, 80), await ask(lab.client, VIP, 80)]).size).toBe(2);
  expect(await listed(lab.client)).toHaveLength(4);
  await balancer.clear(host);
  expect(readIpvs(host)).toEqual([{ ...theirs, destinations: new Map() }]);
});

test.each([
  ['the rules are not there yet', 'flush ruleset'],
  ['a service has gone already', undefined],
])('a daemon that is killed half-way leaves nothing that the next one does not take: %s', async (_when, command) => {
  const lab = await balanceLab(1);
  const { host } = lab.client;
  const before = settings(lab.client);
  await balancer.apply(host, [serviceOf([1])]);
  if (command === undefined)
    await changeIpvs(
      host,
      readIpvs(host)
        .slice(1)
        .map((service) => ({ op: 'service.remove', service })),
    );
  else await lab.client.exec('nft', command.split(' '));
  await balancerOf('ipvs').clear(host);
  expect([settings(lab.client), readIpvs(host)]).toEqual([before, []]);
  expect((await lab.client.exec('nft', ['list', 'ruleset'])).stdout).toBe('');
});

test.each([
  ['nft', 'ipvs'],
  ['ipvs', 'nft'],
] as const)('a start with another balancer takes over: %s, then %s', async (first, second) => {
  const lab = await balanceLab(1);
  const { host } = lab.client;
  await balancerOf(first).apply(host, [serviceOf([1])]);
  await balancerOf(second).apply(host, [serviceOf([1])]);
  for (const vip of [VIP, VIP6]) expect(await ask(lab.client, vip, 80)).toMatch(/^m1 /);
  const rules = (await lab.client.exec('nft', ['list', 'ruleset'])).stdout;
  expect([rules.includes(tableOf(first)), rules.includes(tableOf(second))]).toEqual([false, true]);
  expect(readIpvs(host)).toHaveLength(second === 'ipvs' ? 2 : 0);
});

test('ports of clients that come again are no hindrance', { timeout: LIMIT_MS }, async () => {
  const lab = await balanceLab(2);
  await lab.client.exec('sysctl', ['-qw', 'net.ipv4.ip_local_port_range=40000 40030', 'net.ipv4.tcp_tw_reuse=1']);
  await balancer.apply(lab.client.host, [serviceOf([1, 2])]);
  for (let round = 0; round < 2; round++) {
    const { stdout } = await lab.client.exec('node', ['-e', MANY, VIP, '80', '24']);
    expect(JSON.parse(stdout)).toEqual({ 'm1 10.5.0.2': 12, 'm2 10.5.0.2': 12 });
  }
});

test('a connection outlives the rules, when these are gone and come again', async () => {
  const lab = await balanceLab(1);
  await balancer.apply(lab.client.host, [serviceOf([1])]);
  const talk = await Talk.open(lab.client, VIP);
  await lab.client.exec('nft', ['flush', 'ruleset']);
  expect(await eventually(() => talk.say(), 'an answer')).toBe('m1 10.5.0.2');
  await balancer.apply(lab.client.host, [serviceOf([1])]);
  expect(await talk.say()).toBe('m1 10.5.0.2');
});
