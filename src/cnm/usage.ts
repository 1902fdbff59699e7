/** Address usage of a network's pools. */

import { codeOf } from '../base/index.ts';
import type { PoolUsage } from '../ipam/index.ts';
import type { Cnm } from './context.ts';
import type { NetworkRecord } from './records.ts';

/** Empty where the IPAM driver cannot tell, and while the cluster that knows is away. */
export async function usageOf({ ipams }: Cnm, net: NetworkRecord): Promise<readonly PoolUsage[]> {
  const ipam = ipams.find(net.ipam.driver);
  if (ipam?.usage === undefined) return [];
  try {
    const usages: PoolUsage[] = [];
    for (const { pool } of net.pools) usages.push(await ipam.usage(pool));
    return usages;
  } catch (error) {
    if (codeOf(error) === 'store_unreachable') return [];
    throw error;
  }
}
