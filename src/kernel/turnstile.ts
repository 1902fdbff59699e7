/** Kernel work off the JavaScript thread, a bounded number at once. */

/** Lets a bounded number of works run at once; the rest wait in order. */
export class Turnstile {
  readonly #limit: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  async pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limit) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      // The place is handed over, so that nobody slips in between.
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

/**
 * Kernel work of this process that may be on pool threads at once. The pool has four, and the file system and the store
 * need some.
 */
export const offThread = new Turnstile(2);

/** For what is quick itself, and only waits while slow work holds a lock. */
export const besideThread = new Turnstile(1);
