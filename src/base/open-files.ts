/** Folders, and folders and files that everybody may look into, whatever the mask of this process. What is there already keeps its mode. */

import { chmodSync, closeSync, existsSync, fchmodSync, mkdirSync, openSync, statSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { CnmError, isCnmError, errnoOf, messageOf } from './errors.ts';

const FOLDER_MODE = 0o755;
const FILE_MODE = 0o644;

/**
 * Makes a folder with those above it that are missing, all of this mode. One by one: Node 20's own recursive way never ends where a file
 * system answers ENOENT to every new name, as /proc does. Throws the system's error.
 */
export function makeFolder(path: string, mode: number): void {
  const folder = resolve(path);
  const above = dirname(folder);
  if (!existsSync(above)) makeFolder(above, mode);
  try {
    mkdirSync(folder, { mode });
  } catch (error) {
    // Somebody else may make it in the same moment.
    if (errnoOf(error) === 'EEXIST' && statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return;
    throw error;
  }
  chmodSync(folder, mode);
}

/** Does `make` for a folder that a flag names. Throws bad_config with the flag where it cannot be made. */
export function forFlag(flag: string, path: string, make: () => void): void {
  try {
    make();
  } catch (error) {
    if (isCnmError(error)) throw error;
    throw new CnmError('bad_config', `${flag} ${path}: ${messageOf(error)}: use a folder that is there or can be made`, {
      cause: error,
    });
  }
}

export const makeOpenFolder = (path: string): void => makeFolder(path, FOLDER_MODE);

/** Written in place. `mode`: of a file that is made. */
export function writeOpenFile(path: string, text: string, mode = FILE_MODE): void {
  if (existsSync(path)) return writeFileSync(path, text);
  const fd = openSync(path, 'wx', mode);
  try {
    // Before anything is in it: one that a kill leaves is never closed to who shall read it.
    fchmodSync(fd, mode);
    writeFileSync(fd, text);
  } finally {
    closeSync(fd);
  }
}
