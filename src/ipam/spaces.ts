/** Cuts the next free subnet from address pools, and says why there is none. Pure. */

import {
  addressFromBigInt,
  familyOf,
  makePrefix,
  prefixBounds,
  prefixLength,
  prefixesOverlap,
  type IpFamily,
  type Prefix,
} from '../base/index.ts';
import type { AddressPool } from './pools.ts';

/** What a subnet may not overlap, with words for the error. */
export interface Blocker {
  readonly prefix: Prefix;
  readonly reason: string;
}

/** How many collisions of one pool an error names. */
const NAMED_COLLISIONS = 4;

interface Candidate {
  readonly base: Prefix;
  readonly size: number;
}

/** Pools of the family that hold a subnet of length `size`; undefined: each pool's own size. */
function candidates(pools: readonly AddressPool[], family: IpFamily, size: number | undefined): readonly Candidate[] {
  return pools
    .filter((pool) => familyOf(pool.base) === family && prefixLength(pool.base) <= (size ?? pool.size))
    .map((pool) => ({ base: pool.base, size: size ?? pool.size }));
}

/** Disjoint ranges in rising order that cover all of `blockers`. */
function mergedBounds(
  blockers: readonly Blocker[],
  family: IpFamily,
): readonly { readonly first: bigint; readonly last: bigint }[] {
  const sorted = blockers
    .filter((blocker) => familyOf(blocker.prefix) === family)
    .map((blocker) => prefixBounds(blocker.prefix))
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const merged: { first: bigint; last: bigint }[] = [];
  for (const next of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && next.first <= last.last) last.last = next.last > last.last ? next.last : last.last;
    else merged.push({ ...next });
  }
  return merged;
}

/** The lowest-numbered subnet, in the order of `pools`, that overlaps none of `blockers`; undefined when there is none. */
export function nextSubnet(
  pools: readonly AddressPool[],
  family: IpFamily,
  size: number | undefined,
  blockers: readonly Blocker[],
): Prefix | undefined {
  const taken = mergedBounds(blockers, family);
  for (const candidate of candidates(pools, family, size)) {
    const { first, last } = prefixBounds(candidate.base);
    const step = 1n << BigInt((family === 4 ? 32 : 128) - candidate.size);
    let at = first;
    for (const block of taken) {
      if (block.last < at) continue;
      if (block.first > at + step - 1n) break;
      at = ((block.last + step) / step) * step;
    }
    if (at + step - 1n <= last) return makePrefix(addressFromBigInt(at, family), candidate.size);
  }
  return undefined;
}

/** One sentence a pool: what it collided with, grouped and bounded; then what helps. */
export function explainExhaustion(
  pools: readonly AddressPool[],
  family: IpFamily,
  size: number | undefined,
  blockers: readonly Blocker[],
): string {
  const remedy =
    'give --subnet, remove unused networks, or start the daemon with a further --default-address-pool base=PREFIX,size=LENGTH';
  const ofFamily = pools.filter((pool) => familyOf(pool.base) === family);
  if (ofFamily.length === 0) return `no IPv${family} address pool is configured; ${remedy}`;
  const fitting = candidates(pools, family, size);
  if (fitting.length === 0) {
    return `no IPv${family} address pool is large enough for a /${size} (${ofFamily.map((pool) => pool.base).join(', ')}); ${remedy}`;
  }
  // A network's subnet is its bridge's route too: it counts once, as the network, which comes last.
  const distinct = [...new Map(blockers.map((blocker) => [blocker.prefix, blocker])).values()];
  const tried = fitting.map(({ base, size: length }) => {
    const hits = distinct
      .filter((blocker) => prefixesOverlap(blocker.prefix, base))
      .map(({ prefix, reason }) => `${prefix} (${reason})`);
    const more = hits.length > NAMED_COLLISIONS ? ` and ${hits.length - NAMED_COLLISIONS} more` : '';
    return `${base} in /${length}s is taken by ${hits.slice(0, NAMED_COLLISIONS).join(', ')}${more}`;
  });
  return `all predefined address pools have been fully subnetted: ${tried.join('; ')}; ${remedy}`;
}
