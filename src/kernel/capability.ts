/** Whether this process may do what the kernel room does. */

import { readFileSync } from 'node:fs';
import { CnmError } from '../base/index.ts';

// linux/capability.h
const NEEDED = { CAP_NET_ADMIN: 12, CAP_NET_RAW: 13, CAP_SYS_ADMIN: 21 } as const;

/** Names of needed capabilities that are not in effect. */
export function missingCapabilities(): string[] {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  const bits = BigInt(`0x${effective}`);
  return Object.entries(NEEDED).flatMap(([name, bit]) => (((bits >> BigInt(bit)) & 1n) === 1n ? [] : [name]));
}

/** Throws bad_config, naming what is missing. */
export function requireCapabilities(): void {
  const missing = missingCapabilities();
  if (missing.length > 0) throw new CnmError('bad_config', `this needs root, or ${missing.join(' and ')}`);
}
