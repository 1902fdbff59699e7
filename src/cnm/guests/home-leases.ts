/**
 * The IPAM face for networks of the cluster: pools are those of the network that the engine's network will stand for, and no two
 * hosts give one address. The engine asks for a pool before it says anything of the network, but for the IPAM's own options.
 */

import { randomBytes } from 'node:crypto';
import {
  type Address,
  type NetworkId,
  type Prefix,
  CnmError,
  makePrefix,
  messageOf,
  newNetworkId,
  prefixAddress,
  prefixLength,
  undoable,
} from '../../base/index.ts';
import { labels } from '../../driver/index.ts';
import { type IpamDriver, type Pool, GATEWAY_REQUEST, REQUEST_ADDRESS_TYPE } from '../../ipam/index.ts';
import { Turnstile } from '../../kernel/index.ts';
import { REPLAYS_AT_ONCE, refuseWhenClosing } from '../context.ts';
import { hostExclusions } from '../exclusions.ts';
import { type NetworkPool, type NetworkRecord, RECORD_SCHEMA } from '../records.ts';
import type { Hosting } from './context.ts';
import { homeNamed, sharedOf } from './homes.ts';
import { ENGINE, type GuestPool, type HomePool } from './records.ts';

/** IPAM driver of networks that hosts share. */
const DRIVER = 'cluster';

/** Pools of one subnet that no network has come for: an engine that finds a route of its host in the way asks again, without end. */
const MAX_WAITING = 8;

/** Age from which on an address that no endpoint came for is given back, milliseconds: no engine takes that long to start a container. */
const UNCLAIMED_MS = 600_000;

/** Age from which on a pool that no network came for is given back, milliseconds. */
const FORGOTTEN_MS = 60_000;

export interface HomePoolRequest {
  readonly family: 4 | 6;
  readonly subnet?: Prefix;
  readonly range?: Prefix;
  readonly options: Readonly<Record<string, string>>;
}

export interface AddressAsked {
  readonly address?: Address;
  readonly owner: string;
  readonly options: Readonly<Record<string, string>>;
}

const ipamOf = ({ cnm }: Hosting): IpamDriver => cnm.ipams.get(DRIVER);

/** Address spaces of networks that hosts share. Throws no_cluster. */
async function homeSpace(hosting: Hosting): Promise<string> {
  sharedOf(hosting);
  return (await ipamOf(hosting).addressSpaces()).global;
}

/** Errors: no_cluster, bad_option, bad_subnet, pools_exhausted, pool_overlap, bad_ip_range, store_unreachable. */
export async function requestHomePool(hosting: Hosting, asked: HomePoolRequest): Promise<GuestPool> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  const space = await homeSpace(hosting);
  // One at a time: the first one who names a network chooses its id for those who come meanwhile.
  return cnm.locks.run(HOMES_LOCK, () =>
    undoable(async (undo) => {
      const lying = await lyingPool(hosting, asked);
      const home = lying?.home ?? plannedHome(hosting, asked);
      const id = randomBytes(16).toString('hex');
      const draft: GuestPool = {
        schema: RECORD_SCHEMA,
        owner: ENGINE,
        created: cnm.env.now(),
        id,
        pool: `${space}#${id.slice(0, 12)}`,
        home,
        family: asked.family,
        space,
        prefix: NOT_LEASED[asked.family],
        ...(asked.range && { range: asked.range }),
        options: asked.options,
        addresses: [],
      };
      undo.add('give pool back', () => giveBackAndForget(hosting, draft, home));
      let record: GuestPool;
      if (lying === undefined) {
        // Before the lease: whoever is killed in between finds for which network it was.
        await state.commit({ pools: [draft], durable: true });
        const leased = await leaseFor(hosting, asked, draft, home);
        record = { ...draft, prefix: leased.prefix, home: { ...home, lease: leased.id } };
      } else record = { ...draft, prefix: lying.prefix };
      refuseAgain(hosting, record.prefix);
      await state.commit({ pools: [record], durable: true });
      return record;
    }),
  );
}

