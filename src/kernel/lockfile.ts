/** Mutual exclusion of processes by flock(2) on a file. */

import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CnmError, errnoOf } from '../base/index.ts';
import { tryLockDescriptor } from './libc.ts';
import { processStartTime } from './pidfd.ts';

/** Longest wait for children of a holder that is dead, and pause between two looks, milliseconds. */
const ORPHANS_MS = 60_000;
const PAUSE_MS = 20;

export interface FileLock {
  /**
   * Give it to children (`stdio: [..., fd]`) whose work must be over before a successor starts: the lock lasts until the
   * last holder of the descriptor is gone.
   */
  readonly fd: number;
  /** Repeatable. The file stays: removing it would let two processes hold "the" lock. */
  close(): void;
}

/**
 * Takes the lock or throws daemon_running, naming the process that wrote itself into the file. When that one is dead and
 * only its children are still at work, it waits for them, up to a minute. Throws bad_config where the file is a link.
 */
export async function lockFile(path: string): Promise<FileLock> {
  const fd = open(path);
  const deadline = performance.now() + ORPHANS_MS;
  try {
    while (!tryLockDescriptor(fd)) {
      const holder = holderOf(path);
      if (holder.isDead && performance.now() < deadline) await sleep(PAUSE_MS);
      else throw new CnmError('daemon_running', `${holder.who} holds ${path}`);
    }
    ftruncateSync(fd);
    writeSync(fd, `${process.pid} ${processStartTime(process.pid) ?? ''}\n`, 0);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  let isOpen = true;
  return {
    fd,
    close: () => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
}

/** What a link names is another's file, which would be written over. */
function open(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    if (errnoOf(error) !== 'ELOOP') throw error;
    throw new CnmError('bad_config', `${path} is a link: remove it`, { cause: error });
  }
}

/** Who wrote itself into the file: its pid and start time. */
function holderOf(path: string): { readonly who: string; readonly isDead: boolean } {
  const [, pid, startTime] = /^(\d+) (\d+)$/.exec(readFileSync(path, 'utf8').trim()) ?? [];
  if (pid === undefined) return { who: 'another process', isDead: false };
  const isDead = processStartTime(Number(pid)) !== startTime;
  return { who: isDead ? `a child of process ${pid}, which has ended,` : `process ${pid}`, isDead };
}
