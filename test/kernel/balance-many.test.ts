/** Services with more members than one message has room for, by rules of nf_tables. */

import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { type Address, parseAddress } from '../../src/base/index.ts';
import { type BalancedMember, createBalancer, TableMemory } from '../../src/balance/index.ts';
import { nftGeneration, openTcpListener } from '../../src/kernel/index.ts';
import { balanceLab, MANY, serviceOf, Talk, VIP, VIP6 } from './balance-lab.ts';
import { ask, markOf } from './firewall-lab.ts';
import { afterTest } from './keeper-lab.ts';
import type { TestHost } from './support.ts';

const COUNT = 5000;
const PORT = 81;

const memberAt = (number: number): BalancedMember => ({
  addresses: [`10.6.${number >> 8}.${number & 255}`, `fd06::${number.toString(16)}`].map(parseAddress),
  state: 'serving',
});
const membersUpTo = (count: number): BalancedMember[] => Array.from({ length: count }, (_, i) => memberAt(i + 1));

/** Says which of the place's addresses was asked. */
function serveOwnAddress(at: TestHost): void {
  const fd = at.host.run(() => openTcpListener({ address: parseAddress('::'), port: PORT, v6Only: false }));
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end(socket.localAddress ?? '');
  });
  server.listen({ fd });
  afterTest(() => void server.close());
}

test(`${COUNT} members of one service all have their turn`, { timeout: 90_000 }, async () => {
  const lab = await balanceLab(1);
  const { host } = lab.client;
  const balancer = createBalancer(markOf('0123abcd'));
  // One place is all of them.
  await lab.member(1).exec('sh', ['-ec', 'ip route add local 10.6.0.0/16 dev lo; ip -6 route add local fd06::/64 dev lo']);
  await lab.client.exec('sh', ['-ec', 'ip route add 10.6.0.0/16 via 10.5.0.11; ip -6 route add fd06::/64 via fd05::11']);
  serveOwnAddress(lab.member(1));
  const memory = new TableMemory();
  await balancer.apply(host, [serviceOf([], [], { members: membersUpTo(COUNT) })], memory);
  for (const vip of [VIP, VIP6]) {
    const { stdout } = await lab.client.exec('node', ['-e', MANY, vip, String(PORT), String(COUNT)]);
    const counts = new Map(Object.entries(JSON.parse(stdout) as Record<string, number>));
    expect(counts.size).toBe(COUNT);
    expect(new Set(counts.values())).toEqual(new Set([1]));
  }
  // Nobody finds anything to change, and one more is one change.
  const before = nftGeneration(host) ?? 0;
  await balancer.apply(host, [serviceOf([], [], { members: membersUpTo(COUNT) })]);
  expect(nftGeneration(host)).toBe(before);
  await balancer.apply(host, [serviceOf([], [], { members: membersUpTo(COUNT + 1) })], memory);
  expect(nftGeneration(host)).toBe(before + 1);
  expect(
    (await lab.client.exec('nft', ['list', 'ruleset'])).stdout.match(new RegExp(`numgen inc mod ${COUNT + 1} `, 'g')),
  ).toHaveLength(2);
  await balancer.apply(host, []);
  expect((await lab.client.exec('nft', ['list', 'ruleset'])).stdout).toBe('');
});

test('more than the kernel takes are refused before anything is changed', async () => {
  const lab = await balanceLab(1);
  const { host } = lab.client;
  const balancer = createBalancer(markOf('0123abcd'));
  const memory = new TableMemory();
  await balancer.apply(host, [serviceOf([1])], memory);
  const talk = await Talk.open(lab.client, VIP);
  const before = nftGeneration(host);
  const one = memberAt(1);
  const tooMany = serviceOf([], [], {
    id: 'b2'.repeat(32),
    vips: ['10.5.0.101'] as Address[],
    members: Array(250_000).fill(one),
  });
  for (const known of [memory, undefined])
    await expect(balancer.apply(host, [serviceOf([1]), tooMany], known)).rejects.toMatchObject({ code: 'too_many_members' });
  expect(nftGeneration(host)).toBe(before);
  expect([await talk.say(), await ask(lab.client, VIP, 80)]).toEqual(['m1 10.5.0.2', 'm1 10.5.0.2']);
  await balancer.apply(host, [serviceOf([1])], memory);
  expect(nftGeneration(host)).toBe(before);
});
