/** Leases of pools, gateways, auxiliary and endpoint addresses, and their return. */

import {
  type Address,
  type Prefix,
  CnmError,
  addressToBigInt,
  codeOf,
  familyOf,
  messageOf,
  prefixAddress,
  prefixBounds,
  prefixContains,
  shortId,
  shown,
} from '../../base/index.ts';
import type { Undo } from '../../base/index.ts';
import { labels, wire } from '../../driver/index.ts';
import {
  type AddressRequest,
  GATEWAY_REQUEST,
  type IpamDriver,
  type NetworkQuestion,
  REQUEST_ADDRESS_TYPE,
} from '../../ipam/index.ts';
import { type Cnm, driverOf } from '../context.ts';
import { hostExclusions } from '../exclusions.ts';
import type { EndpointRecord, IpamConfig, NetworkPool, NetworkRecord } from '../records.ts';
import { askFor } from './doubt.ts';

/** What a network's driver wants of its subnets. */
interface PoolWish {
  /** Families whose gateway is leased only when it is given. */
  readonly skip: { readonly v4: boolean; readonly v6: boolean };
  /** Keys of auxiliary addresses that are leased also when they are not given. */
  readonly aux: readonly string[];
}

/** The link of the host that the network hangs on, where there is one. */
const parentOf = (cnm: Cnm, net: NetworkRecord): { readonly parent?: string } => {
  const parent = driverOf(cnm, net).capabilities.usesParent === true ? net.options[labels.parent] : undefined;
  return parent ? { parent } : {};
};

/** On a link of the host the router is outside: networks that share its subnet name the same one. */
const outside = (cnm: Cnm, net: NetworkRecord): { readonly isOutside?: true } =>
  driverOf(cnm, net).capabilities.usesParent === true ? { isOutside: true } : {};

/** What an IPAM driver is asked about before anything is leased. */
export const addressingOf = (cnm: Cnm, net: NetworkRecord): NetworkQuestion => ({
  driver: net.driver,
  driverOptions: net.options,
  ...parentOf(cnm, net),
  enableIPv4: net.enableIPv4,
  enableIPv6: net.enableIPv6,
  config: net.ipam.config,
  aux: driverOf(cnm, net).auxAddresses?.(net.options) ?? [],
});

/** Leases every subnet of a new network, IPv4 first, with gateway and auxiliary addresses. */
export async function requestPools(cnm: Cnm, net: NetworkRecord, asked: PoolWish, undo: Undo): Promise<NetworkPool[]> {
  const ipam = cnm.ipams.get(net.ipam.driver);
  const wanted = (family: 4 | 6): readonly IpamConfig[] => {
    const given = net.ipam.config.filter((c) => c.subnet !== undefined && (c.subnet.includes(':') ? 6 : 4) === family);
    return given.length > 0 ? given : [{ aux: {} }];
  };
  const pools: NetworkPool[] = [];
  for (const family of [4, 6] as const) {
    if (!(family === 4 ? net.enableIPv4 : net.enableIPv6)) continue;
    for (const config of wanted(family)) {
      pools.push(await requestPool(cnm, ipam, net, family, config, asked, undo));
    }
  }
  return pools;
}

async function spaceOf(ipam: IpamDriver, net: NetworkRecord): Promise<string> {
  const { local, global } = await ipam.addressSpaces();
  return net.shared === true ? global : local;
}

