/** Where records live: ordered text keys, JSON values, revisions, atomic multi-key commits. One writer. */

import type { Json } from '../base/index.ts';

/** Slash-separated text, such as `network/<id>`. */
export type Key = string;
/** Grows with every commit. */
export type Revision = number;

export interface Entry {
  readonly key: Key;
  readonly value: Json;
  /** Revision of the commit that wrote it. */
  readonly revision: Revision;
}

/** `revision` undefined: the key must not exist. */
export interface Expectation {
  readonly key: Key;
  readonly revision: Revision | undefined;
}

export interface Transaction {
  readonly expect?: readonly Expectation[];
  readonly put?: readonly { readonly key: Key; readonly value: Json }[];
  readonly remove?: readonly Key[];
  /**
   * True: on disk before the promise resolves (power loss). Default false: survives the process, not the machine.
   */
  readonly durable?: boolean;
}

export interface Store {
  get(key: Key): Promise<Entry | undefined>;
  /** All entries whose key starts with `prefix`, in key order. */
  list(prefix: Key): Promise<{ readonly entries: readonly Entry[]; readonly revision: Revision }>;
  /** All or nothing. Throws stale_revision when an expectation does not hold; removing an absent key is fine. */
  commit(tx: Transaction): Promise<Revision>;
  close(): Promise<void>;
}
