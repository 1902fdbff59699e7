/** What many networks and endpoints cost: memory, a connect among a thousand, a start, and the event loop under deletes. */

import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../e2e/lab.ts';
import { Client } from './client.ts';
import { LagProbe } from './lag.ts';
import { type Figure, median, series, timed } from './figures.ts';

const NETWORKS = 100;
const SANDBOXES = 200;
/** Endpoints of a sandbox: 1,000 in all. */
const NETWORKS_EACH = 5;
const CONNECTS = 50;
const DELETED = 20;
/** Time for garbage and caches to settle before memory is read, milliseconds. */
const SETTLE_MS = 5000;
/** Some looks of the daemon after its networks and sandboxes, milliseconds. */
const IDLE_MS = 30_000;

/** Proportional set size of the daemon, its children and the keeper with its own, MB. */
function memory(lab: Lab): number {
  let kilobytes = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      if (!command.includes(lab.runDir)) continue;
      kilobytes += Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    } catch {
      // Ended meanwhile.
    }
  }
  return kilobytes / 1024;
}

/** Processor time of the daemon while nobody asks it for anything, percent of one core. */
async function processorShare({ daemon }: Lab): Promise<number> {
  // Clock ticks of a hundredth of a second (proc(5)); the command's name holds no space.
  const ticks = (): number => {
    const fields = readFileSync(`/proc/${daemon?.pid}/stat`, 'utf8').split(' ');
    return Number(fields[13]) + Number(fields[14]);
  };
  const [before, begun] = [ticks(), performance.now()];
  await sleep(IDLE_MS);
  return ((ticks() - before) * 1000) / (performance.now() - begun);
}

export async function settledMemory(lab: Lab, name: string, goal?: string): Promise<Figure> {
  await sleep(SETTLE_MS);
  return { name, unit: 'MB', value: memory(lab), ...(goal !== undefined && { goal }) };
}

export async function scale(lab: Lab, client: Client, rounds: number): Promise<Figure[]> {
  const idle = await settledMemory(lab, 'memory, daemon and keeper, idle', '≤ 130');
  for (let i = 0; i < NETWORKS; i++) await client.call('POST', '/networks/create', { Name: `n${i}` });
  const createNetworks = (sandbox: number): Record<string, object> =>
    Object.fromEntries(Array.from({ length: NETWORKS_EACH }, (_, k) => [`n${(sandbox * NETWORKS_EACH + k) % NETWORKS}`, {}]));
  for (let i = 0; i < SANDBOXES; i++) {
    await client.call('POST', '/sandboxes/create', { Name: `s${i}`, Networks: createNetworks(i) });
  }
  await sleep(SETTLE_MS);
  const full = memory(lab);
  const looking = await processorShare(lab);
  await client.call('POST', '/networks/create', { Name: 'extra' });
  const alike = await connects(client, rounds);
  const sixth = await series(CONNECTS, async (i) => client.call('POST', '/networks/extra/connect', { Container: `s${i}` }));
  const start = await restarted(lab);
  const lag = await lagOfDeletes(lab);
  for (let i = DELETED; i < SANDBOXES; i++) await client.call('DELETE', `/sandboxes/s${i}`);
  await client.call('POST', '/networks/prune');
  return [
    idle,
    { name: `memory, ${SANDBOXES} sandboxes, 1,000 endpoints`, unit: 'MB', value: full, goal: '≤ 170' },
    { name: 'looks after 1,000 endpoints, every 5 s', unit: '%', value: looking, goal: '≤ 2' },
    { name: 'connect among 1,000 endpoints', unit: 'ms', value: median(alike), goal: '≤ 1.5 × connect' },
    { name: 'connect to sandboxes with five networks, first time', unit: 'ms', value: median(sixth) },
    { name: 'start with 100 networks, 1,000 endpoints', unit: 'ms', value: start, goal: '≤ 1,500' },
    { name: 'event-loop lag while 100 endpoints are deleted, p99', unit: 'ms', value: lag, goal: '≤ 5' },
  ];
}

/** The same that is measured with few endpoints: a sandbox with one network and another one, over and over. */
async function connects(client: Client, rounds: number): Promise<number[]> {
  await client.call('POST', '/sandboxes/create', { Name: 'box', Networks: { n0: {} } });
  const taken: number[] = [];
  for (let i = 0; i < rounds; i++) {
    taken.push(await timed(() => client.call('POST', '/networks/extra/connect', { Container: 'box' })));
    await client.call('POST', '/networks/extra/disconnect', { Container: 'box' });
  }
  await client.call('DELETE', '/sandboxes/box');
  return taken;
}

/** Twenty sandboxes at once, each over a connection of its own: not as many processes, whose start would be what is measured. */
async function lagOfDeletes(lab: Lab): Promise<number> {
  const clients = Array.from({ length: DELETED }, () => new Client(lab.socket));
  const probe = new LagProbe(lab);
  await probe.read();
  await Promise.all(clients.map((client, i) => client.call('DELETE', `/sandboxes/s${i}?force=1`)));
  const lag = await probe.read();
  for (const client of clients) client.close();
  return lag;
}

/** From the start of the process to its ready line, milliseconds. */
async function restarted(lab: Lab): Promise<number> {
  await lab.stop('SIGKILL');
  return timed(() => lab.start());
}
