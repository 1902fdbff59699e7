/**
 * The embedded store: one folder, on classic-level (atomic multi-key batches, a second opener is refused). Everything is
 * read once at opening; reads come from memory, commits go to the log, or to a journal, before they are visible.
 */

import { chmodSync, closeSync, constants, openSync, readFileSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { CnmError, errnoOf, type Json, makeFolder, messageOf } from '../base/index.ts';
import type { Key, Revision, Transaction } from './contract.ts';
import { digestOf, digestText, fingerprint } from './fingerprint.ts';
import { Journal, type JournalEntry } from './journal.ts';
import { type Kept, MemoryStore, textsOf } from './memory.ts';
import { displaced } from './place.ts';
import { lackOf, problemOf } from './verify.ts';

/** Layout version of the folder. A newer one is refused, untouched. */
const SCHEMA = 1;
const META = '!meta';
/** File with the revision of the last durable commit: LevelDB takes a log that was cut for one that a crash tore off. */
const DURABLE = 'durable-revision';
/** Always as long, so that one write replaces it. */
const DURABLE_DIGITS = 16;
/** Time in which commits gather in the journal before the folder gets them, milliseconds. */
const GATHER_MS = 20;
/** Least time between two looks whether the folder is still in its place, milliseconds: a connect alone makes four changes. */
const LOOK_MS = 10;

interface Meta {
  readonly schema: number;
  readonly revision: Revision;
  /** Sum of the fingerprints of all records: tells that one is missing or changed. Hexadecimal. */
  readonly digest: string;
}

const NO_JOURNAL: { readonly journal?: Journal; readonly entries: readonly JournalEntry[] } = { entries: [] };

type Level = ClassicLevel<string, string>;

/**
 * Opens or makes the store in `folder` (0700). `journalFolder`, which is there and in memory, takes the commits that are not durable:
 * always give the same one, since it has the last of them after a kill. Without it they go to `folder` one by one. Throws daemon_running when another process has it open, store_newer when a
 * later version wrote it, store_corrupt when it cannot be read; no record is changed then. A commit that a crash tore off is
 * no damage: the store is then as before it.
 */
export async function openEmbeddedStore(folder: string, journalFolder?: string): Promise<EmbeddedStore> {
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
    const { journal, entries: lines } = journalFolder === undefined ? NO_JOURNAL : Journal.open(journalFolder);
    const mark = openSync(join(folder, DURABLE), constants.O_RDWR | constants.O_CREAT, 0o600);
    const store = new EmbeddedStore(level, entries, fingerprints, revision, { path: join(folder, DURABLE), fd: mark }, journal);
    await store.replay(lines);
    return store;
  } catch (error) {
    await level.close();
    throw error;
  }
}

/** Makes the folder; answers what keeps it from being opened, in words. */
function prepare(folder: string): string | undefined {
  try {
    makeFolder(folder, 0o700);
    chmodSync(folder, 0o700);
    // A copy that was put back may have come with other modes.
    for (const entry of readdirSync(folder, { withFileTypes: true }))
      if (entry.isFile()) chmodSync(join(folder, entry.name), 0o600);
    return problemOf(folder, { durable: durableRevision(folder), revisionIn });
  } catch (error) {
    return messageOf(error);
  }
}

/** What LevelDB says of a failed opening is in its cause. */
const causeOf = (error: unknown): unknown => (error instanceof Error && error.cause instanceof Error ? error.cause : error);

function openingError(folder: string, error: unknown): CnmError {
  const cause = causeOf(error);
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
  readonly entries: readonly (readonly [Key, Kept])[];
  readonly fingerprints: Map<Key, bigint>;
}

