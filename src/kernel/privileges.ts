/** Giving up what a process does not need. */

import { readFileSync } from 'node:fs';
import * as libc from './libc.ts';

// linux/capability.h
const CAPABILITIES = { CAP_NET_BIND_SERVICE: 10, CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21 } as const;
type Capability = keyof typeof CAPABILITIES;

const VERSION_3 = 0x20080522;
const PR_CAPBSET_DROP = 24;
const PR_CAPBSET_READ = 23;
const PR_SET_NO_NEW_PRIVS = 38;
const LAST_POSSIBLE = 63;

/**
 * Leaves this thread, and every thread and program that it starts from now on, with at most `kept`; there is no way back.
 * Call it before anything else runs. Throws KernelError, then nothing or only the bounding set has shrunk.
 */
export function keepOnlyCapabilities(kept: readonly Capability[]): void {
  const bits = kept.map((name) => CAPABILITIES[name]);
  for (let bit = 0; bit <= LAST_POSSIBLE; bit++) {
    if (bits.some((one) => one === bit)) continue;
    // Beyond the last one that this kernel knows.
    if (!isInBoundingSet(bit)) continue;
    libc.prctl(PR_CAPBSET_DROP, bit);
  }
  // Asking for more than is permitted would be refused as a whole.
  const mask = Number(permitted() & BigInt(bits.reduce((sum, bit) => sum | (1 << bit), 0)));
  const header = Buffer.alloc(8);
  header.writeUInt32LE(VERSION_3);
  // Effective, permitted, inheritable; then the same for bits 32 and up.
  const data = Buffer.alloc(24);
  data.writeUInt32LE(mask, 0);
  data.writeUInt32LE(mask, 4);
  libc.capset(header, data);
  libc.prctl(PR_SET_NO_NEW_PRIVS, 1);
}

function isInBoundingSet(bit: number): boolean {
  try {
    return libc.prctl(PR_CAPBSET_READ, bit) === 1;
  } catch {
    return false;
  }
}

function permitted(): bigint {
  return BigInt(`0x${/^CapPrm:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/thread-self/status', 'utf8'))?.[1] ?? '0'}`);
}
