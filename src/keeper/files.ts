/**
 * The tables as files, one an entry, in the run directory. The daemon writes them (write and rename, while the keeper
 * does what it was told); the keeper reads all of them once, at its start.
 */

import { chmodSync, readFileSync, readdirSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { checkSocketPath, makeFolder, makeOpenFolder, messageOf, type Logger } from '../base/index.ts';
import { parseEntry, TABLES, type Entry, type Table } from './protocol.ts';

export interface KeeperPaths {
  readonly folder: string;
  readonly socket: string;
  readonly lock: string;
  readonly log: string;
  /** There while a service manager looks after the keeper. */
  readonly managed: string;
}

/** Throws bad_config for a run directory whose path is too long for a socket in it. */
export function keeperPaths(runDir: string): KeeperPaths {
  const folder = join(runDir, 'keeper');
  checkSocketPath('--run-dir', join(folder, 'keeper.sock'));
  return {
    folder,
    socket: join(folder, 'keeper.sock'),
    lock: join(folder, 'lock'),
    log: join(folder, 'log'),
    managed: join(folder, 'managed'),
  };
}

/** Makes the folders, for root only. Repeatable. */
export function makeFolders(paths: KeeperPaths): void {
  // The run directory is for others to look into; the keeper may be the first that is started.
  makeOpenFolder(dirname(paths.folder));
  makeFolder(paths.folder, 0o700);
  chmodSync(paths.folder, 0o700);
  for (const table of TABLES) makeFolder(join(paths.folder, table), 0o700);
}

const fileOf = (paths: KeeperPaths, table: Table, id: string): string => join(paths.folder, table, `${id}.json`);

/** Replaces an entry's file in one step. Throws the system's error, and then the file is as it was, with nothing beside it. */
export function writeEntry<T extends Table>(paths: KeeperPaths, table: T, entry: Entry<T>): void {
  const file = fileOf(paths, table, entry.id);
  try {
    writeFileSync(`${file}.new`, JSON.stringify(entry), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  } catch (error) {
    discard(`${file}.new`);
    throw error;
  }
}

/** What cannot be removed waits for the next start, and why the file was not written is told. */
function discard(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // Nothing that could be done about it here.
  }
}

/** Removes what a killed daemon had not finished writing. For the daemon's own start: nobody else writes then. */
export function removeHalfWritten(paths: KeeperPaths): void {
  for (const table of TABLES) {
    for (const name of readdirSync(join(paths.folder, table))) {
      if (name.endsWith('.new')) rmSync(join(paths.folder, table, name), { force: true });
    }
  }
}

/** Accepts what is gone. */
export function removeEntry(paths: KeeperPaths, table: Table, id: string): void {
  rmSync(fileOf(paths, table, id), { force: true });
}

const parsed = <T extends Table>(table: T, file: string): Entry<T> => parseEntry(table, readFileSync(file, 'utf8'));

/** What a file says; undefined where there is none, or a broken one. */
export function readEntry<T extends Table>(paths: KeeperPaths, table: T, id: string): Entry<T> | undefined {
  try {
    return parsed(table, fileOf(paths, table, id));
  } catch {
    return undefined;
  }
}

/** Every sound entry; a broken file is told to the log and left where it is. */
export function readEntries<T extends Table>(paths: KeeperPaths, table: T, log: Logger): readonly Entry<T>[] {
  const entries: Entry<T>[] = [];
  for (const name of readdirSync(join(paths.folder, table))) {
    if (!name.endsWith('.json')) continue;
    try {
      const entry = parsed(table, join(paths.folder, table, name));
      if (`${entry.id}.json` === name) entries.push(entry);
      else log.warn({ table, file: name }, 'keeper: file name and content differ');
    } catch (error) {
      log.warn({ table, file: name, error: messageOf(error) }, 'keeper: file not readable');
    }
  }
  return entries;
}
