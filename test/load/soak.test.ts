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
/** A process of Node grows until its collector finds it worth the while; a leak goes on beyond that. */
const MAX_GROWTH_KIB = 64 * 1024;
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
  readonly second: number;
  readonly rss: number;
  readonly pss: number;
  readonly descriptors: number;
}

const descriptorsOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

function sample(pid: number, begun: number): Sample {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1]);
  return {
    second: (performance.now() - begun) / 1000,
    rss: kib('Rss'),
    pss: kib('Pss'),
    descriptors: descriptorsOf(pid),
  };
}

/** KiB a minute, by least squares. */
function slope(samples: readonly Sample[], of: 'rss' | 'pss'): number {
  const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
  const x = mean(samples.map((one) => one.second));
  const y = mean(samples.map((one) => one[of]));
  const up = samples.reduce((sum, one) => sum + (one.second - x) * (one[of] - y), 0);
  const down = samples.reduce((sum, one) => sum + (one.second - x) ** 2, 0);
  return (60 * up) / down;
}

/** A run that has warmed up. */
const settled = (samples: readonly Sample[]): readonly Sample[] => samples.slice(Math.floor(samples.length / 3));

function told(name: string, samples: readonly Sample[]): string {
  const late = settled(samples);
  const [first, last] = [late[0], late.at(-1)];
  return (
    `${name}: RSS ${first?.rss} to ${last?.rss} KiB (${slope(late, 'rss').toFixed(0)} KiB a minute), ` +
    `PSS ${first?.pss} to ${last?.pss} KiB (${slope(late, 'pss').toFixed(0)} a minute), ` +
    `descriptors ${first?.descriptors} to ${last?.descriptors}`
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
      const late = settled(list);
      expect((late.at(-1)?.rss ?? 0) - (late[0]?.rss ?? 0)).toBeLessThan(MAX_GROWTH_KIB);
    }
    expect(lab.log).not.toMatch(/"level":(40|50)/);
    expect(await cleared(lab)).toEqual([]);
  },
);
