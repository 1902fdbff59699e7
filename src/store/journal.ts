/**
 * Commits that have still to go to the store's folder, as lines of two files that take turns: a commit is one short write, and many
 * of them go to the folder as one. The files belong in memory (/run): they survive the process and not the machine, which is all
 * that such a commit is promised, and no disk holds up whoever writes them.
 */

import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { CnmError, errnoOf, messageOf } from '../base/index.ts';
import type { Key, Revision } from './contract.ts';

/** What one commit changed. */
export interface JournalEntry {
  readonly revision: Revision;
  /** Values as JSON texts. */
  readonly put: readonly (readonly [Key, string])[];
  readonly removed: readonly Key[];
  /** Digest of the whole store after it: tells entries of another store, and damaged ones. */
  readonly digest: string;
}

const NAMES = ['journal-0', 'journal-1'] as const;
/** Beyond this nobody writes until the folder has caught up, octets. */
const MAX_OCTETS = 4 << 20;

interface Page {
  readonly fd: number;
  octets: number;
}

export class Journal {
  readonly #pages: readonly [Page, Page];
  #turn: 0 | 1 = 0;

  private constructor(pages: readonly [Page, Page]) {
    this.#pages = pages;
  }

  /** Opens or makes the files in `folder`, which is there, and answers what they hold, in order. Throws store_corrupt. */
  static open(folder: string): { readonly journal: Journal; readonly entries: readonly JournalEntry[] } {
    const entries = NAMES.flatMap((name) => entriesIn(join(folder, name))).sort((a, b) => a.revision - b.revision);
    const page = (name: string): Page => {
      const fd = openSync(join(folder, name), constants.O_RDWR | constants.O_CREAT | constants.O_APPEND, 0o600);
      return { fd, octets: 0 };
    };
    return { journal: new Journal([page(NAMES[0]), page(NAMES[1])]), entries };
  }

  /** Somebody has removed a file of it, which no later start reads then. */
  get isGone(): boolean {
    return this.#pages.some(({ fd }) => fstatSync(fd).nlink === 0);
  }

  get isFull(): boolean {
    return this.#pages[this.#turn].octets > MAX_OCTETS;
  }

  /** Throws what the file system says; nothing of the entry is left then. */
  append(entry: JournalEntry): void {
    const page = this.#pages[this.#turn];
    const line = Buffer.from(`${JSON.stringify(entry)}\n`);
    try {
      if (writeSync(page.fd, line) !== line.length) throw new Error('no room');
    } catch (error) {
      ftruncateSync(page.fd, page.octets);
      throw error;
    }
    page.octets += line.length;
  }

  /** What comes from now on goes to the other file, which is empty. `forget` empties the one before, once its entries are in the folder. */
  turn(): { forget(): void } {
    const before = this.#pages[this.#turn];
    this.#turn = this.#turn === 0 ? 1 : 0;
    return { forget: () => empty(before) };
  }

  /** Empties both: everything is in the folder. */
  clear(): void {
    for (const page of this.#pages) empty(page);
  }

  close(): void {
    for (const { fd } of this.#pages) closeSync(fd);
  }
}

function empty(page: Page): void {
  ftruncateSync(page.fd, 0);
  page.octets = 0;
}

/** A last line without its end was being written when the process ended: nobody was told of it. */
function entriesIn(path: string): JournalEntry[] {
  try {
    const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => JSON.parse(line) as JournalEntry);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw new CnmError('store_corrupt', `the journal ${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
