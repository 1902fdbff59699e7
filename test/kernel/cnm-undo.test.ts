/**
 * Every call of a use case fails once, on real parts. What makes something leaves the world as it was before; what takes
 * something away completes when it is asked again.
 */

import { expect, test } from 'vitest';
import { Faults } from './faults.ts';
import { House, summary } from './house-lab.ts';
import { breakable, creations, removals } from './use-cases.ts';

/** More than any of the use cases has. */
const MOST_CALLS = 60;

const ROUNDS = creations.flatMap((one) => (['before', 'after'] as const).map((moment) => ({ ...one, moment })));

test.each(ROUNDS)(
  '$title: whichever call fails $moment its work, nothing changes',
  { timeout: 120_000 },
  async ({ prepare, act, revert, keeps, moment }) => {
    const faults = new Faults();
    const house = await House.open({ ...breakable(faults), defaultBridge: { kind: 'auto' } });
    await prepare(house);
    const before = await house.world();
    // Until the use case has fewer calls than the one that would fail.
    for (let n = 1; n <= MOST_CALLS; n++) {
      faults.breakAt(n, moment);
      const error = await act(house).then(
        () => undefined,
        (e: unknown) => e,
      );
      const { broke } = faults;
      faults.reset();
      if (broke === undefined) {
        expect(n).toBeGreaterThan(2);
        expect(error).toBeUndefined();
        break;
      }
      const where = `call ${n}, ${broke}`;
      expect(String(error), where).toContain('broken on purpose');
      expect((error as { undoFailures?: unknown }).undoFailures, where).toBeUndefined();
      expect(await house.world(), where).toEqual(before);
    }
    await revert(house);
    if (!keeps) expect(await house.world(), 'made and removed').toEqual(before);
  },
);

const REMOVALS = removals.flatMap((one) => (['before', 'after'] as const).map((moment) => ({ ...one, moment })));

test.each(REMOVALS)(
  '$title: whichever call fails $moment its work, asking again completes it',
  { timeout: 120_000 },
  async ({ prepare, act, revert, moment }) => {
    const faults = new Faults();
    const house = await House.open({ ...breakable(faults), defaultBridge: { kind: 'auto' } });
    await prepare(house);
    await act(house);
    const wanted = summary(await house.world());
    for (let n = 1; n <= MOST_CALLS; n++) {
      await revert(house);
      faults.breakAt(n, moment);
      const error = await act(house).then(
        () => undefined,
        (e: unknown) => e,
      );
      const { broke } = faults;
      faults.reset();
      if (broke === undefined) {
        expect(n).toBeGreaterThan(1);
        return;
      }
      const where = `call ${n}, ${broke}`;
      expect(String(error), where).toContain('broken on purpose');
      await act(house);
      expect(summary(await house.world()), where).toEqual(wanted);
    }
  },
);
