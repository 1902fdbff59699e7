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
  /** The link of the host that the network hangs on, where there is one. */
  readonly parent?: string;
  /** Leased before, as a record says. Default false. */
  readonly isReplay?: boolean;
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
  /** It is for the pool's owner itself, such as its gateway. Default false. */
  readonly isForPool?: boolean;
  /** It is that of a router outside, which pools of several owners may name in one subnet. Default false. */
  readonly isOutside?: boolean;
  /** Leased before, as a record says, with this address: it is not for somebody else to say so again now. Default false. */
  readonly isReplay?: boolean;
}

/** What a network wants, before anything is leased. */
export interface NetworkQuestion {
  /** Network driver. */
  readonly driver: string;
  readonly driverOptions: Readonly<Record<string, string>>;
  /** As in PoolRequest. */
  readonly parent?: string;
  readonly enableIPv4: boolean;
  readonly enableIPv6: boolean;
  readonly config: readonly {
    readonly subnet?: Prefix;
    readonly range?: Prefix;
    readonly aux: Readonly<Record<string, Address>>;
  }[];
  /** Keys of auxiliary addresses that each subnet must have: they are leased where they are not given. */
  readonly aux: readonly string[];
}

/** A lease that somebody else must prolong, and does not. */
export interface LeaseTrouble {
  /** Whose lease it is. */
  readonly owner: string;
  readonly address: Address;
  readonly kind: 'unanswered' | 'expired' | 'refused';
  /** What is wrong and what helps, for people. */
  readonly text: string;
}

/** Leases in trouble. They are kept: what their owners have goes on as it is. */
export interface LeaseWatch {
  readonly troubles: readonly LeaseTrouble[];
  /** Called after each change of `troubles`. */
  onTroubles: (() => void) | undefined;
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
  readonly capabilities: {
    readonly requiresMac: boolean;
    readonly requiresReplay: boolean;
    /** Pools and addresses are asked for on the network's parent, which must be there before. Default false. */
    readonly asksOnParent?: boolean;
  };
  /** `local`: for networks of this host, `global`: for those that hosts share. */
  addressSpaces(): Promise<{ readonly local: string; readonly global: string }>;
  requestPool(request: PoolRequest): Promise<Pool>;
  releasePool(pool: PoolId, owner: string): Promise<void>;
  requestAddress(pool: PoolId, request: AddressRequest): Promise<Prefix>;
  releaseAddress(pool: PoolId, address: Address, owner: string): Promise<void>;
  usage?(pool: PoolId): Promise<PoolUsage>;
  /** Throws for a network that it cannot serve, before anything is leased. */
  validateNetwork?(asked: NetworkQuestion): void;
  /** After a start: leases of endpoints that are not among `owners` are given back. */
  sweep?(owners: ReadonlySet<string>): Promise<void>;
  /** Gives back every pool and address of a network that hosts share; its own record may not say what it had. Repeatable. */
  releaseAll?(owner: string): Promise<void>;
  /**
   * Gives back every pool and address that an owner has from this host or for all hosts, whatever its record says; `pool`: what it has in
   * that subnet only. Addresses of others in a pool stay. Repeatable. While the cluster is away it is done later.
   */
  releaseOwned?(owner: string, pool?: PoolId): Promise<void>;
  /**
   * The cluster has lost records of a subnet that hosts share: nobody is given a new address of it for some seconds, in which hosts
   * say again what they have. Throws store_unreachable.
   */
  holdBack?(pool: PoolId): Promise<void>;
  /** Gives back what a host had that does not come back. Repeatable. Throws store_unreachable. */
  forgetHost?(node: string): Promise<void>;
  readonly watch?: LeaseWatch;
}

/** Option key and value by which a gateway is asked for. */
export const REQUEST_ADDRESS_TYPE = 'RequestAddressType';
export const GATEWAY_REQUEST = 'com.docker.network.gateway';
/** Option: hand addresses out in rising order, wrapping, instead of the lowest free one. */
export const SERIAL_OPTION = 'com.docker.network.ipam.serial';
