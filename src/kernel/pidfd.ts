/** Processes that are not our children: when they end, whether they are still the same, and signals to them. */

import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { errnoOf } from '../base/index.ts';
import * as libc from './libc.ts';

/**
 * Calls `onExit` once, on the event loop, when the process ends; costs a descriptor and no thread, and does not keep this
 * process alive. Throws KernelError ESRCH when there is no such process now. After `close` nothing is called.
 */
export function watchProcess(pid: number, onExit: () => void): { close(): void } {
  const pidfd = libc.pidfdOpen(pid);
  let open = true;
  const watch = libc.watchReadable(pidfd, () => {
    if (!open) return;
    close();
    onExit();
  });
  const close = (): void => {
    if (!open) return;
    open = false;
    watch.close();
    libc.close(pidfd);
  };
  return { close };
}

/**
 * Clock ticks from boot to the start of the process (proc(5), stat field 22): with the pid it names a process for good.
 * Undefined when there is none, or only its remains wait for the parent.
 */
export function processStartTime(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
  // The name, field 2, may hold spaces and brackets: count from its last bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

/** Real, effective, saved and file system uid of a process; undefined when there is none. */
export function processUids(pid: number): readonly number[] | undefined {
  try {
    const line = /^Uid:\s+(.+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return line?.split(/\s+/).map(Number);
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

/**
 * Sends a signal; false when the process is gone, or is another one than that of `startTime` (processStartTime) when that
 * is given. Throws KernelError, such as EPERM.
 */
export function signalProcess(pid: number, signal: NodeJS.Signals, startTime?: string): boolean {
  let pidfd: number | undefined;
  try {
    pidfd = libc.pidfdOpen(pid);
    // Read with the descriptor open: what it names cannot change any more.
    if (startTime !== undefined && processStartTime(pid) !== startTime) return false;
    libc.pidfdSendSignal(pidfd, constants.signals[signal], pid);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
    throw error;
  } finally {
    if (pidfd !== undefined) libc.close(pidfd);
  }
}