/**
 * One at a time choose for which network a pool is, make that network, or give back the last pool of one. It comes after a pool's own
 * lock and that of the engine's network, and before those of the cluster's.
 */
export const HOMES_LOCK = 'pool:homes';

/** In a record whose lease is only on its way: what no network has. */
const NOT_LEASED = { 4: '0.0.0.0/0' as Prefix, 6: '::/0' as Prefix } as const;

/** Throws pool_overlap. */
function refuseAgain({ state }: Hosting, prefix: Prefix): void {
  const waiting = [...state.pools.values()].filter(
    ({ home, prefix: other }) => home !== undefined && home.guest === undefined && other === prefix,
  );
  if (waiting.length < MAX_WAITING) return;
  throw new CnmError(
    'pool_overlap',
    `subnet ${prefix} overlaps a route of the engine's host: give --subnet ${prefix} all the same`,
  );
}

type Found = { readonly home: HomePool; readonly prefix: Prefix };

/** A pool of a network that is there: by the network's name, or by its subnet. */
async function lyingPool(hosting: Hosting, asked: HomePoolRequest): Promise<Found | undefined> {
  const { subnet, family, range } = asked;
  const name = asked.options[labels.clusterNetwork];
  const named = name ? await homeNamed(hosting, name) : undefined;
  const net = named ?? (name ? undefined : ofSubnet(hosting, subnet));
  if (net === undefined) return undefined;
  const own = net.pools.filter((pool) => pool.family === family);
  const pool = subnet === undefined ? own[0] : own.find(({ prefix }) => prefix === subnet);
  if (pool === undefined) {
    const has = net.pools.map(({ prefix }) => prefix).join(', ');
    const words = subnet === undefined ? `and none of IPv${family}` : `not ${subnet}: leave --subnet out`;
    throw new CnmError('bad_subnet', `network ${net.name} of the cluster has ${has}, ${words}`);
  }
  const lease = range === undefined ? pool.pool : `${pool.space}/${pool.prefix}/${range}`;
  return { home: { network: net.id, ...(name && { name }), lease }, prefix: pool.prefix };
}

const ofSubnet = ({ cnm }: Hosting, subnet: Prefix | undefined): NetworkRecord | undefined =>
  subnet === undefined
    ? undefined
    : cnm.state.networks().find((net) => net.shared === true && net.pools.some(({ prefix }) => prefix === subnet));

/** A network that is made in a moment: the one that others have asked for a pool for, or a new one. Nothing is leased yet. Throws bad_option. */
function plannedHome({ cnm, state }: Hosting, { subnet, options }: HomePoolRequest): HomePool {
  const name = options[labels.clusterNetwork];
  if (!name && subnet === undefined)
    throw new CnmError(
      'bad_option',
      `say which network of the cluster this is: --ipam-opt ${labels.clusterNetwork}=NAME. The engine tells no -o before it asks for addresses`,
    );
  const other = [...state.pools.values()].find(
    (pool) =>
      pool.home?.guest === undefined &&
      pool.home !== undefined &&
      cnm.state.networkById(pool.home.network) === undefined &&
      (name ? pool.home.name === name : pool.home.name === undefined && pool.prefix === subnet),
  );
  return { network: other?.home?.network ?? newNetworkId(), ...(name && { name }), lease: '' };
}

/** In the name that the network will have. */
async function leaseFor(
  hosting: Hosting,
  { family, subnet, range, options }: HomePoolRequest,
  { space }: GuestPool,
  { network }: HomePool,
): Promise<Pool> {
  const { [labels.clusterNetwork]: _name, ...rest } = options;
  return ipamOf(hosting).requestPool({
    owner: network,
    space,
    family,
    ...(subnet && { subnet }),
    ...(range && { range }),
    ...(subnet === undefined && { exclude: await hostExclusions(hosting.cnm, family) }),
    options: rest,
  });
}

/** Gives back what was leased for a network that was not made, with the last who asked for it. */
async function giveBack(hosting: Hosting, { network }: HomePool, id: string): Promise<void> {
  const { cnm, state } = hosting;
  const isWanted = [...state.pools.values()].some((pool) => pool.id !== id && pool.home?.network === network);
  if (isWanted || cnm.state.networkById(network) !== undefined) return;
  await ipamOf(hosting).releaseAll?.(network);
}

