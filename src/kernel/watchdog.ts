/**
 * Ends this process when it does not say for a while that it is well: the kernel does it, by a timer that sends SIGKILL, so
 * that it works on a process that is stopped, loops or hangs, and needs nobody who looks.
 */

import * as libc from './libc.ts';

export interface Watchdog {
  /** The time begins anew. */
  feed(): void;
}

/** struct sigevent (asm-generic/siginfo.h): signal at octet 8, how to notify at 12. */
const SIGEVENT_OCTETS = 64;
const SIGEV_SIGNAL = 0;
const SIGKILL = 9;
/** Stands still while the machine is suspended, unlike CLOCK_BOOTTIME. */
const CLOCK_MONOTONIC = 1;

/**
 * Begins at once; there is no end to it but that of the process, or another program in its place (execve). `limitMs`: silence
 * that is deadly. Throws KernelError.
 */
export function startWatchdog(limitMs: number): Watchdog {
  const event = Buffer.alloc(SIGEVENT_OCTETS);
  event.writeInt32LE(SIGKILL, 8);
  event.writeInt32LE(SIGEV_SIGNAL, 12);
  const timer = libc.timerCreate(CLOCK_MONOTONIC, event);
  // struct itimerspec: interval, then value, each as seconds and nanoseconds.
  const time = Buffer.alloc(32);
  time.writeBigInt64LE(BigInt(Math.trunc(limitMs / 1000)), 16);
  time.writeBigInt64LE(BigInt((limitMs % 1000) * 1_000_000), 24);
  const feed = (): void => libc.timerSet(timer, time);
  feed();
  return { feed };
}
