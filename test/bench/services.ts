/** What the set-up of a connection to a service costs beside one straight to its member, and what a change of members costs. */

import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type BalancedService, type Balancer, createBalancer, TableMemory } from '../../src/balance/index.ts';
import type { Address } from '../../src/base/index.ts';
import {
  createNetns,
  encodeSocketAddress,
  libc,
  markOf,
  newInstanceId,
  type Netns,
  openNetns,
  openTcpListener,
  removeNetnsPin,
} from '../../src/kernel/index.ts';
import { type Lab, waitUntil } from '../e2e/lab.ts';
import type { Client } from './client.ts';
import { type Figure, median, series, timed } from './figures.ts';

const PORT = 8000;
/** Connections in a row, fewer than may wait for the server. */
const BLOCK = 100;
/** Until the server has taken a block, milliseconds. */
const TAKEN_MS = 10_000;
const SOL_LINGER = 13;
/** On close: no time-wait, whose ports would run out. */
const AT_ONCE = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
/** Namespaces that have had no service before. */
const MOST_NAMESPACES = 30;
const SERVICES = 50;
const MEMBERS = 20;

/** Microseconds of each of so many connections, one after the other. */
function connections(netns: Netns, address: Address): number[] {
  const target = encodeSocketAddress(address, PORT);
  return netns.run(() =>
    Array.from({ length: BLOCK }, () => {
      const fd = libc.socket(libc.AF.inet, libc.SOCK.stream, 0);
      libc.setSocketOption(fd, libc.SOL.socket, SOL_LINGER, AT_ONCE);
      const start = process.hrtime.bigint();
      libc.connect(fd, target, address);
      const took = Number(process.hrtime.bigint() - start) / 1e3;
      libc.close(fd);
      return took;
    }),
  );
}

export async function services(lab: Lab, client: Client, rounds: number): Promise<Figure[]> {
  const names = ['bench-member', 'bench-client', 'bench-plain'];
  const Subnet = '10.66.0.0/16';
  await client.call('POST', '/networks/create', {
    Name: 'bench-services',
    IPAM: { Config: [{ Subnet, IPRange: '10.66.1.0/24' }] },
  });
  for (const Name of names) await client.call('POST', '/sandboxes/create', { Name, Networks: { 'bench-services': {} } });
  const open = async (name: string): Promise<Netns> =>
    openNetns(((await client.call('GET', `/sandboxes/${name}`)) as { Netns: string }).Netns);
  const [member, asker, plain] = [await open('bench-member'), await open('bench-client'), await open('bench-plain')];
  const mark = markOf(newInstanceId());
  const balancer = createBalancer(mark);
  let asked = 0;
  let taken = 0;
  const server = createServer((socket) => {
    taken++;
    socket.on('error', () => {}).destroy();
  });
  try {
    const address = (await addressOf(client, 'bench-member')) as Address;
    const vip = '10.66.200.1' as Address;
    const service: BalancedService = { id: 'a1'.repeat(32), vips: [vip], members: [{ addresses: [address], state: 'serving' }] };
    server.listen({ fd: member.run(() => openTcpListener({ address: '0.0.0.0' as Address, port: PORT })) });
    await once(server, 'listening');
    await balancer.apply(asker, [service]);
    const [through, beside, straight]: [number[], number[], number[]] = [[], [], []];
    for (let i = 0; i < rounds; i++) {
      for (const [into, from, to] of [
        [straight, plain, address],
        [through, asker, vip],
        [beside, asker, address],
      ] as const) {
        into.push(...connections(from, to));
        asked += BLOCK;
        // The server is in this process: were there no room for more, the next ones would wait for it, and it for them.
        await waitUntil(() => Promise.resolve(taken >= asked), TAKEN_MS);
        await delay(5);
      }
    }
    const changes = await changing(balancer, asker, lab.folder, rounds);
    return [
      {
        name: 'connection to a service, set-up',
        unit: 'µs',
        value: median(through),
        floor: median(straight),
        what: 'straight to the member, from a sandbox without services',
        goal: '≤ 1.15 × floor',
      },
      {
        name: 'connection past a service, set-up',
        unit: 'µs',
        value: median(beside),
        floor: median(straight),
        what: 'the same',
      },
      ...changes,
    ];
  } finally {
    server.close();
    for (const netns of [member, asker, plain]) netns[Symbol.dispose]();
    for (const name of names) await client.call('DELETE', `/sandboxes/${name}`);
    await client.call('DELETE', '/networks/bench-services');
  }
}

async function addressOf(client: Client, name: string): Promise<string> {
  const net = (await client.call('GET', '/networks/bench-services')) as {
    Containers: Record<string, { Name: string; IPv4Address: string }>;
  };
  const found = Object.values(net.Containers).find(({ Name }) => Name === name);
  if (found === undefined) throw new Error(`${name} has no address`);
  return found.IPv4Address.replace(/\/.*/, '');
}

/** Milliseconds of the first services of a namespace. */
async function first(balancer: Balancer, folder: string, wish: readonly BalancedService[]): Promise<number> {
  const pin = join(folder, 'bench-services');
  using netns = createNetns(pin);
  try {
    return await timed(() => balancer.apply(netns, wish));
  } finally {
    removeNetnsPin(pin);
  }
}

/** Many services with many members each: all at once, one member of one of them, nothing. */
async function changing(balancer: Balancer, netns: Netns, folder: string, rounds: number): Promise<Figure[]> {
  const many = (first: number): BalancedService[] =>
    Array.from({ length: SERVICES }, (_, s) => ({
      id: (s + 1).toString(16).padStart(2, '0').repeat(32),
      vips: [`10.66.201.${s + 1}` as Address],
      members: Array.from({ length: s === 0 ? first : MEMBERS }, (_m, m) => ({
        addresses: [`10.66.${s + 2}.${m + 1}` as Address],
        state: 'serving' as const,
      })),
    }));
  const all: number[] = [];
  for (let i = 0; i < Math.min(rounds, MOST_NAMESPACES); i++) all.push(await first(balancer, folder, many(MEMBERS)));
  const memory = new TableMemory();
  await balancer.apply(netns, many(MEMBERS), memory);
  const one = await series(rounds, (round) => balancer.apply(netns, many(MEMBERS - 1 - (round % 2)), memory));
  const none = await series(rounds, () => balancer.apply(netns, many(MEMBERS - 1 - ((rounds - 1) % 2)), memory));
  await balancer.clear(netns, memory);
  const subject = `${SERVICES} services of ${MEMBERS} members in a sandbox`;
  return [
    { name: `${subject}: all`, unit: 'ms', value: median(all) },
    { name: `${subject}: one member`, unit: 'ms', value: median(one) },
    { name: `${subject}: no change`, unit: 'ms', value: median(none) },
  ];
}
