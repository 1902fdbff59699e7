/** Which networks of which hosts use which subnets: one record, changed by compare-and-swap. */

import { CnmError, type Prefix, codeOf, prefixesOverlap, shortId } from '../base/index.ts';
import type { Store } from '../store/index.ts';
import type { PoolRequest } from './contract.ts';
import type { AddressPool } from './pools.ts';
import { POOLS_KEY, type PoolHolder, type Pools, decodePools, encodePools, leasesOf } from './shared-records.ts';
import { explainExhaustion, nextSubnet } from './spaces.ts';
import type { Wish } from './wish.ts';

/** In place of a host: the network is of all of them. */
export const ALL_HOSTS = '*';
/** Records that one commit may remove: a part of what etcd takes by itself. */
const AT_ONCE = 100;

/** Tries of one change that others get ahead of. */
const MAX_TRIES = 64;

/** Applies `change`, again where another host was quicker; one that answers the same pools changes nothing. Throws what it throws. */
export async function changePools(store: Store, change: (pools: Pools) => Pools): Promise<void> {
  for (let tries = 1; ; tries++) {
    const entry = await store.get(POOLS_KEY);
    const before = decodePools(entry);
    const after = change(before);
    if (after === before) return;
    try {
      await store.commit({
        expect: [{ key: POOLS_KEY, revision: entry?.revision }],
        put: [{ key: POOLS_KEY, value: encodePools(after) }],
      });
      return;
    } catch (error) {
      if (codeOf(error) !== 'stale_revision' || tries === MAX_TRIES) throw error;
    }
  }
}

/**
 * Ends a network's hold on its subnet, with every address in it: nobody else had any. Whoever comes late, when the subnet is
 * another network's, does nothing.
 */
export async function dropSharedPool(store: Store, prefix: Prefix, owner: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const entry = await store.get(POOLS_KEY);
    const { [prefix]: holders = [], ...others } = decodePools(entry);
    const left = holders.filter((one) => one.owner !== owner || one.node !== ALL_HOSTS);
    if (entry === undefined || left.length === holders.length) return;
    const expect = [{ key: POOLS_KEY, revision: entry.revision }];
    const put = [{ key: POOLS_KEY, value: encodePools(left.length === 0 ? others : { ...others, [prefix]: left }) }];
    try {
      const leases = (await store.list(leasesOf(prefix))).entries.map(({ key }) => key);
      for (let from = 0; from < leases.length; from += AT_ONCE)
        await store.commit({ expect, remove: leases.slice(from, from + AT_ONCE) });
      await store.commit({ expect, put });
      return;
    } catch (error) {
      if (codeOf(error) !== 'stale_revision' || tries === MAX_TRIES) throw error;
    }
  }
}

/** The subnet for a wish. Throws pool_overlap, pools_exhausted. */
export function subnetFor(pools: Pools, from: readonly AddressPool[], request: PoolRequest, wish: Wish, node: string): Prefix {
  const all = Object.entries(pools) as [Prefix, readonly PoolHolder[]][];
  if (wish.subnet === undefined) {
    const taken = all.map(([prefix, holders]) => ({ prefix, reason: named(holders) }));
    const blockers = [...(request.exclude ?? []), ...taken];
    const prefix = nextSubnet(from, request.family, wish.size, blockers);
    if (prefix !== undefined) return prefix;
    throw new CnmError('pools_exhausted', explainExhaustion(from, request.family, wish.size, blockers));
  }
  for (const [prefix, holders] of all) {
    if (prefix !== wish.subnet && prefixesOverlap(prefix, wish.subnet)) throw overlap(wish.subnet, prefix, holders);
    // On one host they would be two networks with the same routes; on several they are one network, each host with its part.
    const here = prefix === wish.subnet ? holders.filter((holder) => holder.node === node) : [];
    if (here.some(({ range }) => wish.range === undefined || range === wish.range)) throw overlap(wish.subnet, prefix, here);
    // A network that hosts share has its subnet for itself.
    const alone = prefix === wish.subnet ? holders.filter((holder) => node === ALL_HOSTS || holder.node === ALL_HOSTS) : [];
    if (alone.length > 0) throw overlap(wish.subnet, prefix, alone);
  }
  return wish.subnet;
}

const named = (holders: readonly PoolHolder[]): string => `network ${holders.map(({ owner }) => shortId(owner)).join(', ')}`;

const overlap = (wanted: Prefix, present: Prefix, holders: readonly PoolHolder[]): CnmError =>
  new CnmError(
    'pool_overlap',
    `invalid pool request: Pool overlaps with other one on this address space: ${wanted} with ${present} of ${named(holders)} in the cluster`,
  );
