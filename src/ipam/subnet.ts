/** Addresses of one subnet: who has which, and which is next. Networks that share a subnet share this. */

import {
  CnmError,
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  makePrefix,
  prefixBounds,
  prefixContains,
  prefixLength,
  type Address,
  type Prefix,
} from '../base/index.ts';
import { RunSet } from './bitmap.ts';

export interface LeaseRequest {
  readonly owner: string;
  /** `router`: it is outside, and several owners may name it. */
  readonly purpose: 'gateway' | 'plain' | 'router';
  /** Absent: the lowest free one, or the next one when `isSerial`. */
  readonly address?: Address;
  /** Where an automatic choice looks; default: the whole subnet. */
  readonly range?: Prefix;
  readonly isSerial: boolean;
}

interface Lease {
  readonly owner: string;
  readonly purpose: LeaseRequest['purpose'];
  /** Range of an automatic choice; undefined when the address was named. */
  readonly chosenFrom: string | undefined;
}

export class Subnet {
  readonly prefix: Prefix;
  readonly #taken = new RunSet();
  readonly #leases = new Map<Address, Lease>();
  /** Routers outside, and who has named them. */
  readonly #routers = new Map<Address, Set<string>>();
  /** Automatic leases by owner, purpose and range, so that asking twice finds the first answer without a search. */
  readonly #chosen = new Map<string, Address>();
  /** Last address handed out serially, by range. */
  readonly #last = new Map<Prefix, bigint>();

  constructor(prefix: Prefix) {
    this.prefix = prefix;
    const { first, last } = prefixBounds(prefix);
    // Network and broadcast address; IPv6: the subnet-router anycast address (RFC 4291 §2.6.1). RFC 3021 frees a /31.
    if (last - first >= 2n) {
      this.#taken.add(first);
      if (familyOf(prefix) === 4) this.#taken.add(last);
    }
  }

  /**
   * Leases one address; the same owner asking the same twice gets the same answer, with the subnet's length. Throws
   * address_out_of_range, address_in_use, no_free_address.
   */
  lease(request: LeaseRequest): Prefix {
    const address = request.address === undefined ? this.#choose(request) : this.#named(request, request.address);
    return makePrefix(address, prefixLength(this.prefix));
  }

  /** Ends a lease; what is free or someone else's stays as it is. Throws address_out_of_range. */
  release(address: Address, owner: string): void {
    this.#requireInside(address);
    if (this.#routers.has(address)) return this.#releaseRouter(address, owner);
    const lease = this.#leases.get(address);
    if (lease === undefined || lease.owner !== owner) return;
    this.#leases.delete(address);
    if (lease.chosenFrom !== undefined) this.#chosen.delete(lease.chosenFrom);
    this.#taken.remove(addressToBigInt(address));
  }

  usage(range: Prefix | undefined): { readonly inUse: bigint; readonly available: bigint } {
    const whole = prefixBounds(this.prefix);
    const part = prefixBounds(range ?? this.prefix);
    return {
      inUse: this.#taken.countIn(whole.first, whole.last),
      available: part.last - part.first + 1n - this.#taken.countIn(part.first, part.last),
    };
  }

  #releaseRouter(address: Address, owner: string): void {
    const owners = this.#routers.get(address);
    if (owners?.delete(owner) !== true || owners.size > 0) return;
    this.#routers.delete(address);
    this.#taken.remove(addressToBigInt(address));
  }

  #named(request: LeaseRequest, address: Address): Address {
    this.#requireInside(address);
    const routers = request.purpose === 'router' ? this.#routers.get(address) : undefined;
    if (routers !== undefined) {
      routers.add(request.owner);
      return address;
    }
    const lease = this.#leases.get(address);
    if (lease?.owner === request.owner && lease.purpose === request.purpose) return address;
    if (!this.#taken.add(addressToBigInt(address))) {
      const why = lease === undefined ? `${address} is reserved in ${this.prefix}` : address;
      throw new CnmError('address_in_use', `Address already in use: ${why}`);
    }
    if (request.purpose === 'router') this.#routers.set(address, new Set([request.owner]));
    else this.#leases.set(address, { owner: request.owner, purpose: request.purpose, chosenFrom: undefined });
    return address;
  }

  #choose(request: LeaseRequest): Address {
    const range = request.range ?? this.prefix;
    const chosenFrom = [request.owner, request.purpose, range].join(' ');
    const before = this.#chosen.get(chosenFrom);
    if (before !== undefined) return before;

    const { first, last } = prefixBounds(range);
    const cursor = request.isSerial ? this.#last.get(range) : undefined;
    const next = cursor === undefined ? undefined : this.#taken.firstFree(cursor + 1n, last);
    const value = next ?? this.#taken.firstFree(first, last);
    if (value === undefined) throw new CnmError('no_free_address', `no available addresses on this pool: ${range} is full`);

    this.#taken.add(value);
    this.#last.set(range, value);
    const address = addressFromBigInt(value, familyOf(this.prefix));
    this.#leases.set(address, { owner: request.owner, purpose: request.purpose, chosenFrom });
    this.#chosen.set(chosenFrom, address);
    return address;
  }

  #requireInside(address: Address): void {
    if (prefixContains(this.prefix, address)) return;
    throw new CnmError('address_out_of_range', `requested address is out of range: ${address} is not in ${this.prefix}`);
  }
}
