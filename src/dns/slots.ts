/** A bounded number of things at once, with a bounded queue of those that wait. */

/** Calls `go` once, now or later. */
export type Pace = (go: () => void) => void;

type Grant = (isGranted: boolean) => void;

interface Waiter {
  readonly grant: Grant;
  readonly timer: NodeJS.Timeout;
}

export class Slots {
  readonly #limit: number;
  readonly #queueLimit: number;
  readonly #waitMs: number;
  readonly #pace: Pace;
  readonly #waiting = new Set<Waiter>();
  #taken = 0;

  /** `pace` decides when one that waited goes on with the slot that it got. Default: at once. */
  constructor(limit: number, queueLimit: number, waitMs: number, pace: Pace = (go) => go()) {
    this.#limit = limit;
    this.#queueLimit = queueLimit;
    this.#waitMs = waitMs;
    this.#pace = pace;
  }

  get taken(): number {
    return this.#taken;
  }

  /**
   * Calls `grant` once, before it returns where nobody has to wait: true with a slot taken, which release() gives back; false when
   * the queue is full or the wait was too long.
   */
  take(grant: Grant): void {
    if (this.#taken < this.#limit) {
      this.#taken++;
      return grant(true);
    }
    if (this.#waiting.size >= this.#queueLimit) return grant(false);
    const waiter: Waiter = {
      grant,
      timer: setTimeout(() => {
        this.#waiting.delete(waiter);
        grant(false);
      }, this.#waitMs),
    };
    this.#waiting.add(waiter);
  }

  release(): void {
    for (const waiter of this.#waiting) {
      // The slot goes over without becoming free in between.
      this.#waiting.delete(waiter);
      clearTimeout(waiter.timer);
      this.#pace(() => waiter.grant(true));
      return;
    }
    this.#taken--;
  }

  /** Turns all waiting ones away. */
  clear(): void {
    for (const waiter of this.#waiting) {
      clearTimeout(waiter.timer);
      waiter.grant(false);
    }
    this.#waiting.clear();
  }
}
