/** Networks, connects and published ports, one after the other, back to back. */

import { openNetns } from '../../src/kernel/index.ts';
import type { Lab } from '../e2e/lab.ts';
import type { Client } from './client.ts';
import { type Figure, median, series, timed } from './figures.ts';
import { bridgeFloor, portsFloor, vethFloor } from './floors.ts';

/** Rounds of what takes long. */
const MOST_PUBLISHES = 20;
const MOST_FIRSTS = 50;
/** Connects and disconnects until V8 has compiled what they run: seconds of work that a daemon which runs for weeks has behind it. */
const WARM = 1000;

export async function networks(lab: Lab, client: Client, rounds: number): Promise<Figure[]> {
  const create: number[] = [];
  const remove: number[] = [];
  for (let i = 0; i < rounds; i++) {
    create.push(await timed(() => client.call('POST', '/networks/create', { Name: `bench${i}` })));
    remove.push(await timed(() => client.call('DELETE', `/networks/bench${i}`)));
  }
  using host = openNetns(`/run/netns/${lab.host}`);
  const floor = await bridgeFloor(host, rounds);
  return [
    {
      name: 'network create',
      unit: 'ms',
      value: median(create),
      floor: median(floor.create),
      what: 'bridge, address, up, one iptables-restore',
      goal: '≤ 8',
    },
    {
      name: 'network rm',
      unit: 'ms',
      value: median(remove),
      floor: median(floor.remove),
      what: 'bridge out of service, one iptables-restore',
      goal: '≤ 8',
    },
  ];
}

export async function attach(lab: Lab, client: Client, rounds: number): Promise<Figure[]> {
  for (const Name of ['first', 'second']) await client.call('POST', '/networks/create', { Name });
  const firsts: number[] = [];
  for (let i = 0; i < Math.min(rounds, MOST_FIRSTS); i++) {
    firsts.push(await timed(() => client.call('POST', '/sandboxes/create', { Name: `f${i}`, Networks: { first: {} } })));
    await client.call('DELETE', `/sandboxes/f${i}`);
  }
  await client.call('POST', '/sandboxes/create', { Name: 'box', Networks: { first: {} } });
  const { connect, disconnect } = await inAndOut(client, rounds);
  await inAndOut(client, Math.max(0, WARM - rounds));
  const warm = await inAndOut(client, rounds);
  await client.call('DELETE', '/sandboxes/box');
  using host = openNetns(`/run/netns/${lab.host}`);
  using outside = openNetns(`/run/netns/${lab.outside}`);
  const floor = await vethFloor(host, outside, rounds);
  const veth = 'veth with its peer in the sandbox, address, up, port';
  return [
    { name: 'connect', unit: 'ms', value: median(connect), floor: median(floor.attach), what: veth, goal: '≤ 3' },
    {
      name: 'disconnect',
      unit: 'ms',
      value: median(disconnect),
      floor: median(floor.detach),
      what: 'both ends down, no master, renamed',
      goal: '≤ 3',
    },
    { name: 'connect, warm', unit: 'ms', value: median(warm.connect), floor: median(floor.attach), what: veth, goal: '≤ 3' },
    {
      name: 'disconnect, warm',
      unit: 'ms',
      value: median(warm.disconnect),
      floor: median(floor.detach),
      what: 'both ends down, no master, renamed',
      goal: '≤ 3',
    },
    { name: 'sandbox create with its first network', unit: 'ms', value: median(firsts), floor: median(floor.attach), what: veth },
  ];
}

async function inAndOut(client: Client, rounds: number): Promise<{ connect: number[]; disconnect: number[] }> {
  const connect: number[] = [];
  const disconnect: number[] = [];
  for (let i = 0; i < rounds; i++) {
    connect.push(await timed(() => client.call('POST', '/networks/second/connect', { Container: 'box' })));
    disconnect.push(await timed(() => client.call('POST', '/networks/second/disconnect', { Container: 'box' })));
  }
  return { connect, disconnect };
}

export async function publish(lab: Lab, client: Client, rounds: number): Promise<Figure[]> {
  const bare = await publishing(client, 0, Math.min(rounds, MOST_PUBLISHES));
  const figures: Figure[] = [];
  using host = openNetns(`/run/netns/${lab.host}`);
  for (const [count, goal] of [
    [100, '≤ 30'],
    [1000, '≤ 150'],
  ] as const) {
    const full = await publishing(client, count, Math.min(rounds, MOST_PUBLISHES));
    const floor = await portsFloor(host, count, Math.min(rounds, MOST_PUBLISHES));
    figures.push(
      {
        name: `publish ${count} ports`,
        unit: 'ms',
        value: full.create - bare.create,
        floor: median(floor.add),
        what: `one iptables-restore with ${2 * count} rules`,
        goal,
      },
      {
        name: `withdraw ${count} ports`,
        unit: 'ms',
        value: full.remove - bare.remove,
        floor: median(floor.remove),
        what: 'one iptables-restore that removes them',
        goal,
      },
    );
  }
  return figures;
}

async function publishing(client: Client, count: number, rounds: number): Promise<{ create: number; remove: number }> {
  const PortBindings = Object.fromEntries(
    Array.from({ length: count }, (_, i) => [`${1000 + i}/tcp`, [{ HostPort: String(20_000 + i) }]]),
  );
  const create: number[] = [];
  const remove: number[] = [];
  const body = { Name: 'ports', Networks: { first: {} }, PortBindings };
  for (let i = 0; i < rounds; i++) {
    create.push(await timed(() => client.call('POST', '/sandboxes/create', body)));
    remove.push(await timed(() => client.call('DELETE', '/sandboxes/ports')));
  }
  return { create: median(create), remove: median(remove) };
}

/** The whole process of a command. */
export async function command(rounds: number, once: () => Promise<unknown>, floor: () => Promise<number>): Promise<Figure[]> {
  const bare: number[] = [];
  const ours = await series(Math.min(rounds, MOST_FIRSTS), async () => {
    await once();
  });
  for (let i = 0; i < ours.length; i++) bare.push(await floor());
  return [
    {
      name: 'network ls, whole process',
      unit: 'ms',
      value: median(ours),
      floor: median(bare),
      what: 'node -e 0',
      goal: 'floor + 20',
    },
  ];
}
