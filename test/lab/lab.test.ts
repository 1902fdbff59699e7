/**
 * Scenarios on one lab of three hosts, small enough for every run of all tests, and the lab by itself: its shell, and that
 * nothing of it stays however it ends.
 */

import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { execa } from 'execa';
import { Lab } from './lab.ts';
import { PROGRAMS, RUNS } from './places.ts';
import { sweepRuns } from './run.ts';
import { SMALL, runScenario, scenarioLab, verdictLine } from './scenario.ts';
import { SCENARIOS } from './scenarios/index.ts';
import { until } from './wait.ts';

const HOSTS = 3;
const OPEN_MS = 120_000;
/** Engines take a minute where nothing else runs. */
const SCENARIO_MS = 300_000;
const ENTRY = join(PROGRAMS, 'lab.mjs');

describe('on a lab of three hosts', () => {
  let lab: Lab | undefined;
  const fresh = async (): Promise<Lab> => (lab ??= await Lab.open(scenarioLab(HOSTS, 'v4')));
  beforeAll(async () => void (await fresh()), OPEN_MS);
  afterAll(async () => await lab?.close(), OPEN_MS);

  test.each(SCENARIOS)('$name: $about', { timeout: SCENARIO_MS }, async (scenario) => {
    const { isUsable, ...verdict } = await runScenario(await fresh(), scenario, SMALL);
    process.stdout.write(`${verdictLine(verdict)}\n`);
    if (!isUsable) {
      await lab?.close();
      lab = undefined;
    }
    if (verdict.error !== undefined) throw verdict.error;
  });
});

/** Folders and namespaces of a run. */
const leftOf = (id: string): string[] => [
  ...(existsSync(join(RUNS, id)) ? [id] : []),
  ...readdirSync('/run/netns').filter((name) => name.startsWith(`pblab-${id}-`)),
];

test(
  'over an underlay of IPv6 the shell has a host, its verbs, and an end that leaves nothing',
  { timeout: OPEN_MS },
  async () => {
    const input = [
      'echo "run $LAB_PREFIX"',
      `host 2 network node ls --format '{{.Name}} {{.Address}} {{.State}}{{.Self}}'`,
      'cut 2',
      'host 1 ping -n -c 1 -W 1 2001:db8:7::2 >/dev/null || echo cut off',
      'heal 2',
      'host 1 ping -n -c 1 -W 5 2001:db8:7::2 >/dev/null && echo healed',
      'lose 9 10',
      'exit 7',
    ].join('\n');
    const { stdout, exitCode } = await execa(process.execPath, [ENTRY, '--hosts', '2', '--underlay', 'v6'], {
      input,
      reject: false,
    });
    expect(stdout).toContain(
      [
        'host1 2001:db8:7::1 ready',
        'host2 2001:db8:7::2 ready*',
        'host2 is cut off',
        'cut off',
        'host2 is healed',
        'healed',
        '"9" is no place: 1 to 2 for a host, etcd1 to etcd3',
      ].join('\n'),
    );
    expect(exitCode).toBe(7);
    expect(leftOf(/run pblab-([0-9a-f]{6})-/.exec(stdout)?.[1] ?? '')).toEqual([]);
  },
);

/** Starts a lab and waits until its hosts are known; answers its process and the id of its run. */
async function begun(): Promise<{ child: ReturnType<typeof spawn>; id: string }> {
  // Its stdin stays open: the shell waits for words.
  const child = spawn(process.execPath, [ENTRY, '--hosts', '2'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stdin.on('error', () => {});
  child.stdin.write('echo "run $LAB_PREFIX"\n');
  await until('the lab is there', () => /run pblab-[0-9a-f]{6}-/.test(text), OPEN_MS);
  return { child, id: /run pblab-([0-9a-f]{6})-/.exec(text)?.[1] ?? '' };
}

test.each(['SIGTERM', 'SIGHUP'] as const)('%s takes everything away', { timeout: OPEN_MS }, async (signal) => {
  const { child, id } = await begun();
  expect(leftOf(id)).toHaveLength(7);
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill(signal);
  expect(await ended).toBe(signal === 'SIGTERM' ? 143 : 129);
  expect(leftOf(id)).toEqual([]);
});

test('what a killed lab left a later one takes away, and nothing of one that lives', { timeout: OPEN_MS }, async () => {
  const [killed, living] = await Promise.all([begun(), begun()]);
  const gone = new Promise<unknown>((resolve) => killed.child.once('exit', resolve));
  killed.child.kill('SIGKILL');
  await gone;
  expect(leftOf(killed.id)).toHaveLength(7);
  // Another lab that starts at this moment may have been first.
  await sweepRuns();
  await until('nothing of the killed one is left', () => leftOf(killed.id).length === 0, OPEN_MS);
  expect(leftOf(living.id)).toHaveLength(7);
  const ended = new Promise<unknown>((resolve) => living.child.once('exit', resolve));
  living.child.stdin?.end('exit\n');
  await ended;
  expect(leftOf(living.id)).toEqual([]);
});
