/**
 * A daemon that is killed in the middle of a use case: some call never returns. The next start completes what was being
 * taken away, takes back what was being made, and the world is as it was before or as it is after.
 */

import { inspect, isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import { type World, House, summary } from './house-lab.ts';
import { Faults, type Moment } from './faults.ts';
import { KILL_STEP, eachCall } from './shares.ts';
import type { UseCase } from './use-case.ts';
import { breakable, creations, momentsOf, removals } from './use-cases.ts';

/** More than any of the use cases has. */
const MOST_CALLS = 100;

const ROUNDS = [
  ...creations.filter((one) => one.isUndoOnly !== true).map((one) => ({ ...one, makes: true })),
  ...removals.map((one) => ({ ...one, makes: false })),
];

test.each(ROUNDS)(
  '$title: killed before or after any call, the next start puts it right',
  { timeout: 360_000 },
  async (round) => {
    const { act, revert, tidy, prepare, makes, keeps, isEither } = round;
    const form = (world: World): unknown => (makes && isEither !== true ? world : summary(world));
    const house = await House.open({ defaultBridge: { kind: 'auto' } });
    await prepare(house);
    const settled = [await house.world()];
    if (!makes || isEither === true) settled.push(await after(house, round));
    /** Whether there is such a call. */
    const endsAt = async (n: number, moment: Moment): Promise<boolean> => {
      const faults = new Faults();
      await house.start({ ...breakable(faults), defaultBridge: { kind: 'auto' } });
      const death = faults.dieAt(n, moment);
      const isDone = await Promise.race([death.then(() => false), act(house).then(() => true)]);
      await house.start({ defaultBridge: { kind: 'auto' } });
      if (isDone) {
        expect(n).toBeGreaterThan(1);
        await revert(house);
        return false;
      }
      await tidy?.(house);
      const where = `killed ${moment} call ${n}, ${faults.broke}`;
      if (isEither === true) {
        const found = form(await house.world());
        const is = settled.findIndex((world) => isDeepStrictEqual(form(world), found));
        expect(is, `${where}: ${inspect(found)}`).not.toBe(-1);
        if (is === 1) await revert(house);
        return true;
      }
      // A removal of which nothing is recorded yet has not begun.
      const wanted = makes || faults.broke !== 'store.commit' || n > 1 ? settled.at(-1) : settled[0];
      expect(form(await house.world()), where).toEqual(form(wanted as World));
      if (!makes && wanted === settled[1]) await revert(house);
      return true;
    };
    for (const moment of momentsOf(round)) {
      await eachCall(MOST_CALLS, moment, KILL_STEP, endsAt);
      if (keeps === true) settled[0] = await house.world();
    }
  },
);

/** What a removal leads to. */
async function after(house: House, { act, revert }: UseCase): Promise<World> {
  await act(house);
  const world = await house.world();
  await revert(house);
  return world;
}
