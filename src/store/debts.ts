/** What is owed to a store that is away: done later, in order, as long as this process lives. */

import { type Logger, codeOf, messageOf } from '../base/index.ts';

const RETRY_MS = 1000;

export class Debts {
  readonly #owed: (() => Promise<void>)[] = [];
  #isScheduled = false;
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Does the work now, or later where the store does not answer. Throws every other error of it. */
  async pay(work: () => Promise<void>): Promise<void> {
    // Not before what is owed already: of two changes of one record the later one must win.
    if (this.#owed.length === 0 && (await isDone(work))) return;
    this.#owed.push(work);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setTimeout(() => void this.#payAll(), RETRY_MS).unref();
  }

  async #payAll(): Promise<void> {
    for (let next = this.#owed[0]; next !== undefined; next = this.#owed[0]) {
      const isOver = await isDone(next).catch((error: unknown) => {
        this.#log.error({ error: messageOf(error) }, 'what was owed to the cluster is refused');
        return true;
      });
      if (!isOver) break;
      this.#owed.shift();
    }
    this.#isScheduled = false;
    if (this.#owed.length > 0) this.#schedule();
  }
}

async function isDone(work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (codeOf(error) !== 'store_unreachable') throw error;
    return false;
  }
}
