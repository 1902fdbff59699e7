/** Which calls of a use case are the last ones before a kill. Each kill is two starts: `npm test` has time for a part of them. */

/** A run that takes its time for kills takes all. */
const isWhole = process.env['PATCHBAY_KILLS'] !== undefined;

/** From one call to the next. */
export const KILL_STEP = isWhole ? 1 : 4;

/** The first one: calls that are killed after their work are others than those before. */
export const firstKill = (moment: 'before' | 'after'): number => (moment === 'before' || isWhole ? 1 : 2);
