/** A store that lives as long as its process: the common base of the embedded store, and for ephemeral use. */

import { CnmError, type Json } from '../base/index.ts';
import type { Entry, Key, Revision, Store, Transaction } from './contract.ts';

export class MemoryStore implements Store {
  readonly #entries = new Map<Key, Entry>();
  #revision: Revision = 0;

  async get(key: Key): Promise<Entry | undefined> {
    return this.#entries.get(key);
  }

  async list(prefix: Key): Promise<{ entries: readonly Entry[]; revision: Revision }> {
    const entries = [...this.#entries.values()].filter((entry) => entry.key.startsWith(prefix));
    entries.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
    return { entries, revision: this.#revision };
  }

  async commit(tx: Transaction): Promise<Revision> {
    this.check(tx);
    return this.applied(tx, this.#revision + 1);
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

  protected applied(tx: Transaction, revision: Revision): Revision {
    this.#revision = revision;
    for (const key of tx.remove ?? []) this.#entries.delete(key);
    for (const { key, value } of tx.put ?? []) this.#entries.set(key, { key, value: copied(value), revision });
    return revision;
  }

  protected loaded(entries: Iterable<Entry>, revision: Revision): void {
    for (const entry of entries) this.#entries.set(entry.key, entry);
    this.#revision = revision;
  }

  protected get revision(): Revision {
    return this.#revision;
  }
}

/** A caller that changes its object afterwards must not change the record. */
const copied = (value: Json): Json => JSON.parse(JSON.stringify(value)) as Json;
