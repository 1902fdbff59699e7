/** A keeper that a service manager starts, as a daemon sees it: by a file with the pid of the last one, and how long a start takes. */

import { readFileSync, writeFileSync } from 'node:fs';
import { errnoOf } from '../base/index.ts';
import type { KeeperPaths } from './files.ts';

/** Patience with a manager that is to bring its keeper, at least, milliseconds. */
const GRACE_MS = 15_000;
/** The same where its process is there already, and not yet ready; and where starts are known to be slow. */
const LONGEST_GRACE_MS = 120_000;
/** Starts of the same machine differ by so much. */
const SPREAD = 4;
/** USER_HZ of proc(5). */
const TICKS_A_SECOND = 100;
/** Field of /proc/self/stat behind the command's name: start of the process, ticks after boot. */
const START_TIME = 19;

interface Note {
  readonly pid: number;
  /** From the process's start to its service, of the last one that came so far, milliseconds; 0: none. */
  readonly tookMs: number;
}

/** This process is one: nobody need start another. */
export function noteManaged({ managed }: KeeperPaths): void {
  writeFileSync(managed, `${process.pid} ${read(managed)?.tookMs ?? 0}`);
}

/** It serves now. */
export function noteServing({ managed }: KeeperPaths): void {
  writeFileSync(managed, `${process.pid} ${Math.round(ageMs())}`);
}

/** How long a manager is waited for, milliseconds; 0: there is none for this directory. */
export function managedGrace({ managed }: KeeperPaths): number {
  const note = read(managed);
  if (note === undefined) return 0;
  return isAlive(note.pid) ? LONGEST_GRACE_MS : Math.min(LONGEST_GRACE_MS, Math.max(GRACE_MS, SPREAD * note.tookMs));
}

function read(path: string): Note | undefined {
  try {
    const [pid, tookMs] = readFileSync(path, 'utf8').split(' ').map(Number);
    return { pid: pid ?? 0, tookMs: Number.isFinite(tookMs) ? (tookMs ?? 0) : 0 };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Also over `execve`, by which Node's own clock begins anew. */
function ageMs(): number {
  const [uptime = ''] = readFileSync('/proc/uptime', 'utf8').split(' ');
  const started = readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1)?.split(' ')[START_TIME];
  return 1000 * (Number(uptime) - Number(started) / TICKS_A_SECOND);
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
