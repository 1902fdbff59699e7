/** How much a namespace can be told: a table is laid by one message to the kernel, whose length it bounds. Pure. */

import { CnmError, familyOf } from '../base/index.ts';
import { MAX_TRANSACTION_OCTETS } from '../kernel/index.ts';
import type { Group } from './table.ts';

/** At most, of what a group takes besides its targets, and of a key with its chain. */
const GROUP_OCTETS = 3072;
const KEY_OCTETS = 256;
/** Of a target, by family. */
const TARGET_OCTETS = { 4: 28, 6: 40 } as const;

/** No fewer than the messages take that lay the groups. */
export const octetsOf = (groups: readonly Group[]): number =>
  groups.reduce((sum, { keys, targets }) => {
    const count = Object.values(keys).reduce((all, some) => all + some.length, 0);
    return targets.reduce((all, target) => all + TARGET_OCTETS[familyOf(target)], sum + GROUP_OCTETS + count * KEY_OCTETS);
  }, 0);

/** Throws too_many_members where the groups cannot be laid as a whole, as it has to be done where others took the table away. */
export function refuseTooMany(groups: readonly Group[]): void {
  if (octetsOf(groups) <= MAX_TRANSACTION_OCTETS) return;
  const members = groups.reduce((sum, { targets }) => sum + targets.length, 0);
  throw new CnmError(
    'too_many_members',
    `${groups.length} services with ${members} addresses of members are too many for one sandbox: nothing of it was changed`,
  );
}
