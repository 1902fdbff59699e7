/** The IPAM driver `dhcp`: addresses come from the server on the parent's wire. Only the contract; the work is beside this file. */

import {
  type Address,
  CnmError,
  type Prefix,
  isUnspecified,
  macBytes,
  makePrefix,
  prefixAddress,
  prefixContains,
  prefixLength,
  shortId,
} from '../../src/base/index.ts';
import { labels, wire } from '../../src/driver/index.ts';
import {
  type AddressRequest,
  type IpamDriver,
  type LeaseWatch,
  type NetworkQuestion,
  type Pool,
  type PoolId,
  type PoolRequest,
} from '../../src/ipam/index.ts';
import { type Asking, type Surroundings, acquire, anonymous, giveBack, probe } from './acquire.ts';
import { type Client, type LeaseRecord, prefixOf, recordOf } from './leases.ts';
import type { Renewals } from './renewals.ts';

const SPACE = 'Wire';
/** Type of a client identifier that is a MAC (RFC 2132 §9.14). */
const ETHERNET = 1;
/** Names that servers put into their zones (RFC 1123). */
const HOST_NAME = /^(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$/i;

interface PoolState {
  readonly subnet: Prefix;
  readonly parent: string;
  /** Network. */
  readonly owner: string;
  /** What the user has named and no server gives: the router, the host's own place. */
  readonly reserved: Set<Address>;
}

export class DhcpIpam implements IpamDriver {
  readonly name = 'dhcp';
  readonly capabilities = { requiresMac: true, requiresReplay: true, asksOnParent: true };
  readonly watch: LeaseWatch;
  readonly #asking: Asking;
  readonly #renewals: Renewals;
  readonly #pools = new Map<PoolId, PoolState>();

  constructor(asking: Asking, renewals: Renewals) {
    this.#asking = asking;
    this.#renewals = renewals;
    this.watch = renewals;
  }

  async addressSpaces(): Promise<{ readonly local: string; readonly global: string }> {
    return { local: SPACE, global: SPACE };
  }

  validateNetwork({ driver, driverOptions, parent, enableIPv4, enableIPv6, config, aux }: NetworkQuestion): void {
    if (parent === undefined)
      throw bad(`--ipam-driver dhcp asks on a parent: driver ${driver} has none here; use -d macvlan -o parent=LINK`);
    if (enableIPv6 || !enableIPv4)
      throw bad('--ipam-driver dhcp gives IPv4 addresses only: leave IPv6 out, or use the default IPAM driver with --subnet');
    const mode = driverOptions[labels.ipvlanMode];
    if (driver === 'ipvlan' && mode !== undefined && mode !== '' && mode !== 'l2')
      throw bad(`--ipam-driver dhcp gives addresses of the parent's own wire: ipvlan is on it in mode l2, not in ${mode}`);
    if (config.length > 1) throw new CnmError('too_many_subnets', '--ipam-driver dhcp takes one subnet: that of the server');
    for (const { range } of config)
      if (range !== undefined)
        throw new CnmError('bad_ip_range', `--ipam-driver dhcp takes no --ip-range (${range}): the server has the range`);
    const lacking = aux.find((key) => config.every((one) => one.aux[key] === undefined));
    if (lacking !== undefined)
      throw new CnmError(
        'bad_aux_address',
        `no server is asked for an address of the host: give --subnet and --aux-address ${lacking}=ADDRESS, outside the server's range`,
      );
  }

  /** Without a subnet a server is asked for it; nothing is leased by that. Throws dhcp_unanswered, dhcp_refused, parent_gone. */
  async requestPool({ owner, subnet, parent, space }: PoolRequest): Promise<Pool> {
    if (space !== SPACE) throw new CnmError('unknown_address_space', `cannot find address space ${JSON.stringify(space)}`);
    if (parent === undefined) throw bad('--ipam-driver dhcp asks on a parent, and there is none');
    const isGiven = subnet !== undefined && !isUnspecified(prefixAddress(subnet));
    const found: Surroundings = isGiven ? { subnet } : await probe(this.#asking, parent, owner);
    const id = [SPACE, found.subnet, parent, shortId(owner)].join('/');
    const { router } = found;
    if (!this.#pools.has(id))
      this.#pools.set(id, { subnet: found.subnet, parent, owner, reserved: new Set(router === undefined ? [] : [router]) });
    return { id, prefix: found.subnet, ...(router && { gateway: router }) };
  }

  async releasePool(pool: PoolId, owner: string): Promise<void> {
    if (this.#pools.get(pool)?.owner === owner) this.#pools.delete(pool);
  }

  async requestAddress(pool: PoolId, request: AddressRequest): Promise<Prefix> {
    const state = this.#pools.get(pool);
    if (state === undefined)
      throw new CnmError('unknown_address_space', `address space ${SPACE} does not contain the pool ${JSON.stringify(pool)}`);
    if (request.owner === state.owner) return reserve(state, request.address);
    const known = this.#asking.leases.get(request.owner);
    const isReplayed = request.isReplay === true && request.address !== undefined;
    const lease = known ?? (isReplayed ? await this.#adopt(pool, state, request) : await this.#acquire(pool, state, request));
    this.#renewals.keep(lease);
    return prefixOf(lease);
  }

  #acquire(pool: PoolId, state: PoolState, request: AddressRequest): Promise<LeaseRecord> {
    return acquire(this.#asking, clientOf(pool, state, request), request.address, state.reserved);
  }

  /** An endpoint has the address, and we know no more: the server is asked whether it knows. */
  async #adopt(pool: PoolId, state: PoolState, request: AddressRequest): Promise<LeaseRecord> {
    const lease = recordOf(clientOf(pool, state, request), request.address as Address);
    await this.#asking.leases.put(lease);
    return lease;
  }

  async releaseAddress(pool: PoolId, address: Address, owner: string): Promise<void> {
    const state = this.#pools.get(pool);
    if (state?.owner === owner) return void state.reserved.delete(address);
    await this.#end(owner);
  }

  async #end(owner: string): Promise<void> {
    await this.#renewals.forget(owner);
    await giveBack(this.#asking, owner);
  }

  async sweep(owners: ReadonlySet<string>): Promise<void> {
    for (const { id, address, parent } of this.#asking.leases.all()) {
      if (owners.has(id)) continue;
      this.#asking.env.log.warn({ endpoint: id, address, parent }, 'a DHCP lease belongs to nobody: it is given back');
      await this.#end(id);
    }
  }
}

const bad = (text: string): CnmError => new CnmError('bad_option', text);

/** What the user says of the outside is taken as it is. Throws address_out_of_range, bad_aux_address. */
function reserve({ subnet, reserved }: PoolState, address: Address | undefined): Prefix {
  if (address === undefined) throw new CnmError('bad_aux_address', 'no server is asked for an address of the host: give one');
  if (!prefixContains(subnet, address))
    throw new CnmError('address_out_of_range', `requested address is out of range: ${address} is not in ${subnet}`);
  reserved.add(address);
  return makePrefix(address, prefixLength(subnet));
}

/** By its MAC where it has one of its own, so that reservations hold; else by what is its own alone. */
function clientOf(pool: PoolId, { subnet, parent }: PoolState, { owner, mac, options }: AddressRequest): Client {
  const name = options?.[wire.keys.endpointName] ?? shortId(owner);
  const clientId = mac === undefined ? anonymous(owner) : Buffer.from([ETHERNET, ...macBytes(mac)]);
  return {
    id: owner,
    name,
    pool,
    subnet,
    parent,
    clientId: Buffer.from(clientId).toString('hex'),
    ...(mac && { mac }),
    ...(HOST_NAME.test(name) && { hostName: name }),
  };
}
