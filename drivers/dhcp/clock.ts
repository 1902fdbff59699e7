/** Time as DHCP needs it: what the calendar says, and what passes whatever becomes of the calendar. */

import type { Env } from '../../src/base/index.ts';

export interface Clock {
  /** Milliseconds since the epoch: goes on while the machine sleeps or is off, and may be set by anybody. */
  wall(): number;
  /** Milliseconds of this process: never set, and stands while the machine sleeps. */
  steady(): number;
  /** Runs `work` once, unless it is cancelled before. Does not keep the process alive. */
  after(ms: number, work: () => void): { cancel(): void };
}

export const clockOf = (env: Env): Clock => ({
  wall: () => env.now(),
  steady: () => performance.now(),
  after(ms, work) {
    const timer = setTimeout(work, ms).unref();
    return { cancel: () => clearTimeout(timer) };
  },
});
