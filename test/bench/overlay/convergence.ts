/** When a sandbox that has just joined on one host is found by name on another, and answers there. */

import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Host } from '../../lab/host.ts';
import type { Lab } from '../../lab/lab.ts';
import { DIST } from '../../lab/places.ts';
import { until } from '../../lab/wait.ts';
import { type Figure, median, quantile } from '../figures.ts';

const NETWORK = 'wide';
const FOUND_MS = 20_000;
/** Removed sandboxes go within a second, their links a little later, milliseconds. */
const SETTLED_MS = 1500;
/** Sandboxes that are made at once while the lab is filled. */
const AT_ONCE = 4;
const now = (): number => Number(process.hrtime.bigint()) / 1e6;

interface Found {
  readonly named: number;
  readonly answered: number;
}

/** `endpoints` on each host; one after the other joins on host 1 and is waited for on host 2. */
export async function convergence(lab: Lab, endpoints: number, rounds: number): Promise<Figure[]> {
  await lab.host(1).must('POST', '/networks/create', {
    Name: NETWORK,
    Driver: 'overlay',
    IPAM: { Config: [{ Subnet: '10.200.0.0/16' }] },
  });
  await until(
    'every host lists the network',
    async () => (await Promise.all(lab.hosts.map(lists))).every(Boolean),
    FOUND_MS,
    lab.commands.signal,
  );
  await fill(lab.hosts, endpoints);
  const watcher = await Watcher.start(lab, lab.host(2));
  const size = `${lab.hosts.length} hosts × ${endpoints}`;
  const settled = await joinsOf(lab, watcher, rounds, 'alone', true);
  const hurried = await joinsOf(lab, watcher, rounds, 'beside', false);
  watcher.close();
  return [...figuresOf(settled, size, { p50: '10', p99: '100' }), ...figuresOf(hurried, `${size}, beside removals`)];
}

interface Joins {
  readonly joins: readonly number[];
  readonly named: readonly number[];
  readonly answered: readonly number[];
  readonly first: readonly number[];
}

/**
 * Each newcomer goes before the next one comes. `isSettled`: and its links and namespace are gone from the kernel. All hosts of the lab
 * share one kernel, which lets nobody change a link or an entry while it takes one away: hosts do not have that from each other.
 */
async function joinsOf(lab: Lab, watcher: Watcher, rounds: number, title: string, isSettled: boolean): Promise<Joins> {
  const joins: number[] = [];
  const named: number[] = [];
  const answered: number[] = [];
  const first: number[] = [];
  const host = lab.host(1);
  for (let i = 0; i < rounds; i++) {
    const [name, own] = [`newcomer-${title}-${i}`, `own-${title}-${i}`];
    await host.must('POST', '/networks/create', { Name: own });
    await host.must('POST', '/sandboxes/create', { Name: name, Networks: { [own]: {} } });
    if (isSettled) await sleep(SETTLED_MS);
    const found = watcher.waitFor(name);
    const begin = now();
    await host.must('POST', `/networks/${NETWORK}/connect`, { Container: name });
    const returned = now();
    const when = await found;
    joins.push(returned - begin);
    named.push(Math.max(0, when.named - returned));
    answered.push(Math.max(0, when.answered - returned));
    first.push(when.answered - when.named);
    await host.must('DELETE', `/sandboxes/${name}?force=1`);
    await host.must('DELETE', `/networks/${own}`);
  }
  return { joins, named, answered, first };
}

function figuresOf({ joins, named, answered, first }: Joins, size: string, goals: { p50?: string; p99?: string } = {}): Figure[] {
  const ms = (name: string, value: number, goal?: string): Figure => ({
    name: `${name}, ${size}`,
    unit: 'ms',
    value,
    ...(goal && { goal }),
  });
  return [
    ms('connect to an overlay network', median(joins)),
    ms('named elsewhere after connect returned, p50', median(named), goals.p50),
    ms('named elsewhere after connect returned, p99', quantile(named, 0.99), goals.p99),
    ms('answers there after connect returned, p50', median(answered), goals.p50),
    ms('answers there after connect returned, p99', quantile(answered, 0.99), goals.p99),
    ms('first packet after the name, p99', quantile(first, 0.99)),
  ];
}

const lists = async (host: Host): Promise<boolean> =>
  (await host.must<readonly { Name: string }[]>('GET', '/networks')).some(({ Name }) => Name === NETWORK);

/** Round by round, so that the hosts grow together. */
async function fill(hosts: readonly Host[], endpoints: number): Promise<void> {
  const wishes = Array.from({ length: endpoints }, (_, i) => hosts.map((host) => ({ host, Name: `${host.name}-${i}` }))).flat();
  const next = async (): Promise<void> => {
    for (let wish = wishes.shift(); wish !== undefined; wish = wishes.shift())
      await wish.host.must('POST', '/sandboxes/create', { Name: wish.Name, Networks: { [NETWORK]: {} } });
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
}

/** The program `first.mjs` in a sandbox. */
class Watcher {
  readonly #socket: Socket;
  #tell: (found: Found) => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    createInterface({ input: socket }).on('line', (line) => this.#tell(JSON.parse(line) as Found));
  }

  static async start(lab: Lab, host: Host): Promise<Watcher> {
    const path = join(lab.run.folder, 'watcher.sock');
    const program = [process.execPath, join(DIST, '../test/bench/overlay/first.mjs'), path];
    await host.ok('run', '-d', '--name', 'watcher', '--network', NETWORK, '--', ...program);
    let socket: Socket | undefined;
    const isThere = async (): Promise<boolean> => {
      const one = connect(path);
      const isOpen = await new Promise<boolean>((resolve) => {
        one.once('connect', () => resolve(true));
        one.once('error', () => resolve(false));
      });
      if (isOpen) socket = one;
      return isOpen;
    };
    await until('the watcher listens', isThere, FOUND_MS, lab.commands.signal);
    if (socket === undefined) throw new Error('the watcher does not listen');
    return new Watcher(socket);
  }

  waitFor(name: string): Promise<Found> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${name} is not found elsewhere`)), FOUND_MS);
      this.#tell = (found) => {
        clearTimeout(timer);
        resolve(found);
      };
      this.#socket.write(`${name}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}
