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
  /** `lease`: removed with it (cluster stores only). */
  readonly put?: readonly { readonly key: Key; readonly value: Json; readonly lease?: string }[];
  readonly remove?: readonly Key[];
  /** No key starts with any of these, before the commit. */
  readonly expectNone?: readonly Key[];
  /**
   * True: on disk before the promise resolves (power loss). Default false: survives the process, not the machine.
   */
  readonly durable?: boolean;
}

export interface Store {
  get(key: Key): Promise<Entry | undefined>;
  /** All entries whose key starts with `prefix`, in key order. */
  list(prefix: Key): Promise<{ readonly entries: readonly Entry[]; readonly revision: Revision }>;
  /** All or nothing. Throws stale_revision when what is expected does not hold; removing an absent key is fine. */
  commit(tx: Transaction): Promise<Revision>;
  close(): Promise<void>;
  /** What keeps every commit from lasting, in words, and what to do; undefined or absent: nothing that is known. */
  problem?(): string | undefined;
}

/** What one commit changed. */
export interface Change {
  readonly revision: Revision;
  readonly put: readonly Entry[];
  readonly removed: readonly Key[];
}

/** Life of records of this process: they are removed when it ends without a word, after `ttlSeconds`. */
export interface Lease {
  readonly id: string;
  /** Aborted when it has run out: its records are gone, and a new one must be asked for. */
  readonly lost: AbortSignal;
  /** Ends it, with its records. */
  revoke(): Promise<void>;
  /** Leaves it to run out. */
  abandon(): void;
}

/** A store that several hosts share. */
export interface ClusterStore extends Store {
  /** Names the cluster's data: another one means that they were made anew. */
  readonly clusterId: string;
  /**
   * Every commit after `after` that touches the prefix, in order, none left out and none twice, also over lost connections.
   * Ends with the signal. Throws HistoryGone when the history from there is gone, or the cluster's data are older than `after`:
   * list again then.
   */
  watch(prefix: Key, after: Revision, signal: AbortSignal): AsyncIterable<Change>;
  /** Throws store_unreachable. */
  lease(ttlSeconds: number): Promise<Lease>;
}
