/**
 * The embedded store: one folder, on classic-level (atomic multi-key batches, a second opener is refused). Everything is
 * read once at opening; reads come from memory, commits go to the log before they are visible.
 */

import { createHash } from 'node:crypto';
import { chmodSync, closeSync, constants, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { CnmError, errnoOf, type Json, messageOf } from '../base/index.ts';
import type { Entry, Key, Revision, Transaction } from './contract.ts';
import { MemoryStore } from './memory.ts';
import { lackOf, problemOf } from './verify.ts';

/** Layout version of the folder. A newer one is refused, untouched. */
const SCHEMA = 1;
const META = '!meta';
/** File with the revision of the last durable commit: LevelDB takes a log that was cut for one that a crash tore off. */
const DURABLE = 'durable-revision';
/** Always as long, so that one write replaces it. */
const DURABLE_DIGITS = 16;

interface Meta {
  readonly schema: number;
  readonly revision: Revision;
  /** Sum of the fingerprints of all records: tells that one is missing or changed. Hexadecimal. */
  readonly digest: string;
}

type Level = ClassicLevel<string, string>;

/**
 * Opens or makes the store in `folder` (0700). Throws daemon_running when another process has it open, store_newer when a
 * later version wrote it, store_corrupt when it cannot be read; no record is changed then. A commit that a crash tore off is
 * no damage: the store is then as before it.
 */
export async function openEmbeddedStore(folder: string): Promise<EmbeddedStore> {
  const problem = prepare(folder);
  if (problem !== undefined) throw new CnmError('store_corrupt', `the store ${folder} cannot be read: ${problem}`);
  const level: Level = new ClassicLevel<string, string>(folder, { keyEncoding: 'utf8', valueEncoding: 'utf8' });
  try {
    await level.open();
  } catch (error) {
    throw openingError(folder, error);
  }
  try {
    const { meta, entries, fingerprints } = await readAll(level, folder);
    const revision = meta?.revision ?? 0;
    const durable = durableRevision(folder);
    if (durable > revision) {
      throw new CnmError('store_corrupt', `the store ${folder} cannot be read: ${lackOf(revision, durable)}`);
    }
    return new EmbeddedStore(
      level,
      entries,
      fingerprints,
      revision,
      openSync(join(folder, DURABLE), constants.O_RDWR | constants.O_CREAT, 0o600),
    );
  } catch (error) {
    await level.close();
    throw error;
  }
}

/** Makes the folder; answers what keeps it from being opened, in words. */
function prepare(folder: string): string | undefined {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
    return problemOf(folder, { durable: durableRevision(folder), revisionIn });
  } catch (error) {
    return messageOf(error);
  }
}

function openingError(folder: string, error: unknown): CnmError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'LEVEL_LOCKED') return new CnmError('daemon_running', `the store ${folder} is held by another daemon`, { cause });
  return new CnmError('store_corrupt', `the store ${folder} cannot be opened: ${messageOf(cause)}`, { cause });
}