/** With all that is leased from it. The caller holds the pool's lock. */
export async function releaseHomePool(hosting: Hosting, record: GuestPool, home: HomePool): Promise<void> {
  for (const one of record.addresses) await ipamOf(hosting).releaseAddress(home.lease, one.address, one.lease ?? record.id);
  // Whoever asks for a pool of the network in this moment would have one that is given back.
  await hosting.cnm.locks.run(HOMES_LOCK, () => giveBackAndForget(hosting, record, home));
}

async function giveBackAndForget(hosting: Hosting, { id, pool }: GuestPool, home: HomePool): Promise<void> {
  await giveBack(hosting, home, id);
  // A network may have come for it while this waited for the locks and for the cluster.
  const now = hosting.state.pools.get(pool);
  if (now !== undefined && now.home?.guest !== home.guest) return;
  await hosting.state.commit({ remove: { pool }, durable: true });
}

/**
 * Before the engine's network is created only its gateway and auxiliary addresses are asked for: they are the network's of the
 * cluster. After that, addresses of endpoints. The caller holds the pool's lock. Errors: bad_gateway, bad_aux_address,
 * no_network, address_in_use, address_out_of_range, no_free_address, store_unreachable.
 */
export async function requestHomeAddress(
  hosting: Hosting,
  record: GuestPool,
  home: HomePool,
  asked: AddressAsked,
): Promise<Prefix> {
  const net = hosting.cnm.state.networkById(home.network);
  const isGateway = asked.options[REQUEST_ADDRESS_TYPE] === GATEWAY_REQUEST;
  if (home.guest === undefined) {
    if (net === undefined) return planned(hosting, home, asked);
    const pool = net.pools.find(({ prefix }) => prefix === record.prefix);
    return isGateway ? gatewayOf(net, pool, asked.address) : auxiliaryOf(net, pool, asked.address);
  }
  if (net === undefined) throw new CnmError('no_network', "the network was removed from the cluster: remove the engine's too");
  const lease = randomBytes(16).toString('hex');
  const { [labels.clusterNetwork]: _name, ...options } = { ...record.options, ...asked.options };
  return undoable(async (undo) => {
    const { address: wanted } = asked;
    // Known before it is asked for or not, it is given back also when the answer is lost.
    let address = wanted;
    undo.add('release guest address', () =>
      address === undefined
        ? ipamOf(hosting).releaseOwned?.(lease, home.lease)
        : ipamOf(hosting).releaseAddress(home.lease, address, lease),
    );
    const leased = await ipamOf(hosting).requestAddress(home.lease, {
      owner: lease,
      ...(wanted && { address: wanted }),
      options,
    });
    address = prefixAddress(leased);
    const addresses = [...record.addresses, { address, owner: asked.owner, lease, since: hosting.cnm.env.now() }];
    await hosting.state.commit({ pools: [{ ...record, addresses }] });
    return leased;
  });
}

/** Of a network that is made in a moment, in its own name: its making asks for the same again. */
const planned = (hosting: Hosting, home: HomePool, { address, options }: AddressAsked): Promise<Prefix> =>
  ipamOf(hosting).requestAddress(home.lease, {
    owner: home.network,
    isForPool: true,
    ...(address && { address }),
    options,
  });

function gatewayOf(net: NetworkRecord, pool: NetworkPool | undefined, asked: Address | undefined): Prefix {
  if (pool?.gateway === undefined || (asked !== undefined && asked !== pool.gateway))
    throw new CnmError('bad_gateway', `network ${net.name} of the cluster has gateway ${pool?.gateway}: leave --gateway out`);
  return makePrefix(pool.gateway, prefixLength(pool.prefix));
}

function auxiliaryOf(net: NetworkRecord, pool: NetworkPool | undefined, asked: Address | undefined): Prefix {
  if (pool === undefined || asked === undefined || !Object.values(pool.aux).includes(asked))
    throw new CnmError(
      'bad_aux_address',
      `network ${net.name} of the cluster has no auxiliary address ${asked ?? ''}: leave --aux-address out`,
    );
  return makePrefix(asked, prefixLength(pool.prefix));
}

