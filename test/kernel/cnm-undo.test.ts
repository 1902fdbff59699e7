/**
 * Every call of a use case fails once, on real parts. What makes something leaves the world as it was before; what takes
 * something away completes when it is asked again.
 */

import { expect, test, vi } from 'vitest';
import { joinSteps } from '../../src/cnm/join.ts';
import { IN_CLUSTER, OF_HOMES, deleteLabels, isAmong, seen, undoLabels } from './fault-labels.ts';
import { arm } from './fault-modules.ts';
import { Faults, type Moment } from './faults.ts';
import { House, type World, summary } from './house-lab.ts';
import { eachCall, isLookedAt } from './shares.ts';
import type { UseCase } from './use-case.ts';
import { breakable, creations, momentsOf, removals } from './use-cases.ts';

vi.mock(import('../../src/kernel/index.ts'), async (original) =>
  (await import('./fault-modules.ts')).kernelWithFaults(await original()),
);
vi.mock(import('../../src/cnm/files.ts'), async (original) =>
  (await import('./fault-modules.ts')).filesWithFaults(await original()),
);

vi.mock(import('../../src/base/index.ts'), async (original) =>
  (await import('./fault-labels.ts')).baseWithLabels(await original()),
);

/** Calls broken. */
let calls = 0;

/** More than any of the use cases has. */
const MOST_CALLS = 150;

test.each(creations)(
  '$title: whichever call fails, before its work or after it, nothing changes',
  { timeout: 240_000 },
  async (round) => {
    const { prepare, act, revert, keeps, isEither } = round;
    const faults = new Faults();
    arm(faults);
    const house = await House.open({ ...breakable(faults), defaultBridge: { kind: 'auto' } });
    await prepare(house);
    let before = await house.world();
    const wanted = isEither === true ? await madeAndReverted(house, act, revert) : before;
    if (isEither === true) before = await house.world();
    /** Whether there is such a call. */
    const failsAt = async (n: number, moment: Moment): Promise<boolean> => {
      faults.breakAt(n, moment);
      const error = await failureOf(act(house));
      const { broke } = faults;
      faults.reset();
      if (broke === undefined) {
        expect(n).toBeGreaterThan(1);
        expect(error).toBeUndefined();
        await revert(house);
        return false;
      }
      calls++;
      const where = `up to call ${n} ${moment} its work, ${broke}`;
      if (isEither === true && error === undefined) {
        // It came after what was asked for: the next look ends it.
        await house.controller.mend();
        expect(summary(await house.world()), where).toEqual(summary(wanted));
        await revert(house);
        const again = await house.world();
        expect(summary(again), where).toEqual(summary(before));
        before = again;
        return true;
      }
      expect(String(error), where).toContain('broken on purpose');
      expect((error as { undoFailures?: unknown }).undoFailures, where).toBeUndefined();
      if (keeps === true || isLookedAt(n)) expect(await house.world(), where).toEqual(before);
      return true;
    };
    for (const moment of momentsOf(round)) {
      await eachCall(MOST_CALLS, moment, 1, failsAt);
      if (keeps === true) before = await house.world();
      else expect(await house.world(), 'made and removed').toEqual(before);
    }
  },
);

const failureOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (e: unknown) => e,
  );

/** What the use case leads to; it is taken back. */
async function madeAndReverted(house: House, act: UseCase['act'], revert: UseCase['revert']): Promise<World> {
  await act(house);
  const made = await house.world();
  await revert(house);
  return made;
}

test.each(removals)(
  '$title: whichever call fails, before its work or after it, asking again completes it',
  { timeout: 240_000 },
  async (round) => {
    const { prepare, act, revert, isEither } = round;
    const faults = new Faults();
    arm(faults);
    const house = await House.open({ ...breakable(faults), defaultBridge: { kind: 'auto' } });
    await prepare(house);
    await act(house);
    const wanted = summary(await house.world());
    const failsAt = async (n: number, moment: Moment): Promise<boolean> => {
      await revert(house);
      faults.breakAt(n, moment);
      const error = await failureOf(act(house));
      const { broke } = faults;
      faults.reset();
      if (broke === undefined) {
        expect(n).toBeGreaterThan(1);
        expect(error).toBeUndefined();
        expect(summary(await house.world()), 'the last calls').toEqual(wanted);
        return false;
      }
      calls++;
      const where = `up to call ${n} ${moment} its work, ${broke}`;
      if (isEither === true && error === undefined) {
        // It came after what was asked for: the next look ends it.
        await house.controller.mend();
      } else {
        expect(String(error), where).toContain('broken on purpose');
        await act(house);
      }
      if (isLookedAt(n)) expect(summary(await house.world()), where).toEqual(wanted);
      return true;
    };
    for (const moment of momentsOf(round)) await eachCall(MOST_CALLS, moment, 1, failsAt);
  },
);

/** Steps of a start, which logs what fails; see cnm-crash. */
const AT_START = ['files', 'loopback', 'redirect', 'links', 'routes'];

test('every undo step that the sources name has run, and every step of a delete has failed, in a case above', () => {
  process.stdout.write(`${calls} calls broken, ${seen.undone.size} undo steps and ${seen.failed.size} steps of deletes met\n`);
  const isElsewhere = (label: string, homes: readonly string[]): boolean => [...IN_CLUSTER, ...homes].includes(label);
  const steps = [...undoLabels(), ...joinSteps.map((step) => step.label)];
  expect(steps.length).toBeGreaterThan(20);
  expect(steps.filter((label) => !isAmong(label, seen.undone) && !isElsewhere(label, OF_HOMES.undo))).toEqual([]);
  const deletes = deleteLabels().filter((label) => !AT_START.includes(label) && !isElsewhere(label, OF_HOMES.deletes));
  expect(deletes.length).toBeGreaterThan(7);
  expect(deletes.filter((label) => !isAmong(label, seen.failed))).toEqual([]);
});
