/** Shares the event loop's turns among many pieces of work, so that none of them, nor a request, waits behind all others. */

export class Turns {
  readonly #waiting: (() => void)[] = [];
  #isTaken = false;
  #works = 0;

  /** Runs a piece of work that takes turns. */
  async share<T>(work: () => Promise<T>): Promise<T> {
    this.#works++;
    try {
      return await work();
    } finally {
      this.#works--;
    }
  }

  /**
   * Resolves at once for the only work, and for the first caller in a turn of the loop; the others get one turn each, in order.
   */
  next(): Promise<void> {
    if (this.#works <= 1) return Promise.resolve();
    if (this.#isTaken) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#isTaken = true;
    setImmediate(() => this.#turn());
    return Promise.resolve();
  }

  #turn(): void {
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#isTaken = false;
      return;
    }
    next();
    // What is scheduled from here runs in the loop's next turn.
    setImmediate(() => this.#turn());
  }
}
