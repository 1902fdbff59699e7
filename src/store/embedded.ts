/**
 * The embedded store: one folder, on classic-level (atomic multi-key batches, a second opener is refused). Everything is
 * read once at opening; reads come from memory, commits go to the log before they are visible.
 */

import { chmodSync, mkdirSync } from 'node:fs';
import { ClassicLevel } from 'classic-level';
import { CnmError, type Json, messageOf } from '../base/index.ts';
import type { Entry, Revision, Transaction } from './contract.ts';
import { MemoryStore } from './memory.ts';

/** Layout version of the folder. A newer one is refused, untouched. */
const SCHEMA = 1;
const META = '!meta';

interface Meta {
  readonly schema: number;
  readonly revision: Revision;
}

type Level = ClassicLevel<string, string>;

/**
 * Opens or makes the store in `folder` (0700). Throws daemon_running when another process has it open, store_newer when a
 * later version wrote it, store_corrupt when it cannot be read; nothing is changed then.
 */
export async function openEmbeddedStore(folder: string): Promise<EmbeddedStore> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  const level: Level = new ClassicLevel<string, string>(folder, { keyEncoding: 'utf8', valueEncoding: 'utf8' });
  try {
    await level.open();
  } catch (error) {
    throw openingError(folder, error);
  }
  try {
    const { meta, entries } = await readAll(level, folder);
    return new EmbeddedStore(level, entries, meta?.revision ?? 0);
  } catch (error) {
    await level.close();
    throw error;
  }
}

function openingError(folder: string, error: unknown): CnmError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'LEVEL_LOCKED') return new CnmError('daemon_running', `the store ${folder} is held by another daemon`, { cause });
  return new CnmError('store_corrupt', `the store ${folder} cannot be opened: ${messageOf(cause)}`, { cause });
}

async function readAll(level: Level, folder: string): Promise<{ meta: Meta | undefined; entries: Entry[] }> {
  let meta: Meta | undefined;
  const entries: Entry[] = [];
  try {
    for await (const [key, text] of level.iterator()) {
      const value = JSON.parse(text) as { revision: Revision; value: Json };
      if (key === META) meta = value.value as unknown as Meta;
      else entries.push({ key, value: value.value, revision: value.revision });
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
  return { meta, entries };
}

export class EmbeddedStore extends MemoryStore {
  readonly #level: Level;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(level: Level, entries: Iterable<Entry>, revision: Revision) {
    super();
    this.#level = level;
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
    const meta: Meta = { schema: SCHEMA, revision };
    await this.#level.batch(
      [
        ...(tx.remove ?? []).map((key) => ({ type: 'del' as const, key })),
        ...(tx.put ?? []).map(({ key, value }) => ({ type: 'put' as const, key, value: JSON.stringify({ revision, value }) })),
        { type: 'put' as const, key: META, value: JSON.stringify({ revision, value: meta }) },
      ],
      { sync: tx.durable === true },
    );
    return this.applied(tx, revision);
  }

  override async close(): Promise<void> {
    await this.#tail;
    await this.#level.close();
  }
}
