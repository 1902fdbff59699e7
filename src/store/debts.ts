/** What is owed to a store that is away: done later, in order, as long as this process lives. */

import { type Logger, codeOf, messageOf } from '../base/index.ts';

const RETRY_MS = 1000;
/** Longest wait for a store that hangs; then the work under way is owed, milliseconds. */
const PATIENCE_MS = 1000;

/** One try: whether the work is done. */
type Try = () => Promise<boolean>;

export class Debts {
  readonly #owed: Try[] = [];
  #isScheduled = false;
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Does the work now, or later where the store does not answer soon. Throws every other error of it. */
  async pay(work: () => Promise<void>): Promise<void> {
    const owed: Try = () => isDone(work);
    // Not before what is owed already: of two changes of one record the later one must win.
    if (this.#owed.length > 0) return this.#owe(owed);
    const first = owed();
    const isOver = await soon(first);
    if (isOver === true) return;
    // Heard when it is paid.
    first.catch(() => {});
    // It goes on: another one beside it would not be in order.
    let under: Promise<boolean> | undefined = isOver === undefined ? first : undefined;
    this.#owe(() => {
      const now = under ?? owed();
      under = undefined;
      return now;
    });
  }

  #owe(owed: Try): void {
    this.#owed.push(owed);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setTimeout(() => void this.#payAll(), RETRY_MS).unref();
  }

  async #payAll(): Promise<void> {
    for (let next = this.#owed[0]; next !== undefined; next = this.#owed[0]) {
      const isOver = await next().catch((error: unknown) => {
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

/** Undefined: it takes longer. */
async function soon<T>(work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), PATIENCE_MS)));
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
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
