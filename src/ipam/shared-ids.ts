/** Ids of pools of the cluster: SPACE/SUBNET, and /RANGE where only a part is handed out. Pure. */

import { CnmError, parsePrefix, quoted, type Prefix } from '../base/index.ts';
import type { Pool, PoolId } from './contract.ts';

/** Of networks of single hosts, each of which may have the same subnet. */
export const CLUSTER_SPACE = 'Cluster';
/** Of networks that hosts share: a subnet has one network. */
export const SHARED_SPACE = 'Shared';

export const poolOf = (space: string, prefix: Prefix, range: Prefix | undefined): Pool => ({
  id: [space, prefix, ...(range === undefined ? [] : [range])].join('/'),
  prefix,
});

/** Undoes poolOf(). Throws unknown_address_space. */
export function parsedId(pool: PoolId): { readonly prefix: Prefix; readonly range?: Prefix; readonly isShared: boolean } {
  const parts = /^(Cluster|Shared)\/([^/]+\/\d+)(?:\/([^/]+\/\d+))?$/.exec(pool);
  if (parts === null) throw new CnmError('unknown_address_space', `no pool ${quoted(pool)} in the cluster`);
  const [, space, prefix, range] = parts;
  return {
    prefix: parsePrefix(prefix ?? ''),
    ...(range !== undefined && { range: parsePrefix(range) }),
    isShared: space === SHARED_SPACE,
  };
}
