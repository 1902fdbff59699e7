/** A store that lives as long as its process: the common base of the embedded store, and for ephemeral use. */

import { CnmError, type Json } from '../base/index.ts';
import type { Entry, Key, Revision, Store, Transaction } from './contract.ts';

/** A value as its JSON text: one object for the collector of memory, however much is in it, and nobody can change it. */
export interface Kept {
  readonly text: string;
  readonly revision: Revision;
}

export class MemoryStore implements Store {
  readonly #entries = new Map<Key, Kept>();
  #revision: Revision = 0;

  async get(key: Key): Promise<Entry | undefined> {
    const kept = this.#entries.get(key);
    return kept && entryOf(key, kept);
  }

  async list(prefix: Key): Promise<{ entries: readonly Entry[]; revision: Revision }> {
    const found = [...this.#entries].filter(([key]) => key.startsWith(prefix));
    found.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return { entries: found.map(([key, kept]) => entryOf(key, kept)), revision: this.#revision };
  }

  async commit(tx: Transaction): Promise<Revision> {
    this.check(tx);
    return this.applied(textsOf(tx), tx.remove ?? [], this.#revision + 1);
  }

  async close(): Promise<void> {}

  /** Throws stale_revision when an expectation does not hold now. */
  protected check(tx: Transaction): void {
    for (const { key, revision } of tx.expect ?? []) {
      const found = this.#entries.get(key)?.revision;
      if (found !== revision) {
        throw new CnmError('stale_revision', `record ${key} is at revision ${found ?? 'none'}, expected ${revision ?? 'none'}`);
      }
    }
    for (const prefix of tx.expectNone ?? []) {
      const found = [...this.#entries.keys()].find((key) => key.startsWith(prefix));
      if (found !== undefined) throw new CnmError('stale_revision', `record ${found} is there, expected none of ${prefix}`);
    }
  }

  protected applied(texts: Iterable<readonly [Key, string]>, removed: Iterable<Key>, revision: Revision): Revision {
    this.#revision = revision;
    for (const key of removed) this.#entries.delete(key);
    for (const [key, text] of texts) this.#entries.set(key, { text, revision });
    return revision;
  }

  protected loaded(entries: Iterable<readonly [Key, Kept]>, revision: Revision): void {
    for (const [key, kept] of entries) this.#entries.set(key, kept);
    this.#revision = revision;
  }

  protected kept(key: Key): Kept | undefined {
    return this.#entries.get(key);
  }

  protected get revision(): Revision {
    return this.#revision;
  }
}

/** What a commit puts, as JSON texts. */
export const textsOf = ({ put = [] }: Transaction): Map<Key, string> =>
  new Map(put.map(({ key, value }) => [key, JSON.stringify(value)]));

const entryOf = (key: Key, { text, revision }: Kept): Entry => ({ key, value: JSON.parse(text) as Json, revision });
