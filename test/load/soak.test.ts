/** A mixed load over minutes: nothing leaks, memory and descriptors of daemon and keeper stay flat, the state is true. */

import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { COMMON, Client, runClients } from '../crash/load.ts';
import { Traffic } from '../crash/traffic.ts';
import { cleared, removeAll, stateOf, untruths } from '../crash/truth.ts';
import { Lab, waitUntil } from '../e2e/lab.ts';

const MINUTES = Number(process.env['PATCHBAY_SOAK_MINUTES']) || 1;
const CLIENTS = 4;
/** Looks in one run; between two of them is load. */
const LOOKS = Math.min(60, 8 + 2 * MINUTES);
const SLICE_MS = (MINUTES * 60_000) / LOOKS;
/** Share of a run in which a process may grow: code is compiled, tables and heaps find their size. */
const WARM_UP = 1 / 2;
/** What counts as flat, KiB a minute. */
const FLAT = 100;
/**
 * What the rest of the warm-up and the hour of the last collection may add, KiB times minutes: over a judged quarter of an hour
 * next to nothing, over half a minute 16 MiB.
 */
const UNREST = 8 * 1024;
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

/** The middle of the list. */
const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;

/** Growth in KiB a minute: the median of what lies between any two looks, since single looks fall before or behind a collection. */
function growth(samples: readonly Sample[], of: 'rss' | 'own'): number {
  return median(
    samples.flatMap((one, i) => samples.slice(i + 1).map((later) => (later[of] - one[of]) / (later.minute - one.minute))),
  );
}

const warm = (samples: readonly Sample[]): readonly Sample[] => samples.slice(Math.floor(samples.length * WARM_UP));

function told(name: string, samples: readonly Sample[]): string {
  const late = warm(samples);
  const [first, last] = [samples[0], samples.at(-1)];
  const series = samples.map(({ own }) => (own / 1024).toFixed(1)).join(' ');
  return (
    `${name}: resident ${first?.rss} to ${last?.rss} KiB, of its own ${first?.own} to ${last?.own} KiB; ` +
    `when warm ${growth(late, 'rss').toFixed(0)} and ${growth(late, 'own').toFixed(0)} KiB a minute; ` +
    `descriptors ${first?.descriptors} to ${last?.descriptors}; MiB of its own at each look: ${series}`
  );
}

test(
  `${MINUTES} min of mixed load by ${CLIENTS} clients: no leak, memory and descriptors flat, the state true`,
  { timeout: 120_000 + MINUTES * 180_000 + LOOKS * SETTLE_MS },
  async () => {
    const lab = await Lab.open();
    open.push(lab);
    const traffic = await Traffic.open(lab, true, (begun) => talking.push(begun));
    const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(lab, i));
    const { keeper } = await lab.keeperProcesses();
    const pids = { daemon: lab.daemon?.pid ?? 0, keeper };
    const samples: Record<keyof typeof pids, Sample[]> = { daemon: [], keeper: [] };
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
      }
    }
    const reports = await traffic.close();
    const operations = clients.flatMap((client) => [...client.answers.values()]).reduce((a, b) => a + b, 0);
    console.log(
      [`${operations} operations`, ...reports, told('daemon', samples.daemon), told('keeper', samples.keeper)].join('\n'),
    );
    expect(reports.join('\n')).not.toContain('failed');
    expect(clients.flatMap((client) => client.surprises)).toEqual([]);
    expect(await lab.keeperProcesses()).toMatchObject({ keeper });
    for (const list of Object.values(samples)) {
      expect(growth(warm(list), 'own')).toBeLessThan(FLAT + UNREST / (MINUTES * (1 - WARM_UP)) ** 2);
    }
    expect(lab.log).not.toMatch(/"level":(40|50)/);
    expect(await cleared(lab)).toEqual([]);
  },
);
