/** A keeper that a service manager starts, as a daemon sees it: by a file with the pid of the last one. */

import { readFileSync, writeFileSync } from 'node:fs';
import { errnoOf } from '../base/index.ts';
import type { KeeperPaths } from './files.ts';

/** This process is one: nobody need start another. */
export const noteManaged = ({ managed }: KeeperPaths): void => writeFileSync(managed, String(process.pid));

/** Undefined: no manager has started one for this directory. `isAlive`: it may still be on its way. */
export function managedKeeper({ managed }: KeeperPaths): { readonly isAlive: boolean } | undefined {
  try {
    return { isAlive: isAlive(Number(readFileSync(managed, 'utf8'))) };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  // What is no pid of one process would be that of a whole group.
  if (!Number.isSafeInteger(pid) || pid <= 1) return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}
