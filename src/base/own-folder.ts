/** Folders that nobody else may change: whoever can put a socket or a folder in the place of ours is in our place. */

import { statSync } from 'node:fs';
import { CnmError } from './errors.ts';

const ROOT = 0;
const GROUP_WRITES = 0o020;
const OTHERS_WRITE = 0o002;

/** A folder whose mode the caller sets. `flag` names it, or one above it; one that is missing passes. Throws bad_config. */
export function refuseOwner(flag: string, folder: string): void {
  const uid = statSync(folder, { throwIfNoEntry: false })?.uid ?? ROOT;
  if (uid === ROOT || uid === process.geteuid?.()) return;
  throw new CnmError('bad_config', `${flag}: ${folder} belongs to user ${uid}: chown it to root, or use another folder`);
}

/** A folder whose mode is to stay, too: others may not write in it. Throws bad_config. */
export function refuseOfOthers(flag: string, folder: string): void {
  refuseOwner(flag, folder);
  const { gid, mode } = statSync(folder, { throwIfNoEntry: false }) ?? { gid: ROOT, mode: 0 };
  const groupWrites = (mode & GROUP_WRITES) !== 0 && gid !== ROOT && gid !== process.getegid?.();
  // The sticky bit keeps others from removing what is ours, but not from being there before us.
  if (!groupWrites && (mode & OTHERS_WRITE) === 0) return;
  throw new CnmError('bad_config', `${flag}: others may write in ${folder}: chmod go-w it, or use another folder`);
}

/** Folders of which none may be another one by a link; those that are missing pass. Throws bad_config. */
export function refuseSame(flag: string, folders: readonly string[]): void {
  const seen = new Map<string, string>();
  for (const folder of folders) {
    const found = statSync(folder, { throwIfNoEntry: false });
    if (found === undefined) continue;
    const identity = `${found.dev} ${found.ino}`;
    const other = seen.get(identity);
    if (other !== undefined)
      throw new CnmError('bad_config', `${flag}: ${other} and ${folder} are one folder: remove the link, or use another folder`);
    seen.set(identity, folder);
  }
}
