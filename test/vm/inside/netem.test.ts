/** Lateness on the lab's wire where the kernel has netem for it. */

import { expect, onTestFinished, test } from 'vitest';
import { Commands } from '../../lab/commands.ts';
import { beginRun, endRun } from '../../lab/run.ts';
import { Underlay } from '../../lab/underlay.ts';

const LIMIT_MS = 200_000;
/** Much more than a packet takes in an emulated machine. */
const LATE_MS = 500;

test('netem makes one place late each way, and no other, until it is healed', { timeout: LIMIT_MS }, async () => {
  const commands = new Commands();
  const run = beginRun(['lan', 'host1', 'host2', 'host3']);
  onTestFinished(async () => {
    await commands.close();
    await endRun(run.id);
  }, LIMIT_MS);
  const underlay = new Underlay(run, commands, 'v4');
  await underlay.make();
  for (const number of [1, 2, 3]) await underlay.addPlace(`host${number}`, number);
  /** Shortest round trip from host 1, milliseconds. */
  const round = async (to: number): Promise<number> => {
    const { stdout } = await underlay.exec('host1', 'ping', '-n', '-c', '5', '-i', '0.2', '-W', '5', underlay.addressOf(to));
    return Math.min(...[...stdout.matchAll(/time=([\d.]+) ms/g)].map(([, time]) => Number(time)));
  };
  expect(await underlay.delay('host2', LATE_MS)).toBe('netem');
  expect(await round(2)).toBeGreaterThanOrEqual(2 * LATE_MS);
  expect(await round(3)).toBeLessThan(LATE_MS);
  await underlay.heal('host2');
  expect(await round(2)).toBeLessThan(LATE_MS);
});
