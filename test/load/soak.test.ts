/** A mixed load over minutes: nothing leaks, memory and descriptors of daemon and keeper stay flat, the state is true. */

import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import { COMMON, Client, runClients } from '../crash/load.ts';
import { Traffic } from '../crash/traffic.ts';
import { cleared, removeAll, stateOf, untruths } from '../crash/truth.ts';
import { Lab, waitUntil } from '../e2e/lab.ts';
import { Probed } from './probed.ts';

const MINUTES = Number(process.env['PATCHBAY_SOAK_MINUTES']) || 1;
const CLIENTS = 4;
/** Looks in one run; between two of them is load. */
const LOOKS = Math.min(60, 8 + 2 * MINUTES);
const SLICE_MS = (MINUTES * 60_000) / LOOKS;
/** Share of a run after which growth counts: before, code is compiled, tables and heaps find their size. */
const WARM_UP = 1 / 3;
/**
 * Growth that counts as flat, KiB a minute, of what a collection leaves: alive in the heap, which is known to some KiB, and taken by
 * the process, which the allocators give back in pieces of their own.
 */
const FLAT = { alive: 50, taken: 200 };
/** What the rest of the warm-up may add, KiB times minutes: in half an hour next to nothing, in one minute 12 and 24 MiB. */
const UNREST = { alive: 8 * 1024, taken: 16 * 1024 };
/**
 * What a process may have of its own at any look, KiB. Between two collections, which may be ten minutes apart, it rises: the keeper's
 * old generation to four times what was alive (decision 16).
 */
const MOST = { daemon: 112 * 1024, keeper: 72 * 1024 };
/** Descriptors that come and go by themselves: a socket being closed, a running restore. */
const SPARE_DESCRIPTORS = 4;
const SETTLE_MS = 20_000;

const open: Lab[] = [];
const talking: Traffic[] = [];
afterEach(async () => {
  for (const traffic of talking.splice(0)) traffic.kill();
  for (const lab of open.splice(0)) await lab.close();
});

interface Sample {
  readonly minute: number;
  /** All resident memory, KiB. */
  readonly rss: number;
  /** What is the process's own: neither the program's pages nor those of libraries, which come and go as the machine likes. KiB. */
  readonly own: number;
  readonly descriptors: number;
}

const descriptorsOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

function sample(pid: number, begun: number): Sample {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1]);
  return {
    minute: (performance.now() - begun) / 60_000,
    rss: kib('Rss'),
    own: kib('Anonymous'),
    descriptors: descriptorsOf(pid),
  };
}

/** What a collection leaves, KiB. */
interface Left {
  readonly minute: number;
  readonly alive: number;
  /** Of the process's own. */
  readonly taken: number;
}

/** KiB a minute from the first collection to the last one. */
function growth(left: readonly Left[], of: keyof typeof FLAT): number {
  const [first, last] = [left[0], left.at(-1)];
  if (first === undefined || last === undefined || first === last) throw new Error('too few collections');
  return (last[of] - first[of]) / (last.minute - first.minute);
}

const limitOf = (what: keyof typeof FLAT): number => FLAT[what] + UNREST[what] / (MINUTES * (1 - WARM_UP)) ** 2;

const mostOf = (samples: readonly Sample[]): number => Math.max(...samples.map(({ own }) => own));

function told(name: string, samples: readonly Sample[], left: readonly Left[]): string {
  const [first, last] = [samples[0], samples.at(-1)];
  const series = samples.map(({ own }) => (own / 1024).toFixed(1)).join(' ');
  const after = (of: keyof typeof FLAT): string =>
    `${left.map((one) => one[of].toFixed(0)).join(' and ')} KiB (${growth(left, of).toFixed(0)} a minute)`;
  return (
    `${name}: resident ${first?.rss} to ${last?.rss} KiB, of its own at most ${mostOf(samples)} KiB; ` +
    `after a collection alive ${after('alive')}, of its own ${after('taken')}; ` +
    `descriptors ${first?.descriptors} to ${last?.descriptors}; MiB of its own at each look: ${series}`
  );
}

test(
  `${MINUTES} min of mixed load by ${CLIENTS} clients: no leak, memory and descriptors flat, the state true`,
  { timeout: 120_000 + MINUTES * 180_000 + LOOKS * SETTLE_MS },
  async () => {
    const probed = new Probed();
    onTestFinished(() => probed.close());
    const lab = await Lab.open({ dist: probed.folder });
    open.push(lab);
    const traffic = await Traffic.open(lab, true, (begun) => talking.push(begun));
    const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(lab, i));
    const { keeper } = await lab.keeperProcesses();
    const pids = { daemon: lab.daemon?.pid ?? 0, keeper };
    const samples: Record<keyof typeof pids, Sample[]> = { daemon: [], keeper: [] };
    const left: Record<keyof typeof pids, Left[]> = { daemon: [], keeper: [] };
    const begun = performance.now();
    for (let look = 0; look < LOOKS; look++) {
      await runClients(clients, sleep(SLICE_MS));
      const { networks, sandboxes } = await stateOf(lab);
      expect(clients.flatMap((client) => client.settle(networks, sandboxes))).toEqual([]);
      expect(await untruths(lab)).toEqual([]);
      // Each sample is of the same state.
      await removeAll(lab, new Set([COMMON, 'echo', 'talker']));
      clients.forEach((client) => client.forget());
      for (const name of ['daemon', 'keeper'] as const) {
        const limit = (samples[name][0]?.descriptors ?? Number.POSITIVE_INFINITY) + SPARE_DESCRIPTORS;
        await waitUntil(() => descriptorsOf(pids[name]) <= limit, SETTLE_MS);
        samples[name].push(sample(pids[name], begun));
        // Only twice, and after the sample: that one is to be what the process does by itself.
        if (look === Math.floor(LOOKS * WARM_UP) || look === LOOKS - 1) {
          const alive = await probed.living(pids[name]);
          const { minute, own } = sample(pids[name], begun);
          left[name].push({ minute, alive, taken: own });
        }
      }
    }
    const reports = await traffic.close();
    const operations = clients.flatMap((client) => [...client.answers.values()]).reduce((a, b) => a + b, 0);
    console.log(
      [
        `${operations} operations`,
        ...reports,
        ...(['daemon', 'keeper'] as const).map((name) => told(name, samples[name], left[name])),
      ].join('\n'),
    );
    expect(reports.join('\n')).not.toContain('failed');
    expect(clients.flatMap((client) => client.surprises)).toEqual([]);
    expect(await lab.keeperProcesses()).toMatchObject({ keeper });
    for (const name of ['daemon', 'keeper'] as const) {
      expect(growth(left[name], 'alive'), name).toBeLessThan(limitOf('alive'));
      expect(growth(left[name], 'taken'), name).toBeLessThan(limitOf('taken'));
      expect(mostOf(samples[name]), name).toBeLessThan(MOST[name]);
    }
    expect(lab.log).not.toMatch(/"level":(40|50)/);
    expect(await cleared(lab)).toEqual([]);
  },
);