/** Revision of a batch as it lies in the log: its last text is the value of META. */
function revisionIn(batch: Buffer): Revision | undefined {
  const text = batch.toString('latin1');
  const found = /^\{"revision":(\d+),"value":\{"schema":/.exec(text.slice(text.lastIndexOf('{"revision":')));
  return found === null ? undefined : Number(found[1]);
}

/** 0 when nothing is known. */
function durableRevision(folder: string): Revision {
  try {
    const text = readFileSync(join(folder, DURABLE), 'latin1');
    return /^\d{16}\n$/.test(text) ? Number(text) : 0;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0;
    throw new CnmError('store_corrupt', `the store ${folder} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

interface Contents {
  readonly meta: Meta | undefined;
  readonly entries: readonly Entry[];
  readonly fingerprints: Map<Key, bigint>;
}

async function readAll(level: Level, folder: string): Promise<Contents> {
  let meta: Meta | undefined;
  const entries: Entry[] = [];
  const fingerprints = new Map<Key, bigint>();
  try {
    for await (const [key, text] of level.iterator()) {
      const value = JSON.parse(text) as { revision: Revision; value: Json };
      if (key === META) meta = value.value as unknown as Meta;
      else {
        entries.push({ key, value: value.value, revision: value.revision });
        fingerprints.set(key, fingerprint(key, text));
      }
    }
  } catch (error) {
    throw new CnmError('store_corrupt', `the store ${folder} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  if (meta === undefined && entries.length > 0) {
    throw new CnmError('store_corrupt', `the store ${folder} has records but no version`);
  }
  if (meta !== undefined && meta.schema > SCHEMA) {
    throw new CnmError('store_newer', `the store ${folder} has version ${meta.schema}, this program knows ${SCHEMA}`);
  }
  if (meta !== undefined && meta.digest !== digestOf(fingerprints, meta.revision)) {
    throw new CnmError('store_corrupt', `the store ${folder} cannot be read: a record is missing or changed`);
  }
  return { meta, entries, fingerprints };
}

const fingerprint = (key: Key, text: string): bigint =>
  createHash('sha1').update(`${key.length} ${key}${text}`).digest().readBigUInt64BE();

const FINGERPRINT_BITS = 64;

function digestOf(fingerprints: ReadonlyMap<Key, bigint>, revision: Revision): string {
  let sum = BigInt(revision);
  for (const one of fingerprints.values()) sum += one;
  return digestText(sum);
}

const digestText = (sum: bigint): string => BigInt.asUintN(FINGERPRINT_BITS, sum).toString(16);

export class EmbeddedStore extends MemoryStore {
  readonly #level: Level;
  readonly #fingerprints: Map<Key, bigint>;
  /** Sum of the fingerprints. */
  #sum = 0n;
  #tail: Promise<unknown> = Promise.resolve();
  /** Descriptor of the file with the last durable revision. */
  readonly #mark: number;

  constructor(level: Level, entries: Iterable<Entry>, fingerprints: Map<Key, bigint>, revision: Revision, mark: number) {
    super();
    this.#mark = mark;
    this.#level = level;
    this.#fingerprints = fingerprints;
    for (const one of fingerprints.values()) this.#sum += one;
    this.loaded(entries, revision);
  }

  override async commit(tx: Transaction): Promise<Revision> {
    const mine = this.#tail.then(() => this.#write(tx));
    this.#tail = mine.catch(() => undefined);
    return mine;
  }

  async #write(tx: Transaction): Promise<Revision> {
    this.check(tx);
    const revision = this.revision + 1;
    const puts = new Map((tx.put ?? []).map(({ key, value }) => [key, JSON.stringify({ revision, value })]));
    const removed = (tx.remove ?? []).filter((key) => !puts.has(key));
    const changes = new Map<Key, bigint>(removed.map((key) => [key, 0n]));
    for (const [key, text] of puts) changes.set(key, fingerprint(key, text));
    let sum = this.#sum;
    for (const [key, now] of changes) sum += now - (this.#fingerprints.get(key) ?? 0n);
    const meta: Meta = { schema: SCHEMA, revision, digest: digestText(sum + BigInt(revision)) };
    try {
      await this.#level.batch(
        [
          ...removed.map((key) => ({ type: 'del' as const, key })),
          ...[...puts].map(([key, value]) => ({ type: 'put' as const, key, value })),
          { type: 'put' as const, key: META, value: JSON.stringify({ revision, value: meta }) },
        ],
        { sync: tx.durable === true },
      );
      // After the commit and not forced to disk: it may lag behind the store, and never runs ahead of it.
      if (tx.durable === true) writeSync(this.#mark, `${String(revision).padStart(DURABLE_DIGITS, '0')}\n`, 0, 'latin1');
    } catch (error) {
      throw new CnmError('store_unreachable', `the store does not take a change: ${messageOf(error)}`, { cause: error });
    }
    this.#sum = sum;
    for (const key of removed) this.#fingerprints.delete(key);
    for (const key of puts.keys()) this.#fingerprints.set(key, changes.get(key) ?? 0n);
    return this.applied(tx, revision);
  }

  override async close(): Promise<void> {
    await this.#tail;
    closeSync(this.#mark);
    await this.#level.close();
  }
}
