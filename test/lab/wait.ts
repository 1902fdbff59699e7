/** Waiting for what becomes true, and how long that took. */

import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_MS = 20;

/** Looks until it is true, `limitMs` at most; answers the milliseconds. `what` is for the error. */
export async function until(
  what: string,
  isTrue: () => Promise<boolean> | boolean,
  limitMs: number,
  signal?: AbortSignal,
): Promise<number> {
  const begin = performance.now();
  while (!(await isTrue())) {
    signal?.throwIfAborted();
    if (performance.now() - begin > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await sleep(LOOK_MS);
  }
  return performance.now() - begin;
}

/** Throws `what` when it is not so. */
export function must(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(`this did not hold: ${what}`);
}
