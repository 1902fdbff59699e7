/**
 * Keeps one sandbox from starving the others: while more than one is asking, each has a token bucket. Alone, a sandbox is
 * not held back. Pure; times are milliseconds of a clock that never goes back.
 */

export interface Allowance {
  /** A second, of whatever is counted. */
  readonly rate: number;
  readonly burst: number;
}

/** Two sandboxes that ask within such a span are asking at the same time. */
const WINDOW_MS = 100;

/** Who asked lately. One for all quotas. */
export class Contention {
  #windowStart = 0;
  #window = 1;
  #now = 0;
  #before = 0;

  /** Notes that the owner of `quota` asks. True while another does too. */
  note(quota: Quota, now: number): boolean {
    if (now - this.#windowStart >= WINDOW_MS) {
      this.#before = now - this.#windowStart >= 2 * WINDOW_MS ? 0 : this.#now;
      this.#windowStart = now;
      this.#now = 0;
      this.#window++;
    }
    if (quota.window !== this.#window) {
      quota.window = this.#window;
      this.#now++;
    }
    return this.#now > 1 || this.#before > 1;
  }
}

export class Quota {
  /** Last window in which the owner asked; Contention's own. */
  window = 0;
  readonly #allowance: Allowance;
  #tokens: number;
  #filledAt = 0;

  constructor(allowance: Allowance) {
    this.#allowance = allowance;
    this.#tokens = allowance.burst;
  }

  /** Pays for `count`. False: the owner has overdrawn and must wait for isCovered. */
  spend(count: number, now: number): boolean {
    this.#fill(now);
    this.#tokens -= count;
    return this.#tokens > 0;
  }

  /** True when the debt is paid. */
  isCovered(now: number): boolean {
    this.#fill(now);
    return this.#tokens > 0;
  }

  #fill(now: number): void {
    const { rate, burst } = this.#allowance;
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) * rate) / 1000);
    this.#filledAt = now;
  }
}