async function requestPool(
  cnm: Cnm,
  ipam: IpamDriver,
  net: NetworkRecord,
  family: 4 | 6,
  config: IpamConfig,
  asked: PoolWish,
  undo: Undo,
): Promise<NetworkPool> {
  const space = await spaceOf(ipam, net);
  const automatic = config.subnet === undefined || /^(0\.0\.0\.0|::)\//.test(config.subnet);
  const exclude = automatic ? await hostExclusions(cnm, family) : undefined;
  const pool = await askFor(
    undo,
    () =>
      ipam.requestPool({
        owner: net.id,
        space,
        family,
        ...(config.subnet && { subnet: config.subnet }),
        ...(config.range && { range: config.range }),
        ...(exclude && { exclude }),
        ...parentOf(cnm, net),
        options: net.ipam.options,
      }),
    () => ipam.releaseOwned?.(net.id),
  );
  undo.add(`release pool ${pool.id}`, () => ipam.releasePool(pool.id, net.id));
  const lease = async (
    what: string,
    address: Address | undefined,
    options: Record<string, string>,
    more: { readonly isOutside?: true } = {},
  ): Promise<Address> => {
    try {
      const asked = {
        owner: net.id,
        isForPool: true,
        ...more,
        ...(address && { address }),
        options: { ...net.ipam.options, ...options },
      };
      const leased = prefixAddress(
        await askFor(
          undo,
          () => ipam.requestAddress(pool.id, asked),
          () => ipam.releaseOwned?.(net.id, pool.id),
        ),
      );
      undo.add(`release ${what} ${leased}`, () => ipam.releaseAddress(pool.id, leased, net.id));
      return leased;
    } catch (error) {
      throw unleased(what, address, config.range, pool.prefix, error);
    }
  };
  const skipGateway = family === 4 ? asked.skip.v4 : asked.skip.v6;
  // One that the IPAM driver prescribes is reserved by it.
  const gateway =
    config.gateway === undefined && (pool.gateway !== undefined || skipGateway)
      ? pool.gateway
      : await lease('gateway', config.gateway, { [REQUEST_ADDRESS_TYPE]: GATEWAY_REQUEST }, outside(cnm, net));
  const aux: Record<string, Address> = {};
  for (const [key, address] of Object.entries(config.aux)) {
    if (address === gateway && pool.gateway === undefined)
      throw new CnmError(
        'bad_aux_address',
        `invalid auxiliary address ${shown(key)} ${address}: it would be the gateway too, name another one with --gateway`,
      );
    aux[key] = address === gateway ? address : await lease(`auxiliary address ${key}`, address, {});
  }
  for (const key of asked.aux) aux[key] ??= await lease(`auxiliary address ${key}`, undefined, {});
  return {
    family,
    pool: pool.id,
    space,
    prefix: pool.prefix,
    ...(config.range && { range: config.range }),
    ...(gateway && { gateway }),
    aux,
  };
}

/** Why a gateway or an auxiliary address is not leased: what never could be is the mistake of who asked. */
function unleased(
  what: string,
  address: Address | undefined,
  range: Prefix | undefined,
  subnet: Prefix,
  cause: unknown,
): CnmError {
  if (address === undefined) {
    if (range !== undefined && isReservedOnly(prefixBounds(range), subnet))
      return new CnmError(
        'bad_ip_range',
        `invalid ip-range ${range}: it holds no address to give out, only one that is reserved in ${subnet}; give a larger range`,
        { cause },
      );
    return new CnmError('gateway_taken', `failed to allocate ${what}: ${messageOf(cause)}`, { cause });
  }
  const at = addressToBigInt(address);
  if (codeOf(cause) === 'address_in_use' && isReservedOnly({ first: at, last: at }, subnet))
    return new CnmError(
      what === 'gateway' ? 'bad_gateway' : 'bad_aux_address',
      `invalid ${what} ${address}: it is reserved in ${subnet}, choose another one`,
      { cause },
    );
  return new CnmError('gateway_taken', `failed to allocate ${what} (${address}): ${messageOf(cause)}`, { cause });
}

/** True for nothing but an address at the edge of the subnet: that of all its routers in IPv6 (RFC 4291 §2.6.1), its own or the broadcast address in IPv4. */
function isReservedOnly({ first, last }: { readonly first: bigint; readonly last: bigint }, subnet: Prefix): boolean {
  const whole = prefixBounds(subnet);
  const hasBroadcast = familyOf(subnet) === 4;
  return first === last && whole.last - whole.first >= 2n && (first === whole.first || (hasBroadcast && last === whole.last));
}

/** Gives back what requestPools leased. Every lease is tried, the first error is thrown. */
export async function releasePools(cnm: Cnm, net: NetworkRecord): Promise<void> {
  const ipam = cnm.ipams.find(net.ipam.driver);
  if (ipam === undefined) return;
  if (net.shared === true && ipam.releaseAll !== undefined) return ipam.releaseAll(net.id);
  let first: unknown;
  for (const pool of net.pools) {
    try {
      for (const address of poolAddresses(pool)) await ipam.releaseAddress(pool.pool, address, net.id);
      await ipam.releasePool(pool.pool, net.id);
    } catch (error) {
      first ??= error;
    }
  }
  if (first !== undefined) throw first;
}

/** Start: leases again exactly what the record says. */
export async function replayPools(cnm: Cnm, net: NetworkRecord): Promise<void> {
  const ipam = cnm.ipams.get(net.ipam.driver);
  const space = await spaceOf(ipam, net);
  for (const pool of net.pools) {
    const owned = { owner: net.id, options: net.ipam.options, isForPool: true };
    const { parent } = parentOf(cnm, net);
    await ipam.requestPool({
      owner: owned.owner,
      options: owned.options,
      space,
      family: pool.family,
      subnet: pool.prefix,
      ...(pool.range && { range: pool.range }),
      ...(parent && { parent }),
      isReplay: true,
    });
    for (const address of poolAddresses(pool)) {
      const more = address === pool.gateway ? outside(cnm, net) : {};
      await ipam.requestAddress(pool.pool, { ...owned, ...more, address, isReplay: true });
    }
  }
}

