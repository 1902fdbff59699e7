/** Keyed async locks. Callers take them sandbox → network → pool, always in that order. */

import { CnmError } from './errors.ts';

/** Longest wait for a lock, milliseconds. */
const LOCK_WAIT_MS = 30_000;

/** First come, first served mutual exclusion per key. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  /** Runs `work` while holding `key`. Throws deadline_exceeded after 30 s of waiting; `work` has not run then. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    let release = (): void => {};
    const mine = new Promise<void>((resolve) => (release = resolve));
    const tail = (before ?? Promise.resolve()).then(() => mine);
    this.#tails.set(key, tail);
    const forget = (): void => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    };
    let held = false;
    try {
      if (before !== undefined) await waitFor(before, key);
      held = true;
      return await work();
    } finally {
      release();
      // Whoever gave up waiting still stands behind a holder: who comes next must wait for that one.
      if (held) forget();
      else void tail.then(forget);
    }
  }

  /** Holds several keys, taken in sorted order so that two callers never wait for each other. */
  async runAll<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    const sorted = [...new Set(keys)].sort();
    const step = (i: number): Promise<T> => {
      const key = sorted[i];
      return key === undefined ? work() : this.run(key, () => step(i + 1));
    };
    return step(0);
  }

  /** Number of keys that are held or waited for. */
  get size(): number {
    return this.#tails.size;
  }
}

async function waitFor(before: Promise<void>, key: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new CnmError('deadline_exceeded', `waited ${LOCK_WAIT_MS / 1000} s for another operation on ${key}`)),
      LOCK_WAIT_MS,
    );
  });
  try {
    await Promise.race([before, limit]);
  } finally {
    clearTimeout(timer);
  }
}
