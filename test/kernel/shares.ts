/**
 * Which calls of a use case fail, and which are the last ones before a kill. There are thousands, and each kill is two starts: `npm test`
 * has time for a share of them.
 */

import type { Moment } from './faults.ts';

/** A run that takes its time for kills takes all. */
const isWhole = process.env['PATCHBAY_KILLS'] !== undefined;

/** From one call that fails to the next. */
export const FAULT_STEP = isWhole ? 1 : 2;

/** From one call that is the last one to the next. */
export const KILL_STEP = isWhole ? 1 : 8;

/** The first one by steps of this size: calls that are met after their work are others than those before. */
export const firstOf = (moment: Moment, step: number): number => (moment === 'before' || step === 1 ? 1 : 2);
