/** Connections to a virtual address, made one with a member in the client's own namespace. */

import { expect, test } from 'vitest';
import { type Address, parseAddress } from '../../src/base/index.ts';
import { createBalancer, TableMemory } from '../../src/balance/index.ts';
import { nftGeneration } from '../../src/kernel/index.ts';
import { type BalanceLab, balanceLab, memberOf, serviceOf, Talk, VIP, VIP6 } from './balance-lab.ts';
import { ask, askUdp, markOf } from './firewall-lab.ts';
import { eventually } from './keeper-lab.ts';
import type { TestHost } from './support.ts';

const balancer = createBalancer(markOf('0123abcd'));
const PING = ['-c1', '-W2'];

async function asked(lab: BalanceLab, times: number, address = VIP): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < times; i++) {
    const answer = await ask(lab.client, address, 80);
    counts[answer] = (counts[answer] ?? 0) + 1;
  }
  return counts;
}

const rules = async (at: TestHost): Promise<string> => (await at.exec('nft', ['list', 'ruleset'])).stdout;

/** Opens so many connections to the virtual address, 50 at once, and prints how many each member took, by name. */
const MANY = `
const { connect } = require('node:net');
const [address, port, total] = process.argv.slice(1);
const counts = {};
let left = Number(total);
const one = () => new Promise((done) => {
  const socket = connect({ host: address, port: Number(port) });
  let text = '';
  socket.on('data', (chunk) => (text += chunk));
  socket.on('error', (error) => (text = error.code));
  socket.on('close', () => { counts[text] = (counts[text] ?? 0) + 1; done(); });
});
const worker = async () => { while (left-- > 0) await one(); };
Promise.all(Array.from({ length: 50 }, worker)).then(() => console.log(JSON.stringify(counts)));
`;

test('10,000 connections are shared out evenly, none fails, and members see the client', { timeout: 60_000 }, async () => {
  const lab = await balanceLab(3);
  await balancer.apply(lab.client.host, [serviceOf([1, 2, 3])]);
  const { stdout } = await lab.client.exec('node', ['-e', MANY, VIP, '80', '10000']);
  const counts = JSON.parse(stdout) as Record<string, number>;
  expect(Object.keys(counts).sort()).toEqual(['m1 10.5.0.2', 'm2 10.5.0.2', 'm3 10.5.0.2']);
  for (const count of Object.values(counts)) expect(Math.abs(count - 10_000 / 3)).toBeLessThan(10_000 / 30);
});

test('IPv6, UDP and pings are balanced as well', async () => {
  const lab = await balanceLab(2);
  await balancer.apply(lab.client.host, [serviceOf([1, 2])]);
  expect(await asked(lab, 10, VIP6)).toEqual({ 'm1 fd05::2': 5, 'm2 fd05::2': 5 });
  const said = new Set<string>();
  for (let i = 0; i < 4; i++) said.add(await askUdp(lab.client, VIP, 53));
  expect([...said].sort()).toEqual(['m1 10.5.0.2', 'm2 10.5.0.2']);
  for (const address of [VIP, VIP6]) await lab.client.exec('ping', [...PING, address]);
});

test('clients do not all begin with the same member', async () => {
  const lab = await balanceLab(4);
  const first = new Set<string>();
  // Each service is another draw: all 64 the same by chance is not seen in this world.
  for (let n = 1; n <= 64 && first.size < 2; n++) {
    await balancer.apply(lab.client.host, [serviceOf([1, 2, 3, 4], [], { id: n.toString(16).padStart(2, '0').repeat(32) })]);
    first.add(await ask(lab.client, VIP, 80));
  }
  expect(first.size).toBe(2);
});

test('a member that asks its own service gets its share of the answers too', async () => {
  const lab = await balanceLab(2);
  await balancer.apply(lab.member(1).host, [serviceOf([1, 2])]);
  const counts: Record<string, number> = {};
  for (let i = 0; i < 6; i++)
    for (const address of [VIP, VIP6]) {
      const answer = await ask(lab.member(1), address, 80);
      counts[answer] = (counts[answer] ?? 0) + 1;
    }
  expect(counts).toEqual({ 'm1 10.5.0.11': 3, 'm2 10.5.0.11': 3, 'm1 fd05::11': 3, 'm2 fd05::11': 3 });
  await balancer.apply(lab.member(1).host, [serviceOf([1])]);
  expect(await askUdp(lab.member(1), VIP, 53)).toBe('m1 10.5.0.11');
});

