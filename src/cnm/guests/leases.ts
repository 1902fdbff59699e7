/** The IPAM face for foreign engines: pools and addresses of our own IPAM, kept with their owner, so that nothing is leased twice. */

import { randomBytes } from 'node:crypto';
import { type Address, type IpFamily, type Prefix, CnmError, messageOf, prefixAddress, undoable } from '../../base/index.ts';
import { hostExclusions } from '../exclusions.ts';
import { refuseWhenClosing } from '../context.ts';
import { RECORD_SCHEMA } from '../records.ts';
import type { Hosting } from './context.ts';
import { releaseHomeAddress, releaseHomePool, replayHomeLeases, requestHomeAddress } from './home-leases.ts';
import { ENGINE, type GuestNetwork, type GuestPool } from './records.ts';

/** IPAM driver behind the face. */
const DRIVER = 'default';

export interface GuestPoolRequest {
  readonly space: string;
  readonly family: IpFamily;
  readonly subnet?: Prefix;
  readonly range?: Prefix;
  readonly options: Readonly<Record<string, string>>;
}

const ipamOf = ({ cnm }: Hosting) => cnm.ipams.get(DRIVER);

export const guestSpaces = (hosting: Hosting): Promise<{ readonly local: string; readonly global: string }> =>
  ipamOf(hosting).addressSpaces();

/** Errors: pools_exhausted, pool_overlap, bad_ip_range, unknown_address_space. */
export async function requestGuestPool(hosting: Hosting, asked: GuestPoolRequest): Promise<GuestPool> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  const id = randomBytes(16).toString('hex');
  const ipam = ipamOf(hosting);
  return undoable(async (undo) => {
    const pool = await ipam.requestPool({
      ...asked,
      owner: id,
      ...(asked.subnet === undefined && { exclude: await hostExclusions(cnm, asked.family) }),
    });
    undo.add('release guest pool', () => ipam.releasePool(pool.id, id));
    const record: GuestPool = {
      schema: RECORD_SCHEMA,
      owner: ENGINE,
      created: cnm.env.now(),
      id,
      pool: pool.id,
      family: asked.family,
      space: asked.space,
      prefix: pool.prefix,
      ...(asked.range && { range: asked.range }),
      options: asked.options,
      addresses: [],
    };
    await state.commit({ pools: [record], durable: true });
    return record;
  });
}

/** With all that is leased from it; one that is not here is free already. */
export async function releaseGuestPool(hosting: Hosting, pool: string): Promise<void> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  await cnm.locks.run(`pool:${pool}`, async () => {
    const record = state.pools.get(pool);
    if (record === undefined) return;
    if (record.home !== undefined) return releaseHomePool(hosting, record, record.home);
    for (const one of record.addresses) await ipamOf(hosting).releaseAddress(pool, one.address, leaseOf(record, one));
    await ipamOf(hosting).releasePool(pool, record.id);
    await state.commit({ remove: { pool }, durable: true });
  });
}

/** In whose name the address is leased. */
const leaseOf = (pool: GuestPool, { lease }: GuestPool['addresses'][number]): string => lease ?? pool.id;

/** `owner`: what the engine says of whom it is for. Errors: no_pool, address_in_use, address_out_of_range, no_free_address. */
export async function requestGuestAddress(
  hosting: Hosting,
  pool: string,
  asked: { readonly address?: Address; readonly owner: string; readonly options: Readonly<Record<string, string>> },
): Promise<Prefix> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  return cnm.locks.run(`pool:${pool}`, async () => {
    const record = state.pools.get(pool);
    if (record === undefined) throw new CnmError('no_pool', `address pool ${pool} is not leased here`);
    const ipam = ipamOf(hosting);
    if (record.home !== undefined) return requestHomeAddress(hosting, record, record.home, asked);
    return undoable(async (undo) => {
      const held = record.addresses.some(({ address }) => address === asked.address);
      if (held) throw new CnmError('address_in_use', `address ${asked.address} is in use in pool ${pool}`);
      // One owner each: an IPAM driver answers an owner who asks twice with the address that he has.
      const lease = randomBytes(16).toString('hex');
      const leased = await ipam.requestAddress(pool, {
        owner: lease,
        ...(asked.address && { address: asked.address }),
        options: { ...record.options, ...asked.options },
      });
      const address = prefixAddress(leased);
      undo.add('release guest address', () => ipam.releaseAddress(pool, address, lease));
      const addresses = [...record.addresses, { address, owner: asked.owner, lease }];
      await state.commit({ pools: [{ ...record, addresses }] });
      return leased;
    });
  });
}

/** Notes which engine has a network of this subnet: only that one can have forgotten it later. */
export async function notePoolEngine({ cnm, state }: Hosting, pool: string, engine: string): Promise<void> {
  await cnm.locks.run(`pool:${pool}`, async () => {
    const record = state.pools.get(pool);
    if (record !== undefined && record.engine !== engine) await state.commit({ pools: [{ ...record, engine }] });
  });
}

/**
 * Ends the leases of addresses of a network whose endpoint an engine has forgotten: it does not ask for that any more. Other
 * networks may have the same addresses: local ones beside those of the cluster.
 */
export async function releaseForgotten(
  hosting: Hosting,
  net: GuestNetwork,
  given: readonly (Prefix | undefined)[],
): Promise<void> {
  const { local } = await guestSpaces(hosting);
  const subnets = new Set([...net.asked.v4, ...net.asked.v6].map(({ prefix }) => prefix));
  const isOfNetwork = ({ space, home, prefix }: GuestPool): boolean =>
    net.home === undefined ? home === undefined && space === local && subnets.has(prefix) : home?.guest === net.id;
  for (const prefix of given) {
    if (prefix === undefined) continue;
    const address = prefixAddress(prefix);
    for (const record of hosting.state.pools.values())
      if (isOfNetwork(record) && record.addresses.some((one) => one.address === address))
        await releaseGuestAddress(hosting, record.pool, address);
  }
}

/** What is free already is fine. */
export async function releaseGuestAddress(hosting: Hosting, pool: string, address: Address): Promise<void> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  await cnm.locks.run(`pool:${pool}`, async () => {
    const record = state.pools.get(pool);
    if (record?.home !== undefined) return releaseHomeAddress(hosting, record, record.home, address);
    const found = record?.addresses.find((one) => one.address === address);
    if (record === undefined || found === undefined) return;
    await ipamOf(hosting).releaseAddress(pool, address, leaseOf(record, found));
    await state.commit({ pools: [{ ...record, addresses: record.addresses.filter((one) => one.address !== address) }] });
  });
}

/** Start: leases again exactly what the records say. What cannot be had again is logged. */
export async function replayGuestPools(hosting: Hosting): Promise<void> {
  const { cnm, state } = hosting;
  const ipam = ipamOf(hosting);
  for (const record of state.pools.values()) {
    if (record.home !== undefined) continue;
    const { id, pool, family, space, prefix, range, options, addresses } = record;
    try {
      await ipam.requestPool({ owner: id, space, family, subnet: prefix, ...(range && { range }), options });
      for (const one of addresses)
        await ipam.requestAddress(pool, { owner: leaseOf(record, one), address: one.address, options });
    } catch (error) {
      cnm.env.log.error({ pool, problem: messageOf(error) }, 'a pool of an engine cannot be had again');
    }
  }
  if (cnm.shared === undefined) return;
  try {
    await replayHomeLeases(hosting);
  } catch (error) {
    cnm.env.log.error({ problem: messageOf(error) }, 'addresses of engines in the cluster cannot be had again');
  }
}
