/** What is known of a namespace's table is not read again: by rules of nf_tables alone, since IPVS is always looked at. */

import { expect, test } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import { createBalancer, TableMemory } from '../../src/balance/index.ts';
import { nftGeneration } from '../../src/kernel/index.ts';
import { balanceLab, serviceOf, Talk, VIP, VIP6 } from './balance-lab.ts';
import { ask, askUdp, markOf } from './firewall-lab.ts';

const balancer = createBalancer(markOf('0123abcd'));

const TAKEN = [
  ['a rule', 'flush chain inet patchbay-0123abcd-services clients'],
  ['a service', `flush chain inet patchbay-0123abcd-services to-${'a1'.repeat(16)}`],
  ['an address', `delete element inet patchbay-0123abcd-services virtual4 { ${VIP} }`],
  ['the refusal', 'flush chain inet patchbay-0123abcd-services refuse'],
  ['everything', 'flush ruleset'],
] as const;

test.each(TAKEN)('what others took away is put back: %s', async (_, command) => {
  const lab = await balanceLab(2);
  const wish = [serviceOf([1]), serviceOf([], [], { id: 'b2'.repeat(32), vips: ['10.5.0.101' as Address] })];
  const memory = new TableMemory();
  // With a memory and without, as by a daemon that has just started.
  for (const known of [memory, undefined]) {
    await balancer.apply(lab.client.host, wish, memory);
    const talk = await Talk.open(lab.client, VIP);
    await lab.client.exec('nft', command.split(' '));
    await balancer.apply(lab.client.host, wish, known);
    expect(await ask(lab.client, VIP, 80)).toBe('m1 10.5.0.2');
    expect(await ask(lab.client, '10.5.0.101', 80)).toBe('refused');
    expect(await talk.say()).toBe('m1 10.5.0.2');
  }
});

test('a change meets what others took meanwhile, and a memory of another namespace means nothing', async () => {
  const lab = await balanceLab(2);
  const { host } = lab.client;
  const memory = new TableMemory();
  await balancer.apply(host, [serviceOf([1])], memory);
  for (const [, command] of TAKEN) {
    await lab.client.exec('nft', command.split(' '));
    await balancer.apply(host, [serviceOf([2])], memory);
    expect([await ask(lab.client, VIP, 80), await ask(lab.client, VIP6, 80)]).toEqual(['m2 10.5.0.2', 'm2 fd05::2']);
    await balancer.apply(host, [serviceOf([1])], memory);
    expect(await ask(lab.client, VIP, 80)).toBe('m1 10.5.0.2');
  }
  await balancer.apply(lab.member(1).host, [serviceOf([2])], memory);
  expect(await ask(lab.member(1), VIP, 80)).toBe('m2 10.5.0.11');
  await balancer.apply(host, [serviceOf([2])], memory);
  expect(await ask(lab.client, VIP, 80)).toBe('m2 10.5.0.2');
  await balancer.clear(host, memory);
  await balancer.apply(host, [serviceOf([2])], memory);
  expect(await ask(lab.client, VIP, 80)).toBe('m2 10.5.0.2');
});

test('one whose own rules never rest is told all the same', async () => {
  const lab = await balanceLab(2);
  const memory = new TableMemory();
  const restless = 'while :; do nft add table ip own; nft delete table ip own; done';
  const before = nftGeneration(lab.client.host) ?? 0;
  let isOver = false;
  const over = lab.client.exec('sh', ['-c', `timeout 5 sh -c '${restless}' || true`]).finally(() => (isOver = true));
  let count = 0;
  while (!isOver && count < 400) {
    const serving = (count++ % 2) + 1;
    await balancer.apply(lab.client.host, [serviceOf([serving])], memory);
  }
  // Each of ours is one change: the others are theirs, in between.
  expect((nftGeneration(lab.client.host) ?? 0) - before).toBeGreaterThan(count);
  await over;
  await balancer.apply(lab.client.host, [serviceOf([2])], memory);
  expect(await ask(lab.client, VIP, 80)).toBe('m2 10.5.0.2');
});

test('what is known is not read: each change is one transaction, and nobody can tell the result from one that was read', async () => {
  const lab = await balanceLab(3);
  const { host } = lab.client;
  const memory = new TableMemory();
  const other = serviceOf([3], [], { id: 'b2'.repeat(32), vips: ['10.5.0.101'] as Address[] });
  const wishes = [[serviceOf([1]), other], [serviceOf([1, 2]), other], [serviceOf([], [1, 2]), other], [other], [serviceOf([2])]];
  for (const wish of wishes) {
    const before = nftGeneration(host) ?? 0;
    await balancer.apply(host, wish, memory);
    expect(nftGeneration(host)).toBe(before + 1);
    await balancer.apply(host, wish, memory);
    // Without a memory everything is read, and nothing found that differs.
    await balancer.apply(host, wish);
    expect(nftGeneration(host)).toBe(before + 1);
  }
});

test('flows of a service that is gone end while others are there, and those of a member that is only drained do not', async () => {
  const lab = await balanceLab(2);
  const { host } = lab.client;
  const memory = new TableMemory();
  const other = serviceOf([2], [], { id: 'b2'.repeat(32), vips: ['10.5.0.101', 'fd05::101'] as Address[] });
  const flows = async (to: string): Promise<number> =>
    (await lab.client.exec('conntrack', ['-L', '-p', 'udp', '--orig-dst', to])).stdout.split('\n').filter(Boolean).length;
  for (const known of [memory, undefined]) {
    await balancer.apply(host, [serviceOf([1]), other], memory);
    for (const address of [VIP, '10.5.0.101']) await askUdp(lab.client, address, 53);
    await balancer.apply(host, [serviceOf([], [1]), other], memory);
    expect([await flows(VIP), await flows('10.5.0.101')]).toEqual([1, 1]);
    await balancer.apply(host, [other], known);
    expect([await flows(VIP), await flows('10.5.0.101')]).toEqual([0, 1]);
    await balancer.clear(host, memory);
    await lab.client.exec('conntrack', ['-F']);
  }
});
