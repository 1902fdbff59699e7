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
/** Shares of a run in which a process may grow: code is compiled, tables and heaps find their size. */
const WARM_UP = { living: 1 / 3, own: 1 / 2 };
/**
 * Growth that counts as flat, KiB a minute. What lives is known to some KiB. What a process has of its own goes up and down with
 * its collections by several MiB, which is some 150 KiB a minute in a quarter of an hour.
 */
const FLAT = { living: 50, own: 280 };
/** What the rest of the warm-up may add, KiB times minutes: in half an hour next to nothing, in one minute 16 MiB. */
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

/** What is alive after a collection. */
interface Living {
  readonly minute: number;
  readonly kib: number;
}

/** KiB a minute from the first look to the last one. */
function livingGrowth(looks: readonly Living[]): number {
  const [first, last] = [looks[0], looks.at(-1)];
  if (first === undefined || last === undefined || first === last) throw new Error('too few looks at what is alive');
  return (last.kib - first.kib) / (last.minute - first.minute);
}

/** The middle of the list. */
const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;

/** Growth in KiB a minute: the median of what lies between any two looks, since single looks fall before or behind a collection. */
function growth(samples: readonly Sample[], of: 'rss' | 'own'): number {
  return median(
    samples.flatMap((one, i) => samples.slice(i + 1).map((later) => (later[of] - one[of]) / (later.minute - one.minute))),
  );
}

const limitOf = (what: keyof typeof FLAT): number => FLAT[what] + UNREST / (MINUTES * (1 - WARM_UP[what])) ** 2;

const warm = (samples: readonly Sample[]): readonly Sample[] => samples.slice(Math.floor(samples.length * WARM_UP.own));

function told(name: string, samples: readonly Sample[], living: readonly Living[]): string {
  const late = warm(samples);
  const [first, last] = [samples[0], samples.at(-1)];
  const series = samples.map(({ own }) => (own / 1024).toFixed(1)).join(' ');
  return (
    `${name}: resident ${first?.rss} to ${last?.rss} KiB, of its own ${first?.own} to ${last?.own} KiB; ` +
    `alive ${living.map(({ kib }) => kib.toFixed(0)).join(' and ')} KiB (${livingGrowth(living).toFixed(0)} a minute); ` +
    `when warm ${growth(late, 'rss').toFixed(0)} and ${growth(late, 'own').toFixed(0)} KiB a minute; ` +
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
    const living: Record<keyof typeof pids, Living[]> = { daemon: [], keeper: [] };
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
        // Only twice, and not while the other figure is taken: it is to be what the process does by itself.
        if (look === Math.floor(LOOKS * WARM_UP.living) || look === LOOKS - 1)
          living[name].push({ minute: (performance.now() - begun) / 60_000, kib: await probed.living(pids[name]) });
      }
    }
    const reports = await traffic.close();
    const operations = clients.flatMap((client) => [...client.answers.values()]).reduce((a, b) => a + b, 0);
    console.log(
      [
        `${operations} operations`,
        ...reports,
        ...(['daemon', 'keeper'] as const).map((name) => told(name, samples[name], living[name])),
      ].join('\n'),
    );
    expect(reports.join('\n')).not.toContain('failed');
    expect(clients.flatMap((client) => client.surprises)).toEqual([]);
    expect(await lab.keeperProcesses()).toMatchObject({ keeper });
    for (const name of ['daemon', 'keeper'] as const) {
      expect(livingGrowth(living[name]), name).toBeLessThan(limitOf('living'));
      expect(growth(warm(samples[name]), 'own'), name).toBeLessThan(limitOf('own'));
    }
    expect(lab.log).not.toMatch(/"level":(40|50)/);
    expect(await cleared(lab)).toEqual([]);
  },
);
