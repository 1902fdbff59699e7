/** The IPAM driver contract (spec 01 §2, 09). Pools and addresses are leased to an owner, so that orphans can be swept. */

import type { Address, IpFamily, Mac, Prefix } from '../base/index.ts';

/** `Space/subnet[/range]`. */
export type PoolId = string;

export interface PoolRequest {
  /** Who leases: a network id. The same owner asking the same twice gets the same answer. */
  readonly owner: string;
  readonly space: string;
  readonly family: IpFamily;
  /** Absent: any free subnet. `0.0.0.0/N`: any of size N. */
  readonly subnet?: Prefix;
  /** Part of the subnet that is handed out; asks for `subnet`. */
  readonly range?: Prefix;
  /** Prefixes that an automatic choice avoids: the host's routes and nameservers, each with words for the error. */
  readonly exclude?: readonly { readonly prefix: Prefix; readonly reason: string }[];
  readonly options?: Readonly<Record<string, string>>;
}

export interface Pool {
  readonly id: PoolId;
  readonly prefix: Prefix;
  /** A gateway that the IPAM itself prescribes (pool meta `com.docker.network.gateway`). */
  readonly gateway?: Address;
}

export interface AddressRequest {
  /** Who leases: an endpoint id, or a network id for its gateway and auxiliary addresses. */
  readonly owner: string;
  /** Wanted address; absent: the lowest free one (or the next one with the serial option). */
  readonly address?: Address;
  /** Given when capabilities.requiresMac. */
  readonly mac?: Mac;
  readonly options?: Readonly<Record<string, string>>;
}

export interface PoolUsage {
  readonly prefix: Prefix;
  /** Counts network and broadcast addresses of IPv4 pools, gateway, auxiliary addresses, endpoints. */
  readonly inUse: bigint;
  /** Free addresses of the range, or of the whole subnet. */
  readonly available: bigint;
}

/**
 * Errors: pools_exhausted, pool_overlap, bad_ip_range, unknown_address_space from requestPool; address_in_use,
 * address_out_of_range, no_free_address from requestAddress. Releasing what is free is no error.
 */
export interface IpamDriver {
  readonly name: string;
  readonly capabilities: { readonly requiresMac: boolean; readonly requiresReplay: boolean };
  addressSpaces(): Promise<{ readonly local: string; readonly global: string }>;
  requestPool(request: PoolRequest): Promise<Pool>;
  releasePool(pool: PoolId, owner: string): Promise<void>;
  requestAddress(pool: PoolId, request: AddressRequest): Promise<Prefix>;
  releaseAddress(pool: PoolId, address: Address, owner: string): Promise<void>;
  usage?(pool: PoolId): Promise<PoolUsage>;
}

/** Option key and value by which a gateway is asked for. */
export const REQUEST_ADDRESS_TYPE = 'RequestAddressType';
export const GATEWAY_REQUEST = 'com.docker.network.gateway';
/** Option: hand addresses out in rising order, wrapping, instead of the lowest free one. */
export const SERIAL_OPTION = 'com.docker.network.ipam.serial';
