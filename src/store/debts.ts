/** What is owed to a store that is away or takes nothing: done later, in order, as long as this process lives. */

import { type Logger, codeOf, messageOf, within } from '../base/index.ts';

const RETRY_MS = 1000;
/** Longest wait for a store that hangs; then the work under way is owed, milliseconds. */
const PATIENCE_MS = 1000;

type Work = () => Promise<void>;

/** `refused`: the store is full, or has taken our rights away. Whoever mends that mends what is owed too. */
type Outcome = 'done' | 'away' | 'refused';

interface Debt {
  /** Of two of one record the one that was asked for later is done. */
  readonly turn: number;
  readonly work: Work;
  /** Tries that have been begun and go on: another one beside them would not be in order. */
  under: Promise<Outcome> | undefined;
}

export class Debts {
  /** By record, in the order of their first failure. */
  readonly #owed = new Map<string, Debt>();
  readonly #log: Logger;
  #turn = 0;
  #isAway = false;
  #retry: NodeJS.Timeout | undefined;
  #isPaying = false;
  #isClosed = false;
  /** Why the last one was refused: said once. */
  #refusal: string | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * Does the work now, or later where the store does not answer soon, or refuses it. `record` names what it is about: it must make the
   * whole of that as it is to be, since what was owed for it before is not done any more. Throws every other error of the work.
   */
  async pay(record: string, work: Work): Promise<void> {
    const turn = ++this.#turn;
    // Not before what is owed already.
    if (this.#isAway || this.#owed.has(record)) return this.#owe(record, { turn, work, under: undefined });
    const first = this.#outcomeOf(work);
    const outcome = await within(PATIENCE_MS, first);
    if (outcome === 'done') return;
    // Heard when it is paid.
    first.catch(() => {});
    if (outcome !== 'refused') this.#isAway = true;
    this.#owe(record, { turn, work, under: outcome === undefined ? first : undefined });
  }

  /** What is owed is not paid any more. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retry);
  }

  #owe(record: string, debt: Debt): void {
    const other = this.#owed.get(record);
    const newer = other === undefined || other.turn < debt.turn ? debt : other;
    newer.under = bothOf(other?.under, debt.under);
    this.#owed.set(record, newer);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isClosed || this.#isPaying || this.#retry !== undefined) return;
    this.#retry = setTimeout(() => void this.#payAll(), RETRY_MS).unref();
  }

  async #payAll(): Promise<void> {
    this.#retry = undefined;
    this.#isPaying = true;
    let isAway = false;
    for (const record of this.#owed.keys()) {
      isAway = !(await this.#payOne(record));
      if (isAway || this.#isClosed) break;
    }
    this.#isPaying = false;
    this.#isAway = isAway;
    if (this.#owed.size > 0) this.#schedule();
    else this.#refusal = undefined;
  }

  /** False: the store is away. */
  async #payOne(record: string): Promise<boolean> {
    const debt = this.#owed.get(record);
    if (debt === undefined) return true;
    const { under } = debt;
    debt.under = undefined;
    const outcome = await (under ?? this.#outcomeOf(debt.work)).catch((error: unknown): Outcome => {
      this.#log.error({ error: messageOf(error) }, 'what was owed to the cluster cannot be done');
      return 'done';
    });
    // What has been begun may be older than what is owed now; and a newer one may have come meanwhile.
    if (outcome === 'done' && under === undefined && this.#owed.get(record) === debt) this.#owed.delete(record);
    else if (outcome === 'done' && this.#owed.has(record)) return this.#payOne(record);
    return outcome !== 'away';
  }

  async #outcomeOf(work: Work): Promise<Outcome> {
    try {
      await work();
      return 'done';
    } catch (error) {
      if (codeOf(error) === 'store_unreachable') return 'away';
      if (codeOf(error) !== 'store_refused') throw error;
      if (messageOf(error) !== this.#refusal)
        this.#log.error({ error: messageOf(error) }, 'the cluster does not take what is owed to it: it is asked again');
      this.#refusal = messageOf(error);
      return 'refused';
    }
  }
}

/** As the later one turns out. */
const bothOf = (a: Promise<Outcome> | undefined, b: Promise<Outcome> | undefined): Promise<Outcome> | undefined =>
  a === undefined || b === undefined ? (a ?? b) : Promise.allSettled([a]).then(() => b);
