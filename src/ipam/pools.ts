/** The address pools from which subnets are cut when the user names none: defaults, the host's own ULA, the daemon's flag. */

import { createHash } from 'node:crypto';
import {
  BITS,
  CnmError,
  addressFromBytes,
  familyOf,
  isLoopback,
  isMulticast,
  makePrefix,
  networkOf,
  prefixAddress,
  prefixBounds,
  prefixLength,
  prefixesOverlap,
  tryPrefix,
  type Prefix,
} from '../base/index.ts';

/** `base` is cut into subnets of length `size`. */
export interface AddressPool {
  readonly base: Prefix;
  readonly size: number;
}

/** 512 networks: small subnets from large pools, so that nobody runs out at thirty. */
export const LOCAL_POOLS: readonly AddressPool[] = [
  { base: '172.16.0.0/12' as Prefix, size: 20 },
  { base: '192.168.0.0/16' as Prefix, size: 24 },
];

export const GLOBAL_POOLS: readonly AddressPool[] = [{ base: '10.0.0.0/8' as Prefix, size: 24 }];

/** The host's own unique local /48 (RFC 4193), cut into /64. The same for the same `hostId`. */
export function uniqueLocalPool(hostId: string): AddressPool {
  const digest = createHash('sha256').update(hostId).digest();
  const bytes = new Uint8Array(16);
  bytes[0] = 0xfd;
  bytes.set(digest.subarray(3, 8), 1);
  return { base: makePrefix(addressFromBytes(bytes), 48), size: 64 };
}

/** Masks host bits, sorts by family and address, drops each pool that overlaps one before it. */
export function normalPools(pools: readonly AddressPool[]): readonly AddressPool[] {
  const key = (pool: AddressPool): readonly [number, bigint, number] => [
    familyOf(pool.base),
    prefixBounds(pool.base).first,
    prefixLength(pool.base),
  ];
  const sorted = pools
    .map((pool) => ({ base: networkOf(pool.base), size: pool.size }))
    .sort((a, b) => {
      const [familyA, firstA, lengthA] = key(a);
      const [familyB, firstB, lengthB] = key(b);
      if (familyA !== familyB) return familyA - familyB;
      if (firstA !== firstB) return firstA < firstB ? -1 : 1;
      return lengthA - lengthB;
    });
  const kept: AddressPool[] = [];
  for (const pool of sorted) {
    if (!kept.some((other) => prefixesOverlap(other.base, pool.base))) kept.push(pool);
  }
  return kept;
}

/**
 * Parses the values of `--default-address-pool`, each `base=PREFIX,size=LENGTH`. Throws bad_config with every problem of
 * every value.
 */
export function parseAddressPools(texts: readonly string[]): AddressPool[] {
  const problems: string[] = [];
  const pools = texts.map((text) => parsePool(text, (problem) => problems.push(`${JSON.stringify(text)}: ${problem}`)));
  if (problems.length > 0) throw new CnmError('bad_config', `invalid default-address-pool ${problems.join('; ')}`);
  return pools.filter((pool) => pool !== undefined);
}

function parsePool(text: string, report: (problem: string) => void): AddressPool | undefined {
  const fields = new Map<string, string>();
  for (const part of text.split(',')) {
    const [key = '', ...rest] = part.split('=');
    const name = key.trim();
    if (name !== 'base' && name !== 'size') report(`unknown key ${JSON.stringify(name)}, expected base and size`);
    else if (fields.has(name)) report(`${name} is given twice`);
    else fields.set(name, rest.join('=').trim());
  }
  const base = tryPrefix(fields.get('base') ?? '');
  const sizeText = fields.get('size') ?? '';
  const size = /^\d{1,3}$/.test(sizeText) ? Number(sizeText) : undefined;
  if (base === undefined)
    report(fields.has('base') ? `base ${JSON.stringify(fields.get('base'))} is not a prefix` : 'base is missing');
  if (size === undefined) report(fields.has('size') ? `size ${JSON.stringify(sizeText)} is not a length` : 'size is missing');
  if (base === undefined || size === undefined) return undefined;
  const bits = BITS[familyOf(base)];
  if (size > bits) report(`size ${size} is longer than an IPv${familyOf(base)} address (${bits})`);
  if (size < prefixLength(base)) report(`base ${base} has a smaller prefix than the target size ${size}`);
  // Each network of it would be refused.
  if (isMulticast(prefixAddress(base)) || isLoopback(prefixAddress(base))) report(`base ${base} has addresses of no network`);
  return { base: networkOf(base), size };
}