async function readAll(level: Level, folder: string): Promise<Contents> {
  let meta: Meta | undefined;
  const entries: [Key, Kept][] = [];
  const fingerprints = new Map<Key, bigint>();
  try {
    for await (const [key, text] of level.iterator()) {
      const value = JSON.parse(text) as { revision: Revision; value: Json };
      if (key === META) meta = value.value as unknown as Meta;
      else {
        entries.push([key, { text: JSON.stringify(value.value), revision: value.revision }]);
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

/** What a commit changes, and the fingerprints after it. */
interface Step {
  readonly revision: Revision;
  readonly texts: ReadonlyMap<Key, string>;
  readonly removed: readonly Key[];
  readonly changes: ReadonlyMap<Key, bigint>;
  readonly sum: bigint;
}

export class EmbeddedStore extends MemoryStore {
  readonly #level: Level;
  readonly #fingerprints: Map<Key, bigint>;
  /** Sum of the fingerprints. */
  #sum = 0n;
  #tail: Promise<unknown> = Promise.resolve();
  /** The file with the last durable revision. */
  readonly #mark: { readonly path: string; readonly fd: number };
  readonly #journal: Journal | undefined;
  /** What the folder has still to get, as it lies there; undefined: removed. */
  #pending = new Map<Key, string | undefined>();
  /** Commits that wait for their turn at the folder: others must not pass them. */
  #queued = 0;
  #gathering: NodeJS.Timeout | undefined;
  /** The folder did not take what the journal had: commits go there themselves until one succeeds. */
  #isBehind = false;
  #isJournalGone = false;
  /** When folder and journal were seen where they belong last, milliseconds of the process. */
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** A batch failed, and a part of it may lie in the log: whatever came behind that would be damage. */
  #isTorn = false;
  /** What came later would open the folder once more, which may be another's by now. */
  #isClosed = false;

  constructor(
    level: Level,
    entries: Iterable<readonly [Key, Kept]>,
    fingerprints: Map<Key, bigint>,
    revision: Revision,
    mark: { readonly path: string; readonly fd: number },
    journal: Journal | undefined,
  ) {
    super();
    this.#mark = mark;
    this.#level = level;
    this.#fingerprints = fingerprints;
    this.#journal = journal;
    for (const one of fingerprints.values()) this.#sum += one;
    this.loaded(entries, revision);
  }

  /** Takes up what a killed process left in its journal. Entries that the folder has, or that are of another store, are left out. */
  async replay(entries: readonly JournalEntry[]): Promise<void> {
    for (const { revision, put, removed, digest } of entries) {
      if (revision !== this.revision + 1) continue;
      const step = this.#step(new Map(put), removed);
      if (metaOf(step).digest !== digest) break;
      this.#take(step);
      this.#owe(step);
    }
    try {
      if (this.#pending.size > 0) await this.#flush();
      this.#journal?.clear();
    } catch {
      this.#isBehind = true;
    }
  }

  /** In words, when what is written now would be lost: the folder was removed, moved away or replaced. It is well again once it is back. */
  problem(): string | undefined {
    const wrong = displaced(this.#mark.path, this.#mark.fd);
    return wrong && `${wrong}: put the folder back, or start the daemon anew on what is there`;
  }

  /** Throws store_unreachable. What comes right after a look is lost with the folder, as what came before it is. */
  #look(): void {
    const now = performance.now();
    if (now - this.#lookedAt < LOOK_MS) return;
    const problem = this.problem();
    if (problem !== undefined) throw new CnmError('store_unreachable', `the store does not take a change: ${problem}`);
    this.#isJournalGone = this.#journal?.isGone === true;
    this.#lookedAt = now;
  }

  override async commit(tx: Transaction): Promise<Revision> {
    if (this.#isClosed) throw new CnmError('store_unreachable', 'the store takes no change any more: it is closed');
    this.#look();
    if (this.#queued === 0 && tx.durable !== true && this.#note(tx)) return this.revision;
    this.#queued++;
    const mine = this.#tail.then(async () => {
      try {
        return await this.#write(tx);
      } finally {
        this.#queued--;
      }
    });
    this.#tail = mine.catch(() => undefined);
    return mine;
  }

  /** Commits to the journal; false when the folder must take it. */
  #note(tx: Transaction): boolean {
    if (this.#journal === undefined || this.#isJournalGone || this.#isBehind || this.#journal.isFull) return false;
    this.check(tx);
    const step = this.#step(textsOf(tx), tx.remove ?? []);
    const { revision, texts, removed } = step;
    try {
      this.#journal.append({ revision, put: [...texts], removed, digest: metaOf(step).digest });
    } catch {
      return false;
    }
    this.#take(step);
    this.#owe(step);
    this.#gathering ??= setTimeout(() => this.#settle(), GATHER_MS);
    return true;
  }

  /** Brings what has gathered to the folder. */
  #settle(): void {
    this.#gathering = undefined;
    this.#tail = this.#tail.then(async () => {
      if (this.#pending.size === 0) return;
      const page = this.#journal?.turn();
      try {
        await this.#flush();
        page?.forget();
      } catch {
        this.#isBehind = true;
      }
    });
  }

  /** One batch of all that is owed, up to the revision that is reached now. What comes meanwhile is owed anew. */
  async #flush(): Promise<void> {
    const owed = this.#pending;
    this.#pending = new Map();
    try {
      await this.#put(owed, { revision: this.revision, sum: this.#sum }, false);
    } catch (error) {
      this.#pending = new Map([...owed, ...this.#pending]);
      throw error;
    }
  }

  /** Commits to the folder, with all that is owed to it. */
  async #write(tx: Transaction): Promise<Revision> {
    this.check(tx);
    const step = this.#step(textsOf(tx), tx.remove ?? []);
    const durable = tx.durable === true;
    try {
      await this.#put(new Map([...this.#pending, ...storedOf(step)]), step, durable);
      // After the commit and not forced to disk: it may lag behind the store, and never runs ahead of it.
      if (durable) writeSync(this.#mark.fd, `${String(step.revision).padStart(DURABLE_DIGITS, '0')}\n`, 0, 'latin1');
    } catch (error) {
      this.#oweAsBefore(step);
      // The folder may have this revision: the journal must not give it to another commit.
      this.#isBehind = true;
      this.#gathering ??= setTimeout(() => this.#settle(), GATHER_MS);
      throw new CnmError('store_unreachable', `the store does not take a change: ${messageOf(causeOf(error))}`, { cause: error });
    }
    this.#take(step);
    this.#pending.clear();
    this.#isBehind = false;
    this.#journal?.clear();
    return step.revision;
  }

  async #put(stored: ReadonlyMap<Key, string | undefined>, at: Pick<Step, 'revision' | 'sum'>, sync: boolean): Promise<void> {
    const { revision } = at;
    const problem = this.problem();
    if (problem !== undefined) throw new Error(problem);
    const batch = [
      ...[...stored].map(([key, value]) =>
        value === undefined ? ({ type: 'del', key } as const) : ({ type: 'put', key, value } as const),
      ),
      { type: 'put', key: META, value: JSON.stringify({ revision, value: metaOf(at) }) } as const,
    ];
    if (this.#isTorn) await this.#beginLog();
    try {
      await this.#level.batch(batch, { sync });
    } catch (error) {
      this.#isTorn = true;
      throw error;
    }
  }

  /** At opening LevelDB takes over what is whole, and writes to a new log. */
  async #beginLog(): Promise<void> {
    await this.#level.close();
    await this.#level.open();
    this.#isTorn = false;
  }

  #step(texts: ReadonlyMap<Key, string>, remove: readonly Key[]): Step {
    const revision = this.revision + 1;
    const removed = remove.filter((key) => !texts.has(key));
    const changes = new Map<Key, bigint>(removed.map((key) => [key, 0n]));
    for (const [key, text] of texts) changes.set(key, fingerprint(key, storedText(revision, text)));
    let sum = this.#sum;
    for (const [key, now] of changes) sum += now - (this.#fingerprints.get(key) ?? 0n);
    return { revision, texts, removed, changes, sum };
  }

  /** Makes it visible. */
  #take({ revision, texts, removed, changes, sum }: Step): void {
    this.#sum = sum;
    for (const key of removed) this.#fingerprints.delete(key);
    for (const key of texts.keys()) this.#fingerprints.set(key, changes.get(key) ?? 0n);
    this.applied(texts, removed, revision);
  }

  #owe(step: Step): void {
    for (const [key, value] of storedOf(step)) this.#pending.set(key, value);
  }

  /** The folder may have got it all the same: the next batch says how things are. */
  #oweAsBefore({ texts, removed }: Step): void {
    for (const key of [...texts.keys(), ...removed]) {
      const kept = this.kept(key);
      if (!this.#pending.has(key)) this.#pending.set(key, kept && storedText(kept.revision, kept.text));
    }
  }

  override async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#gathering);
    if (this.#pending.size > 0) this.#settle();
    await this.#tail;
    // A commit that was under way may have failed, and left the rest for later.
    clearTimeout(this.#gathering);
    closeSync(this.#mark.fd);
    this.#journal?.close();
    await this.#level.close();
  }
}

/** A value as it lies in the folder. */
const storedText = (revision: Revision, text: string): string => `{"revision":${revision},"value":${text}}`;

const storedOf = ({ revision, texts, removed }: Step): [Key, string | undefined][] => [
  ...removed.map((key): [Key, undefined] => [key, undefined]),
  ...[...texts].map(([key, text]): [Key, string] => [key, storedText(revision, text)]),
];

const metaOf = ({ revision, sum }: Pick<Step, 'revision' | 'sum'>): Meta => ({
  schema: SCHEMA,
  revision,
  digest: digestText(sum + BigInt(revision)),
});
