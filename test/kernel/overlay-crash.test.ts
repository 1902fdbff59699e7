/**
 * As cnm-crash, for overlay networks: a daemon that is killed at a call into the network's own namespace, too. The next start
 * takes back what was being made, completes what was being taken away, and the ids are free again.
 */

import { expect, test, vi } from 'vitest';
import { arm } from './fault-modules.ts';
import { Faults } from './faults.ts';
import { House, type World, summary } from './house-lab.ts';
import { overlayCreations, overlayRemovals } from './overlay-cases.ts';
import { breakable, momentsOf } from './use-cases.ts';

vi.mock(import('../../src/kernel/index.ts'), async (original) =>
  (await import('./fault-modules.ts')).kernelWithFaults(await original()),
);

/** More than any of the use cases has. */
const MOST_CALLS = 60;

const ROUNDS = [
  ...overlayCreations.map((one) => ({ ...one, makes: true })),
  ...overlayRemovals.map((one) => ({ ...one, makes: false })),
].flatMap((one) => momentsOf(one).map((moment) => ({ ...one, moment })));

test.each(ROUNDS)('$title: killed $moment any call, the next start puts it right', { timeout: 180_000 }, async (round) => {
  const { act, revert, prepare, makes, moment } = round;
  const form = (world: World): unknown => (makes ? world : summary(world));
  const house = await House.open();
  await prepare(house);
  const before = form(await house.world());
  let wanted = before;
  if (!makes) {
    await act(house);
    wanted = form(await house.world());
    await revert(house);
  }
  let inside = 0;
  for (let n = 1; n <= MOST_CALLS; n++) {
    const faults = new Faults();
    arm(faults);
    await house.start(breakable(faults));
    const death = faults.dieAt(n, moment);
    const isDone = await Promise.race([death.then(() => false), act(house).then(() => true)]);
    arm(new Faults());
    await house.start();
    if (isDone) {
      expect(n).toBeGreaterThan(1);
      // Those that other suites do not meet.
      if (/connect/.test(round.title)) expect(inside).toBeGreaterThan(0);
      return;
    }
    if (faults.broke?.startsWith('rtnl in the sandbox') === true) inside++;
    const isBegun = makes || n > 1 || faults.broke !== 'store.commit';
    expect(form(await house.world()), `call ${n}, ${faults.broke}`).toEqual(isBegun ? wanted : before);
    if (!makes && isBegun) await revert(house);
  }
  throw new Error(`more than ${MOST_CALLS} calls`);
});
