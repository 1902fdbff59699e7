/**
 * Which calls of a use case fail, which are the last ones before a kill, and after how many failed ones a test looks at the world. There are
 * thousands, each kill is two starts, and a look costs more than a call: `npm test` has time for a share of them.
 */

import type { Moment } from './faults.ts';

/** A run that takes its time for kills takes all, and looks after each. */
export const isWhole = process.env['PATCHBAY_KILLS'] !== undefined;

/** From one call that fails to the next, in a cluster; of what one host does all fail. */
export const FAULT_STEP = isWhole ? 1 : 2;

/** From one call that is the last one to the next. */
export const KILL_STEP = isWhole ? 1 : 12;

/** The first one by steps of this size: calls that are met after their work are others than those before. */
const firstOf = (moment: Moment, step: number): number => (moment === 'before' || step === 1 ? 1 : 2);

/** Whether to look after this call has failed: what one of those before has left is still there. */
export const isLookedAt = (call: number): boolean => isWhole || call % 4 === 0;

/** Call by call by steps of this size, until there is none. Throws where there are more than `most`. */
export async function eachCall(
  most: number,
  moment: Moment,
  step: number,
  isThere: (call: number, moment: Moment) => Promise<boolean>,
): Promise<void> {
  for (let n = firstOf(moment, step); n <= most; n += step) if (!(await isThere(n, moment))) return;
  throw new Error(`more than ${most} calls`);
}
