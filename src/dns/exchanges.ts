/** Exchanges with upstreams that are open, oldest first. All have the same time, so that one timer stands for the end of all. */

/** One upstream being asked. */
export interface Exchange {
  /** When its time is over, milliseconds of `performance.now()`. */
  readonly dueMs: number;
  /** Closes its socket; repeatable. */
  close(): void;
  /** Its time is over. It leaves the set. */
  expire(): void;
}

export class Exchanges {
  /** The time of each, milliseconds. */
  readonly #eachMs: number;
  readonly #open = new Set<Exchange>();
  #timer: NodeJS.Timeout | undefined;

  constructor(eachMs: number) {
    this.#eachMs = eachMs;
  }

  get size(): number {
    return this.#open.size;
  }

  /** When the time of one that begins now is over. */
  due(): number {
    return performance.now() + this.#eachMs;
  }

  add(exchange: Exchange): void {
    this.#open.add(exchange);
    this.#timer ??= setTimeout(this.#expire, this.#eachMs);
  }

  delete(exchange: Exchange): void {
    this.#open.delete(exchange);
    if (this.#open.size > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  closeAll(): void {
    for (const exchange of this.#open) exchange.close();
  }

  readonly #expire = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    for (const exchange of this.#open) {
      // Timers may be early by a part of a millisecond.
      if (exchange.dueMs - now >= 1) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(this.#expire, exchange.dueMs - now);
        return;
      }
      exchange.expire();
    }
  };
}
