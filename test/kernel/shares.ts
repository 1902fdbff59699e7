/**
 * Which calls of a use case are the last ones before a kill, and after how many failed ones a test looks at the world. There are thousands,
 * each kill is two starts, and a look costs three times as much as a call.
 */

import type { Moment } from './faults.ts';

/** A run that takes its time for kills takes all, and looks after each. */
const isWhole = process.env['PATCHBAY_KILLS'] !== undefined;

/** From one call that is the last one to the next. */
export const KILL_STEP = isWhole ? 1 : 8;

/** The first one: calls that are killed after their work are others than those before. */
export const firstKill = (moment: Moment): number => (moment === 'before' || isWhole ? 1 : 2);

/** Whether to look after this call has failed: what one of those before has left is still there. */
export const isLookedAt = (call: number): boolean => isWhole || call % 4 === 0;