/** What is free already, or the network's own, is fine. The caller holds the pool's lock. */
export async function releaseHomeAddress(hosting: Hosting, record: GuestPool, home: HomePool, address: Address): Promise<void> {
  const found = record.addresses.find((one) => one.address === address);
  if (found === undefined) return;
  await ipamOf(hosting).releaseAddress(home.lease, address, found.lease ?? record.id);
  await hosting.state.commit({ pools: [{ ...record, addresses: record.addresses.filter((one) => one !== found) }] });
}

/**
 * Leases again what the records say that engines have in a network; absent: in all. `only`: no other addresses. Throws address_in_use,
 * after all others were tried.
 */
export async function replayHomeLeases(hosting: Hosting, network?: NetworkId, only?: ReadonlySet<Address>): Promise<void> {
  const turns = new Turnstile(REPLAYS_AT_ONCE);
  const works = [...hosting.state.pools.values()].flatMap(({ id, home, addresses, options }) => {
    if (home === undefined || (network ?? home.network) !== home.network) return [];
    const { [labels.clusterNetwork]: _name, ...rest } = options;
    return addresses
      .filter(({ address }) => only?.has(address) !== false)
      .map(({ address, lease }) => {
        const asked = { owner: lease ?? id, address, options: rest, isReplay: true };
        return turns.pass(() => ipamOf(hosting).requestAddress(home.lease, asked));
      });
  });
  for (const result of await Promise.allSettled(works)) if (result.status === 'rejected') throw result.reason;
}

/** Pools that no network came for: whoever asked for them was killed. */
export async function dropForgottenPools(hosting: Hosting, olderThanMs = FORGOTTEN_MS): Promise<void> {
  const { cnm, state } = hosting;
  for (const { id, pool, home } of state.pools.values()) {
    if (home === undefined || home.guest !== undefined || state.ages.of(id) < olderThanMs) continue;
    try {
      await cnm.locks.run(`pool:${pool}`, async () => {
        const record = state.pools.get(pool);
        if (record?.home !== undefined && record.home.guest === undefined) await releaseHomePool(hosting, record, record.home);
      });
    } catch (error) {
      cnm.env.log.warn({ pool, problem: messageOf(error) }, 'a pool that no network came for cannot be given back');
    }
  }
}

/** Addresses that no endpoint came for: their engine was killed after it had asked for them. */
export async function dropForgottenAddresses(hosting: Hosting): Promise<void> {
  const { cnm, state } = hosting;
  state.ages.keep(
    new Set([...state.pools.values()].flatMap(({ id, addresses }) => [id, ...addresses.map(({ lease }) => lease ?? '')])),
  );
  for (const { pool } of state.pools.values()) {
    for (const address of unclaimed(hosting, pool)) {
      try {
        await cnm.locks.run(`pool:${pool}`, async () => {
          const record = state.pools.get(pool);
          if (record?.home === undefined || !unclaimed(hosting, pool).includes(address)) return;
          cnm.env.log.warn({ pool, address }, 'an engine has asked for an address that no endpoint came for: it is free again');
          await releaseHomeAddress(hosting, record, record.home, address);
        });
      } catch (error) {
        cnm.env.log.warn({ pool, address, problem: messageOf(error) }, 'an address that no endpoint came for is not given back');
      }
    }
  }
}

function unclaimed({ state }: Hosting, pool: string): Address[] {
  const record = state.pools.get(pool);
  const guest = record?.home?.guest;
  if (record === undefined || guest === undefined) return [];
  const own = state.endpointsOf(guest).flatMap(({ asked }) => [asked.v4, asked.v6].filter((one) => one !== undefined));
  const claimed = new Set(own.map(prefixAddress));
  return record.addresses.flatMap(({ address, lease, since }) =>
    since !== undefined && state.ages.of(lease ?? '') >= UNCLAIMED_MS && !claimed.has(address) ? [address] : [],
  );
}
