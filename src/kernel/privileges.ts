/** Giving up what a process does not need: rights and memory. */

import { readFileSync } from 'node:fs';
import * as libc from './libc.ts';
import { isSmall, smallStart } from './memory.ts';

// linux/capability.h
const CAPABILITIES = {
  CAP_CHOWN: 0,
  CAP_KILL: 5,
  CAP_SETPCAP: 8,
  CAP_NET_BIND_SERVICE: 10,
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
  CAP_SYS_PTRACE: 19,
  CAP_SYS_ADMIN: 21,
} as const;
export type Capability = keyof typeof CAPABILITIES;

const PR_CAPBSET_DROP = 24;
const PR_CAPBSET_READ = 23;
const PR_SET_NO_NEW_PRIVS = 38;
const LAST_POSSIBLE = 63;

/**
 * Starts this program anew, as the same process, with at most `kept`, when it may do more, and with a small memory: what a
 * thread gives up by itself the other threads of the process keep, and Node has some from its first moment. Returns when there
 * is nothing to give up, or when this is not root, whose rights would not survive. Keeps the standard descriptors, and
 * `descriptors`. Throws KernelError where the kernel does not let us.
 */
export function restartWithOnly(kept: readonly Capability[], descriptors: readonly number[] = []): void {
  if (process.geteuid?.() !== 0) return;
  const now = { flags: process.execArgv, env: process.env };
  const mayDoMore = (statusMask('CapBnd') & ~maskOf(kept)) !== 0n;
  if (!mayDoMore && isSmall(now)) return;
  if (mayDoMore) dropFromBoundingSet(kept);
  libc.prctl(PR_SET_NO_NEW_PRIVS, 1);
  const { flags, env } = smallStart(now);
  const texts = Object.entries(env).map(([name, value]) => `${name}=${value ?? ''}`);
  libc.execute(process.execPath, [process.execPath, ...flags, ...process.argv.slice(1)], texts, descriptors);
}

const maskOf = (kept: readonly Capability[]): bigint => kept.reduce((sum, name) => sum | (1n << BigInt(CAPABILITIES[name])), 0n);

function dropFromBoundingSet(kept: readonly Capability[]): void {
  const mask = maskOf(kept);
  for (let bit = 0; bit <= LAST_POSSIBLE; bit++) {
    // Beyond the last one that this kernel knows none is in the set.
    if (((mask >> BigInt(bit)) & 1n) === 0n && isInBoundingSet(bit)) libc.prctl(PR_CAPBSET_DROP, bit);
  }
}

function isInBoundingSet(bit: number): boolean {
  try {
    return libc.prctl(PR_CAPBSET_READ, bit) === 1;
  } catch {
    return false;
  }
}

/** A set of this thread as bits. */
function statusMask(set: 'CapBnd'): bigint {
  const line = readFileSync('/proc/thread-self/status', 'utf8')
    .split('\n')
    .find((one) => one.startsWith(`${set}:`));
  return BigInt(`0x${line?.split(/\s+/)[1] ?? '0'}`);
}