test('1 → 5 → 0 → 3: connections go on while their member serves or is drained, and nobody waits where nobody serves', async () => {
  const lab = await balanceLab(5);
  const { host } = lab.client;
  await balancer.apply(host, [serviceOf([1])]);
  const first = await Talk.open(lab.client, VIP);
  expect(await first.say()).toBe('m1 10.5.0.2');
  await balancer.apply(host, [serviceOf([1, 2, 3, 4, 5])]);
  expect(await first.say()).toBe('m1 10.5.0.2');
  const talks = [first];
  for (let i = 0; i < 5; i++) talks.push(await Talk.open(lab.client, VIP));
  const before = await Promise.all(talks.map((talk) => talk.say()));
  expect(new Set(before).size).toBe(5);
  await balancer.apply(host, [serviceOf([], [1, 2, 3, 4, 5])]);
  expect(await Promise.all(talks.map((talk) => talk.say()))).toEqual(before);
  for (const address of [VIP, VIP6]) expect(await ask(lab.client, address, 80)).toBe('refused');
  const flows = (n: number): Promise<number> => balancer.countFlows(host, memberOf(n, 'draining'));
  expect([await flows(1), await flows(2)]).toEqual([2, 1]);
  for (const talk of talks) await talk.close();
  const left = async (): Promise<number> => (await Promise.all([1, 2, 3, 4, 5].map(flows))).reduce((sum, count) => sum + count);
  await eventually(async () => ((await left()) === 0 ? true : undefined), 'all connections are over');
  await balancer.apply(host, [serviceOf([1, 2, 3])]);
  expect(await asked(lab, 9)).toEqual({ 'm1 10.5.0.2': 3, 'm2 10.5.0.2': 3, 'm3 10.5.0.2': 3 });
});

test('changes under load: no connection fails', { timeout: 60_000 }, async () => {
  const lab = await balanceLab(5);
  await balancer.apply(lab.client.host, [serviceOf([1])]);
  const load = lab.client.exec('node', ['-e', MANY, VIP, '80', '6000']);
  let isOver = false;
  const over = load.finally(() => (isOver = true));
  for (let i = 0; !isOver && i < 500; i++) {
    const serving = [[1, 2, 3, 4, 5], [2, 3], [3, 4, 5], [1]][i % 4] ?? [];
    const draining = [1, 2, 3, 4, 5].filter((n) => !serving.includes(n));
    await balancer.apply(lab.client.host, [serviceOf(serving, draining)]);
    await new Promise((done) => setTimeout(done, 20));
  }
  const counts = JSON.parse((await over).stdout) as Record<string, number>;
  expect(Object.keys(counts).sort()).toEqual([1, 2, 3, 4, 5].map((n) => `m${n} 10.5.0.2`));
  expect(Object.values(counts).reduce((sum, count) => sum + count)).toBe(6000);
});

test('who is gone without a drain loses its connections at once, and UDP clients go to another member', async () => {
  const lab = await balanceLab(2);
  const { host } = lab.client;
  await balancer.apply(host, [serviceOf([1])]);
  const talk = await Talk.open(lab.client, VIP);
  expect(await talk.say()).toBe('m1 10.5.0.2');
  const udp = `exec 3<>/dev/udp/${VIP}/53; for i in 1 2; do echo >&3; dd bs=99 count=1 <&3 2>/dev/null; echo; read -r; done`;
  const steady = lab.client.exec('bash', ['-c', udp]);
  let heard = '';
  steady.stdout?.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  const said = (): string[] => heard.trim().split(/\s*\n/);
  await eventually(async () => (heard.includes('m1') ? true : undefined), 'an answer by UDP');
  await balancer.apply(host, [serviceOf([2])]);
  await expect(talk.say()).rejects.toMatchObject({ code: 'ECONNRESET' });
  steady.stdin?.write('\n');
  await eventually(async () => (said().length === 2 ? true : undefined), 'another answer by UDP');
  expect(said()).toEqual(['m1 10.5.0.2', 'm2 10.5.0.2']);
});

test('what was asked of the address before there was a service goes to a member afterwards', async () => {
  const lab = await balanceLab(1);
  const listed = async (): Promise<string> => (await lab.client.exec('conntrack', ['-L', '-p', 'udp', '--orig-dst', VIP])).stdout;
  await lab.client.exec('ip', ['neigh', 'replace', VIP, 'lladdr', '02:00:00:00:00:99', 'dev', 'eth0']);
  await lab.client.exec('nft', ['-f', '-'], {
    input: 'table ip t { chain o { type filter hook output priority 0; ct state new accept; }; }',
  });
  await lab.client.exec('bash', ['-c', `echo > /dev/udp/${VIP}/53`]);
  expect(await listed()).toContain('UNREPLIED');
  await balancer.apply(lab.client.host, [serviceOf([1])]);
  expect(await listed()).toBe('');
});