const poolAddresses = (pool: NetworkPool): Address[] => [
  ...new Set([...(pool.gateway ? [pool.gateway] : []), ...Object.values(pool.aux)]),
];

/** Leases the endpoint's addresses, a family at a time, trying the network's pools in order. */
export async function requestAddresses(cnm: Cnm, net: NetworkRecord, ep: EndpointRecord, undo: Undo): Promise<EndpointRecord> {
  const leased: { v4?: Prefix; v6?: Prefix } = {};
  const used: string[] = [];
  const ipam = cnm.ipams.get(net.ipam.driver);
  for (const family of [4, 6] as const) {
    const pools = net.pools.filter((p) => p.family === family);
    const asked = family === 4 ? ep.asked.v4 : ep.asked.v6;
    if (pools.length === 0) {
      if (asked !== undefined) throw outOfRange(net, asked);
      continue;
    }
    const { prefix, pool } = await requestFrom(ipam, net, ep, family, pools, asked, undo);
    undo.add(`release address ${prefix}`, () => ipam.releaseAddress(pool, prefixAddress(prefix), ep.id));
    leased[family === 4 ? 'v4' : 'v6'] = prefix;
    used.push(pool);
  }
  return { ...ep, ...leased, pools: used };
}

/** What an IPAM driver is told of an endpoint. */
const askerOf = (net: NetworkRecord, ep: EndpointRecord): Pick<AddressRequest, 'owner' | 'mac' | 'options'> => ({
  owner: ep.id,
  ...(net.ipam.needsMac && ep.mac && { mac: ep.mac }),
  options: { ...net.ipam.options, [wire.keys.endpointName]: ep.name },
});

function outOfRange(net: NetworkRecord, asked: Address): CnmError {
  const subnets = net.pools.map((pool) => pool.prefix).join(', ') || 'none';
  return new CnmError(
    'address_out_of_range',
    `invalid endpoint settings:\nno configured subnet contains IP address ${asked}; network ${net.name} has ${subnets}`,
  );
}

async function requestFrom(
  ipam: IpamDriver,
  net: NetworkRecord,
  ep: EndpointRecord,
  family: 4 | 6,
  pools: readonly NetworkPool[],
  asked: Address | undefined,
  undo: Undo,
): Promise<{ prefix: Prefix; pool: string }> {
  const fitting = asked === undefined ? pools : pools.filter((pool) => prefixContains(pool.prefix, asked));
  if (asked !== undefined && fitting.length === 0) {
    throw outOfRange(net, asked);
  }
  for (const { pool, prefix: subnet } of fitting) {
    try {
      const prefix = await askFor(
        undo,
        () => ipam.requestAddress(pool, { ...askerOf(net, ep), ...(asked && { address: asked }) }),
        () => ipam.releaseOwned?.(ep.id, pool),
      );
      if (prefixContains(subnet, prefixAddress(prefix))) return { prefix, pool };
      await ipam.releaseAddress(pool, prefixAddress(prefix), ep.id);
      throw new CnmError('plugin_failed', `IPAM driver ${ipam.name} gave ${prefix}, which is not inside ${subnet}`);
    } catch (error) {
      if (codeOf(error) !== 'no_free_address') throw error;
    }
  }
  throw new CnmError(
    'no_free_address',
    `no available IPv${family} addresses on this network's address pools: ${net.name} (${shortId(net.id)}): ${pools.map((p) => p.prefix).join(', ')}`,
  );
}

/** Gives the endpoint's addresses back; what is free already is fine. */
export async function releaseAddresses(cnm: Cnm, net: NetworkRecord, ep: EndpointRecord): Promise<void> {
  const ipam = cnm.ipams.find(net.ipam.driver);
  if (ipam === undefined) return;
  for (const { prefix, pool } of leasesOf(ep)) await ipam.releaseAddress(pool, prefixAddress(prefix), ep.id);
}

/** Start: leases again exactly what the record says. */
export async function replayAddresses(cnm: Cnm, net: NetworkRecord, ep: EndpointRecord): Promise<void> {
  const ipam = cnm.ipams.get(net.ipam.driver);
  for (const { prefix, pool } of leasesOf(ep)) {
    await ipam.requestAddress(pool, { ...askerOf(net, ep), address: prefixAddress(prefix), isReplay: true });
  }
}

function leasesOf(ep: EndpointRecord): { prefix: Prefix; pool: string }[] {
  return [ep.v4, ep.v6]
    .filter((prefix) => prefix !== undefined)
    .flatMap((prefix, i) => {
      const pool = ep.pools[i];
      return pool === undefined ? [] : [{ prefix, pool }];
    });
}
