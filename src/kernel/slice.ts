/** How long a thread runs at a time while others wait for the processor: the slices of the scheduler EEVDF, since Linux 6.12. */

import * as libc from './libc.ts';

/** struct sched_attr (linux/sched/types.h): size, policy, flags, nice, priority, runtime; what follows is of other policies. */
const SIZE = 56;
const OFFSET = { policy: 4, flags: 8, runtime: 24 } as const;
const SCHED_OTHER = 0;
const NS_PER_US = 1000n;

/**
 * For the calling thread and all that it starts, over execve too: slices of so many microseconds, 100 to 100,000. A thread gets
 * no more of the processor by short ones, but gets its share sooner when it has something to do. Answers what the kernel grants,
 * microseconds: 0 from one that has no such wish, and from a thread that whoever started it has given another policy, which
 * stays. Throws KernelError.
 */
export function askForSlices(us: number): number {
  const now = libc.schedulerOf(Buffer.alloc(SIZE));
  if (now.readUInt32LE(OFFSET.policy) !== SCHED_OTHER) return 0;
  now.writeBigUInt64LE(0n, OFFSET.flags);
  now.writeBigUInt64LE(BigInt(us) * NS_PER_US, OFFSET.runtime);
  libc.setScheduler(now);
  return Number(libc.schedulerOf(Buffer.alloc(SIZE)).readBigUInt64LE(OFFSET.runtime) / NS_PER_US);
}
