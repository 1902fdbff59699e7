/** Records of addressing that hosts share: all pools in one, and one for each address. */

import { z } from 'zod';
import {
  type Address,
  CnmError,
  type Json,
  type Logger,
  type Prefix,
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  messageOf,
  parsePrefix,
  quoted,
} from '../base/index.ts';
import type { Entry, Key } from '../store/index.ts';

export interface Holder {
  readonly owner: string;
  /** Host of the owner. */
  readonly node: string;
}

/** A network of a host that uses a subnet, or a range of it. */
export interface PoolHolder extends Holder {
  readonly range?: Prefix | undefined;
  /** What was asked for, so that a repeated automatic choice is recognised. */
  readonly asked: string;
}

export type Pools = Readonly<Record<Prefix, readonly PoolHolder[]>>;

export interface SharedLease {
  readonly holders: readonly Holder[];
  /** For networks themselves, such as their router: networks of other hosts may reserve it too. */
  readonly isReserved: boolean;
}

export const POOLS_KEY: Key = 'ipam/pools';
const holder = z.object({ owner: z.string(), node: z.string() });
const prefix = z.string() as unknown as z.ZodType<Prefix>;
const poolsSchema = z.object({
  schema: z.literal(1),
  pools: z.record(z.string(), z.array(holder.extend({ range: prefix.optional(), asked: z.string() }))),
});
const leaseSchema = z.object({ schema: z.literal(1), holders: z.array(holder), isReserved: z.boolean() });

export const LEASES: Key = 'ipam/lease/';
/** Before the records of a subnet's addresses. */
export const leasesOf = (subnet: Prefix): Key => `${LEASES}${subnet.replace('/', '_')}/`;
/** In the order of addresses. */
export const leaseKey = (subnet: Prefix, address: Address): Key =>
  leasesOf(subnet) + addressToBigInt(address).toString(16).padStart(32, '0');
/** Inverse of leaseKey. Throws store_corrupt. */
export function addressOfKey(key: Key): { readonly prefix: Prefix; readonly address: Address } {
  const [subnet, value] = key.slice(LEASES.length).split('/');
  if (subnet === undefined || !/^[0-9a-f]{32}$/.test(value ?? '')) throw corrupt(key);
  const prefix = parsePrefix(subnet.replace('_', '/'));
  return { prefix, address: addressFromBigInt(BigInt(`0x${value}`), familyOf(prefix)) };
}

export const encodePools = (pools: Pools): Json => ({ schema: 1, pools }) as unknown as Json;
/** Throws store_corrupt. */
export const decodePools = (entry: Entry | undefined): Pools => (entry === undefined ? {} : parsed(poolsSchema, entry).pools);

export const encodeLease = ({ holders, isReserved }: SharedLease): Json => ({
  schema: 1,
  holders: holders.map(({ owner, node }) => ({ owner, node })),
  isReserved,
});
/** Throws store_corrupt. */
export const decodeLease = (entry: Entry): SharedLease => parsed(leaseSchema, entry);

/** One record that cannot be read must not hide the others: its address stays taken, by nobody here. */
export function* leasesIn(
  entries: readonly Entry[],
  log: Logger,
): Generator<{ readonly prefix: Prefix; readonly address: Address; readonly holders: readonly Holder[] }> {
  for (const entry of entries) {
    let place: ReturnType<typeof addressOfKey> | undefined;
    let holders: readonly Holder[] = [];
    try {
      place = addressOfKey(entry.key);
      ({ holders } = decodeLease(entry));
    } catch (error) {
      log.warn({ key: entry.key, error: messageOf(error) }, 'a record of the cluster is passed over');
    }
    if (place !== undefined) yield { ...place, holders };
  }
}

function parsed<T>(schema: z.ZodType<T>, { key, value }: Entry): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw corrupt(key);
}

const corrupt = (key: Key): CnmError =>
  new CnmError('store_corrupt', `the cluster's record ${quoted(key)} is not one that this version writes`);
