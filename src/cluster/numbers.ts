/**
 * Numbers that no two owners share, over any store: a record a number, so that two takers of one number collide, and a record
 * an owner, so that one owner never has two. Both are written in one commit.
 */

import { randomInt } from 'node:crypto';
import { CnmError, type Logger, codeOf } from '../base/index.ts';
import { Debts, type Entry, type Expectation, type Store } from '../store/index.ts';

interface NumberRange {
  readonly from: number;
  readonly to: number;
}

/** VXLAN ids that are given to networks which name none: 24 bits, less those that people give by hand. */
const VNI_RANGE: NumberRange = { from: 4096, to: 2 ** 24 - 1 };

/** How often a taker may find that another one was quicker; each time that one has got on. */
const MAX_TRIES = 100;

export interface Numbers {
  take(owner: string, wanted?: number): Promise<number>;
  release(owner: string): Promise<void>;
}

/** `name` tells pools in one store apart. A store that is not there yet is asked for with each use. */
export function createNumbers(store: Store | (() => Store), name: string, range: NumberRange = VNI_RANGE): Numbers {
  return new StoredNumbers(typeof store === 'function' ? store : () => store, `numbers/${name}`, range);
}

/** Gives numbers back later where the store is away: a network that is not made after all must not keep any. */
export function givingBackLater(numbers: Numbers, log: Logger): Numbers & { close(): void } {
  const debts = new Debts(log);
  return {
    take: (owner, wanted) => numbers.take(owner, wanted),
    release: (owner) => debts.pay(owner, () => numbers.release(owner)),
    close: () => debts.close(),
  };
}

class StoredNumbers implements Numbers {
  readonly #open: () => Store;
  readonly #prefix: string;
  readonly #range: NumberRange;
  /** Where the next search begins. Each process begins elsewhere, so that many seldom want the same number at once. */
  #next: number;

  constructor(open: () => Store, prefix: string, range: NumberRange) {
    this.#open = open;
    this.#prefix = prefix;
    this.#range = range;
    this.#next = randomInt(range.from, range.to + 1);
  }

  get #store(): Store {
    return this.#open();
  }

  async take(owner: string, wanted?: number): Promise<number> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const held = await this.#store.get(this.#ownerKey(owner));
      const had = numberIn(held);
      if (had !== undefined && (wanted === undefined || wanted === had)) return had;
      const number = wanted ?? (await this.#free());
      if (await this.#write(owner, number, had, held)) return number;
      if (wanted !== undefined) await this.#refuseTaken(owner, wanted);
    }
    throw new CnmError('too_busy', `no number for ${owner}: others were quicker ${MAX_TRIES} times`);
  }

  async release(owner: string): Promise<void> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const held = await this.#store.get(this.#ownerKey(owner));
      const had = numberIn(held);
      if (held === undefined || had === undefined) return;
      const expect = [{ key: held.key, revision: held.revision }];
      if (await this.#committed({ expect, remove: [held.key, this.#numberKey(had)] })) return;
    }
    throw new CnmError('too_busy', `the number of ${owner} changes all the time`);
  }

  /** False when another one was quicker. */
  async #write(owner: string, number: number, had: number | undefined, held: Entry | undefined): Promise<boolean> {
    const [ownerKey, numberKey] = [this.#ownerKey(owner), this.#numberKey(number)];
    return this.#committed({
      expect: [
        { key: ownerKey, revision: held?.revision },
        { key: numberKey, revision: undefined },
      ],
      put: [
        { key: ownerKey, value: number },
        { key: numberKey, value: owner },
      ],
      ...(had !== undefined && { remove: [this.#numberKey(had)] }),
    });
  }

  async #committed(tx: Parameters<Store['commit']>[0] & { readonly expect: readonly Expectation[] }): Promise<boolean> {
    try {
      await this.#store.commit(tx);
      return true;
    } catch (error) {
      if (codeOf(error) === 'stale_revision') return false;
      throw error;
    }
  }

  async #refuseTaken(owner: string, wanted: number): Promise<void> {
    const other = (await this.#store.get(this.#numberKey(wanted)))?.value;
    if (other === undefined || other === owner) return;
    throw new CnmError('number_taken', `number ${wanted} is taken by ${String(other)}`);
  }

  /** The first free number from where the last one was taken, round to where it began. */
  async #free(): Promise<number> {
    const { from, to } = this.#range;
    const { entries } = await this.#store.list(this.#numberKey(''));
    const taken = new Set(entries.map(({ key }) => Number(key.slice(key.lastIndexOf('/') + 1))));
    const size = to - from + 1;
    const start = this.#next - from;
    // Among one more than are taken, one is free.
    for (let step = 0; step < Math.min(size, taken.size + 1); step++) {
      const number = from + ((start + step) % size);
      if (taken.has(number)) continue;
      // Whoever searches meanwhile finds another one.
      this.#next = number + 1;
      return number;
    }
    throw new CnmError('numbers_exhausted', `no number from ${from} to ${to} is free`);
  }

  #ownerKey(owner: string): string {
    return `${this.#prefix}/owner/${owner}`;
  }

  #numberKey(number: number | ''): string {
    return `${this.#prefix}/number/${number}`;
  }
}

const numberIn = (entry: Entry | undefined): number | undefined => (typeof entry?.value === 'number' ? entry.value : undefined);
