/** Mutual exclusion of processes by flock(2) on a file. */

import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { CnmError } from '../base/index.ts';
import { tryLockDescriptor } from './libc.ts';

export interface FileLock {
  /**
   * Give it to children (`stdio: [..., fd]`) whose work must be over before a successor starts: the lock lasts until the
   * last holder of the descriptor is gone.
   */
  readonly fd: number;
  /** Repeatable. The file stays: removing it would let two processes hold "the" lock. */
  close(): void;
}

/** Takes the lock or throws daemon_running, naming the process that wrote itself into the file. */
export function lockFile(path: string): FileLock {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    if (!tryLockDescriptor(fd)) {
      const holder = readFileSync(path, 'utf8').trim();
      const who = /^\d+$/.test(holder) ? `process ${holder}` : 'another process';
      throw new CnmError('daemon_running', `${who} holds ${path}`);
    }
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`, 0);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  let open = true;
  return {
    fd,
    close: () => {
      if (open) closeSync(fd);
      open = false;
    },
  };
}
