/** Folders and files that everybody may look into, whatever the mask of this process. What is there already keeps its mode. */

import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

const FOLDER_MODE = 0o755;
const FILE_MODE = 0o644;

/** With those above it that are missing. */
export function makeOpenFolder(path: string): void {
  const first = mkdirSync(path, { recursive: true, mode: FOLDER_MODE });
  if (first === undefined) return;
  const shortest = resolve(first).length;
  for (let made = resolve(path); made.length >= shortest; made = dirname(made)) chmodSync(made, FOLDER_MODE);
}

/** Written in place. `mode`: of a file that is made. */
export function writeOpenFile(path: string, text: string, mode = FILE_MODE): void {
  const isNew = !existsSync(path);
  writeFileSync(path, text);
  if (isNew) chmodSync(path, mode);
}