test('the same wish twice changes nothing, another one only its own service, and none leaves nothing', async () => {
  const lab = await balanceLab(2);
  const { host } = lab.client;
  const other = serviceOf([1, 2], [], { id: 'b2'.repeat(32), vips: ['10.5.0.101'] as Address[] });
  await balancer.apply(host, [serviceOf([1, 2]), other]);
  const generation = nftGeneration(host);
  await balancer.apply(host, [other, serviceOf([2, 1])]);
  await createBalancer(markOf('0123abcd')).apply(host, [other, serviceOf([2, 1])]);
  expect(nftGeneration(host)).toBe(generation);
  const handles = async (): Promise<string> =>
    (await lab.client.exec('nft', ['-a', 'list', 'chain', 'inet', 'patchbay-0123abcd-services', `to-${'b2'.repeat(16)}`])).stdout;
  const before = await handles();
  expect(before).toContain('numgen inc mod 2');
  await balancer.apply(host, [serviceOf([1]), other]);
  expect(await handles()).toBe(before);
  await balancer.apply(host, [other]);
  expect(await handles()).toBe(before);
  expect(await rules(lab.client)).not.toContain('a1a1');
  await balancer.apply(host, []);
  await balancer.clear(host);
  expect(await rules(lab.client)).toBe('');
});

test('another address of a service, and one that moves to another service, are followed', async () => {
  const lab = await balanceLab(2);
  const { host } = lab.client;
  const other = (vip: string): ReturnType<typeof serviceOf> =>
    serviceOf([2], [], { id: 'b2'.repeat(32), vips: [parseAddress(vip)] });
  await balancer.apply(host, [serviceOf([1]), other('10.5.0.101')]);
  expect(await ask(lab.client, '10.5.0.101', 80)).toBe('m2 10.5.0.2');
  await balancer.apply(host, [serviceOf([1], [], { vips: ['10.5.0.101' as Address] }), other(VIP)]);
  expect([await ask(lab.client, '10.5.0.101', 80), await ask(lab.client, VIP, 80)]).toEqual(['m1 10.5.0.2', 'm2 10.5.0.2']);
});

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
  let isOver = false;
  const over = lab.client.exec('sh', ['-c', `timeout 5 sh -c '${restless}' || true`]).finally(() => (isOver = true));
  let count = 0;
  while (!isOver && count < 400) {
    const serving = (count++ % 2) + 1;
    await balancer.apply(lab.client.host, [serviceOf([serving])], memory);
  }
  expect(count).toBeGreaterThan(20);
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

test("a sandbox's own rules stay, and come first", async () => {
  const lab = await balanceLab(2);
  await lab.client.exec('iptables', `-t nat -A OUTPUT -d ${VIP} -p tcp --dport 81 -j DNAT --to 10.5.0.12:80`.split(' '));
  const own = (await lab.client.exec('iptables-save', ['-t', 'nat'])).stdout.replaceAll(/^#.*$|\[.*?\]/gm, '');
  await balancer.apply(lab.client.host, [serviceOf([1])]);
  expect([await ask(lab.client, VIP, 81), await ask(lab.client, VIP, 80)]).toEqual(['m2 10.5.0.2', 'm1 10.5.0.2']);
  await balancer.clear(lab.client.host);
  expect((await lab.client.exec('iptables-save', ['-t', 'nat'])).stdout.replaceAll(/^#.*$|\[.*?\]/gm, '')).toBe(own);
});

test('many services with many members are one transaction, and many changes at once end as the last of them', async () => {
  const lab = await balanceLab(1);
  const many = Array.from({ length: 50 }, (_, s) =>
    serviceOf([], [], {
      id: (s + 1).toString(16).padStart(64, '0').split('').toReversed().join(''),
      vips: [`10.5.1.${s + 1}`, `fd05::1:${s + 1}`].map(parseAddress),
      members: Array.from({ length: 20 }, (_m, m) => ({
        addresses: [`10.5.${s + 2}.${m + 1}`, `fd05:${s + 1}::${m + 1}`].map(parseAddress),
        state: 'serving' as const,
      })),
    }),
  );
  const before = nftGeneration(lab.client.host) ?? 0;
  await balancer.apply(lab.client.host, many);
  expect((nftGeneration(lab.client.host) ?? 0) - before).toBe(1);
  expect((await rules(lab.client)).match(/numgen inc mod 20/g)).toHaveLength(100);
  await Promise.all([many, [], many.slice(0, 3), [serviceOf([1])]].map((wish) => balancer.apply(lab.client.host, wish)));
  expect(await ask(lab.client, VIP, 80)).toBe('m1 10.5.0.2');
  expect((await rules(lab.client)).match(/numgen/g)).toHaveLength(2);
});

test('a member of one family takes connections of that family only; the other is refused', async () => {
  const lab = await balanceLab(1);
  const [v4] = memberOf(1).addresses;
  await balancer.apply(lab.client.host, [
    serviceOf([], [], { members: [{ addresses: v4 === undefined ? [] : [v4], state: 'serving' }] }),
  ]);
  expect([await ask(lab.client, VIP, 80), await ask(lab.client, VIP6, 80)]).toEqual(['m1 10.5.0.2', 'refused']);
});
