/**
 * A daemon that is killed in the middle of a use case: some call never returns. The next start completes what was being
 * taken away, takes back what was being made, and the world is as it was before or as it is after.
 */

import { inspect, isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import { type World, House, summary } from './house-lab.ts';
import { Faults } from './faults.ts';
import { KILL_STEP, firstOf } from './shares.ts';
import type { UseCase } from './use-case.ts';
import { breakable, creations, momentsOf, removals } from './use-cases.ts';

/** More than any of the use cases has. */
const MOST_CALLS = 100;

const ROUNDS = [
  ...creations.filter((one) => one.isUndoOnly !== true).map((one) => ({ ...one, makes: true })),
  ...removals.map((one) => ({ ...one, makes: false })),
].flatMap((one) => momentsOf(one).map((moment) => ({ ...one, moment })));

test.each(ROUNDS)('$title: killed $moment its calls, the next start puts it right', { timeout: 180_000 }, async (round) => {
  const { act, revert, tidy, prepare, makes, isEither, moment } = round;
  const form = (world: World): unknown => (makes && isEither !== true ? world : summary(world));
  const house = await House.open({ defaultBridge: { kind: 'auto' } });
  await prepare(house);
  const settled = [await house.world()];
  if (!makes || isEither === true) settled.push(await after(house, round));
  for (let n = firstOf(moment, KILL_STEP); n <= MOST_CALLS; n += KILL_STEP) {
    const faults = new Faults();
    await house.start({ ...breakable(faults), defaultBridge: { kind: 'auto' } });
    const death = faults.dieAt(n, moment);
    const isDone = await Promise.race([death.then(() => false), act(house).then(() => true)]);
    await house.start({ defaultBridge: { kind: 'auto' } });
    if (isDone) {
      expect(n).toBeGreaterThan(1);
      return;
    }
    await tidy?.(house);
    if (isEither === true) {
      const found = form(await house.world());
      const is = settled.findIndex((world) => isDeepStrictEqual(form(world), found));
      expect(is, `call ${n}, ${faults.broke}: ${inspect(found)}`).not.toBe(-1);
      if (is === 1) await revert(house);
      continue;
    }
    // A removal of which nothing is recorded yet has not begun.
    const wanted = makes || faults.broke !== 'store.commit' || n > 1 ? settled.at(-1) : settled[0];
    expect(form(await house.world()), `call ${n}, ${faults.broke}`).toEqual(form(wanted as World));
    if (!makes && wanted === settled[1]) await revert(house);
  }
  throw new Error(`more than ${MOST_CALLS} calls`);
});

/** What a removal leads to. */
async function after(house: House, { act, revert }: UseCase): Promise<World> {
  await act(house);
  const world = await house.world();
  await revert(house);
  return world;
}
