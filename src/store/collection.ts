/** Typed records over a store: one key prefix, one codec. */

import { CnmError, type Json } from '../base/index.ts';
import type { Key, Store } from './contract.ts';

export interface Codec<T> {
  /** Throws when the value is not a record of this kind. */
  decode(value: Json): T;
  encode(record: T): Json;
}

export class Collection<T extends { readonly id: string }> {
  readonly #store: Store;
  readonly #prefix: string;
  readonly #codec: Codec<T>;

  constructor(store: Store, prefix: string, codec: Codec<T>) {
    this.#store = store;
    this.#prefix = `${prefix}/`;
    this.#codec = codec;
  }

  key(id: string): Key {
    return this.#prefix + id;
  }

  /** All records. Throws store_corrupt or store_newer, naming the key. */
  async all(): Promise<T[]> {
    const { entries } = await this.#store.list(this.#prefix);
    return entries.map((entry) => {
      try {
        return this.#codec.decode(entry.value);
      } catch (error) {
        if (error instanceof CnmError) throw error;
        throw new CnmError('store_corrupt', `record ${entry.key} cannot be read`, { cause: error });
      }
    });
  }

  /** The write of one record, to be part of a commit. */
  write(record: T): { readonly key: Key; readonly value: Json } {
    return { key: this.key(record.id), value: this.#codec.encode(record) };
  }
}
