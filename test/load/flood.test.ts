/** One sandbox floods its resolver: its neighbour gets every answer. The times are printed; `npm run bench` measures them. */

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { quantile } from '../bench/figures.ts';
import { FLOODS, floodSandboxes, neighbourOf, type FloodKind } from '../bench/flood.ts';
import { Lab } from '../e2e/lab.ts';
import { hasSlices } from '../kernel/support.ts';

let lab: Lab;
let at: { loud: string; quiet: string; folder: string };
beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', 'net');
  at = { ...(await floodSandboxes(lab, 'net')), folder: lab.folder };
});
afterAll(async () => {
  await lab.close();
});

test('both threads of the keeper that serve have short turns, where the kernel gives any', async () => {
  const { keeper } = await lab.keeperProcesses();
  const isShort = (thread: string): boolean =>
    /^se\.slice +: +200000$/m.test(readFileSync(`/proc/${keeper}/task/${thread}/sched`, 'utf8'));
  const short = readdirSync(`/proc/${keeper}/task`).filter(isShort);
  // The main one, and the loop's, which it has started since. What Node had started before runs by the default.
  expect(short.includes(String(keeper))).toBe(hasSlices());
  expect(short.length >= 2).toBe(hasSlices());
});

/** Questions of a kind of flood for so many seconds; the flood's own pace, or another one. */
function asks(netns: string, kind: FloodKind, seconds: number, flags: readonly string[] = FLOODS[kind].flags) {
  const file = join(lab.folder, kind.replaceAll(' ', '-'));
  writeFileSync(file, `${FLOODS[kind].questions.join('\n')}\n`);
  return execa('nsenter', [`--net=${netns}`, 'dnsperf', '-s', '127.0.0.11', '-d', file, '-l', String(seconds), ...flags]);
}

test(
  'who asks again as soon as it is refused gets no more by it: what is beyond some refusals is dropped',
  { timeout: 60_000 },
  async () => {
    const { stdout } = await asks(at.loud, 'forwarded names', 4);
    const count = (what: string): number => Number(new RegExp(`${what}:? (\\d+)`).exec(stdout)?.[1] ?? 0);
    const seconds = Number(/Run time \(s\): +([\d.]+)/.exec(stdout)?.[1]);
    expect(count('REFUSED'), stdout).toBeGreaterThan(0);
    expect(count('REFUSED'), stdout).toBeLessThanOrEqual(1000 * (seconds + 1));
    expect(count('NXDOMAIN'), stdout).toBeGreaterThan(0);
  },
);

test('of the thread that answers local names a flood has its share while a neighbour asks', { timeout: 60_000 }, async () => {
  const { keeper } = await lab.keeperProcesses();
  const threads = readdirSync(`/proc/${keeper}/task`).filter((thread) => thread !== String(keeper));
  // The first numbers of schedstat: nanoseconds on a processor, and of waiting for one.
  const used = () =>
    threads.map((thread) => {
      const [ran = 0, waited = 0] = readFileSync(`/proc/${keeper}/task/${thread}/schedstat`, 'utf8').split(' ').map(Number);
      return { ran: ran / 1e6, waited: waited / 1e6 };
    });
  /** Share of the time, and of the time in which there was a processor for it, of the thread that ran most. */
  const busiest = async (): Promise<{ readonly ofAll: number; readonly ofOffered: number }> => {
    const [before, begun] = [used(), performance.now()];
    await sleep(2000);
    const [after, elapsed] = [used(), performance.now() - begun];
    const spent = after.map(({ ran, waited }, i) => ({
      ran: ran - (before[i]?.ran ?? 0),
      waited: waited - (before[i]?.waited ?? 0),
    }));
    const most = spent.reduce((a, b) => (b.ran > a.ran ? b : a), { ran: 0, waited: 0 });
    return { ofAll: most.ran / elapsed, ofOffered: most.ran / Math.max(most.ran, elapsed - most.waited) };
  };
  const flood = asks(at.loud, 'local names', 7);
  await sleep(500);
  const alone = await busiest();
  const neighbour = asks(at.quiet, 'local names', 3, ['-Q', '50']);
  await sleep(500);
  const contended = await busiest();
  await Promise.all([flood, neighbour]);
  process.stdout.write(
    `share of the thread: ${alone.ofOffered.toFixed(2)} alone, ${contended.ofAll.toFixed(2)} beside a neighbour\n`,
  );
  // A quarter, and what goes round it: waits, the neighbour's own.
  expect(contended.ofAll).toBeLessThan(0.4);
  // Alone it takes what it is given, however busy the machine is.
  expect(alone.ofOffered).toBeGreaterThan(contended.ofAll);
});

const shown = (values: readonly number[]): string =>
  [0.5, 0.99].map((p) => `p${100 * p} ${quantile(values, p).toFixed(2)} ms`).join(', ');

test.each(
  (Object.keys(FLOODS) as FloodKind[]).flatMap((kind) => ['target', 'host.example'].map((name) => [kind, name] as const)),
)('a flood of %s: no question of the neighbour for %s is lost', { timeout: 120_000 }, async (kind, name) => {
  const { sent, lost, latenciesMs, floorMs } = await neighbourOf(at, kind, name);
  process.stdout.write(`flood of ${kind}, ${name}: ${shown(latenciesMs)}; bare server: ${shown(floorMs)}\n`);
  expect(sent).toBeGreaterThan(50);
  expect({ lost, answered: latenciesMs.length }).toEqual({ lost: 0, answered: sent });
});
