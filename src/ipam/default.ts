/**
 * The default IPAM: pools and addresses of this host, in memory. The controller's records are the truth; after a start it
 * replays them by asking for the recorded subnets and addresses in the name of their owners.
 */

import { CnmError, familyOf, prefixesOverlap, shortId, type Address, type Prefix } from '../base/index.ts';
import {
  GATEWAY_REQUEST,
  REQUEST_ADDRESS_TYPE,
  SERIAL_OPTION,
  type AddressRequest,
  type IpamDriver,
  type Pool,
  type PoolId,
  type PoolRequest,
  type PoolUsage,
} from './contract.ts';
import { GLOBAL_POOLS, LOCAL_POOLS, normalPools, uniqueLocalPool, type AddressPool } from './pools.ts';
import { explainExhaustion, nextSubnet, type Blocker } from './spaces.ts';
import { type LeaseRequest, Subnet } from './subnet.ts';
import { normalWish } from './wish.ts';

export const LOCAL_SPACE = 'LocalDefault';
export const GLOBAL_SPACE = 'GlobalDefault';

export interface DefaultIpamOptions {
  /** Replaces the local pools as a whole; the host's unique local IPv6 pool is added when it has none of IPv6. */
  readonly pools?: readonly AddressPool[];
  readonly globalPools?: readonly AddressPool[];
  /** Stable identity of this host, such as its machine id. */
  readonly hostId: string;
}

interface PoolLease {
  readonly id: PoolId;
  readonly owner: string;
  readonly subnet: Subnet;
  readonly range?: Prefix;
  /** What was asked for, so that a repeated automatic choice is recognised. */
  readonly asked: string;
  readonly isSerial: boolean;
}

interface Space {
  readonly name: string;
  readonly pools: readonly AddressPool[];
  readonly subnets: Map<Prefix, Subnet>;
  readonly leases: Map<PoolId, PoolLease>;
}

/** Makes the driver `default`. */
export function createDefaultIpam(options: DefaultIpamOptions): IpamDriver {
  const given = options.pools ?? LOCAL_POOLS;
  const hasIPv6 = given.some((pool) => familyOf(pool.base) === 6);
  const local = hasIPv6 ? given : [...given, uniqueLocalPool(options.hostId)];
  return new DefaultIpam(normalPools(local), normalPools(options.globalPools ?? GLOBAL_POOLS));
}

class DefaultIpam implements IpamDriver {
  readonly name = 'default';
  readonly capabilities = { requiresMac: false, requiresReplay: true };
  readonly #spaces: ReadonlyMap<string, Space>;

  constructor(local: readonly AddressPool[], global: readonly AddressPool[]) {
    const space = (name: string, pools: readonly AddressPool[]): [string, Space] => [
      name,
      { name, pools, subnets: new Map(), leases: new Map() },
    ];
    this.#spaces = new Map([space(LOCAL_SPACE, local), space(GLOBAL_SPACE, global)]);
  }

  async addressSpaces(): Promise<{ readonly local: string; readonly global: string }> {
    return { local: LOCAL_SPACE, global: GLOBAL_SPACE };
  }

  async requestPool(request: PoolRequest): Promise<Pool> {
    const space = this.#space(request.space);
    const wish = normalWish(request);
    const repeated = [...space.leases.values()].find((lease) => lease.owner === request.owner && lease.asked === wish.asked);
    if (repeated !== undefined) return answer(repeated);

    const prefix = wish.subnet ?? chooseSubnet(space, request, wish.size);
    const id = [space.name, prefix, ...(wish.range === undefined ? [] : [wish.range])].join('/');
    const present = space.leases.get(id);
    if (present !== undefined) {
      if (present.owner === request.owner) return answer(present);
      throw overlap(prefix, present.subnet.prefix, [present.owner]);
    }
    // Networks that name separate ranges may share one subnet; only a network that wants a whole subnet needs it alone.
    if (wish.subnet !== undefined && wish.range === undefined) refuseOverlap(space, prefix);

    const subnet = space.subnets.get(prefix) ?? new Subnet(prefix);
    space.subnets.set(prefix, subnet);
    const lease: PoolLease = {
      id,
      owner: request.owner,
      subnet,
      ...(wish.range === undefined ? {} : { range: wish.range }),
      asked: wish.asked,
      isSerial: request.options?.[SERIAL_OPTION] === 'true',
    };
    space.leases.set(id, lease);
    return answer(lease);
  }

  async releasePool(pool: PoolId, owner: string): Promise<void> {
    const space = this.#spaces.get(spaceName(pool));
    const lease = space?.leases.get(pool);
    if (space === undefined || lease === undefined || lease.owner !== owner) return;
    space.leases.delete(pool);
    const isShared = [...space.leases.values()].some((other) => other.subnet === lease.subnet);
    if (!isShared) space.subnets.delete(lease.subnet.prefix);
  }

  async requestAddress(pool: PoolId, request: AddressRequest): Promise<Prefix> {
    const lease = this.#lease(pool);
    return lease.subnet.lease({
      owner: request.owner,
      purpose: purposeOf(request),
      ...(request.address === undefined ? {} : { address: request.address }),
      ...(lease.range === undefined ? {} : { range: lease.range }),
      isSerial: lease.isSerial || request.options?.[SERIAL_OPTION] === 'true',
    });
  }

  async releaseAddress(pool: PoolId, address: Address, owner: string): Promise<void> {
    const lease = this.#spaces.get(spaceName(pool))?.leases.get(pool);
    lease?.subnet.release(address, owner);
  }

  async usage(pool: PoolId): Promise<PoolUsage> {
    const lease = this.#lease(pool);
    return { prefix: lease.subnet.prefix, ...lease.subnet.usage(lease.range) };
  }

  #space(name: string): Space {
    const space = this.#spaces.get(name);
    if (space === undefined) throw new CnmError('unknown_address_space', `cannot find address space ${JSON.stringify(name)}`);
    return space;
  }

  #lease(pool: PoolId): PoolLease {
    const lease = this.#space(spaceName(pool)).leases.get(pool);
    if (lease === undefined) {
      throw new CnmError(
        'unknown_address_space',
        `address space ${spaceName(pool)} does not contain the pool ${JSON.stringify(pool)}`,
      );
    }
    return lease;
  }
}

function purposeOf({ isOutside, options }: AddressRequest): LeaseRequest['purpose'] {
  if (isOutside === true) return 'router';
  return options?.[REQUEST_ADDRESS_TYPE] === GATEWAY_REQUEST ? 'gateway' : 'plain';
}

const spaceName = (pool: PoolId): string => pool.slice(0, Math.max(pool.indexOf('/'), 0));

const answer = (lease: PoolLease): Pool => ({ id: lease.id, prefix: lease.subnet.prefix });

function chooseSubnet(space: Space, request: PoolRequest, size: number | undefined): Prefix {
  const owners = new Map<Prefix, string[]>();
  for (const lease of space.leases.values()) {
    const { prefix } = lease.subnet;
    owners.set(prefix, [...(owners.get(prefix) ?? []), lease.owner]);
  }
  const networks: Blocker[] = [...owners].map(([prefix, names]) => ({ prefix, reason: namedOwners(names) }));
  const blockers = [...(request.exclude ?? []), ...networks];
  const prefix = nextSubnet(space.pools, request.family, size, blockers);
  if (prefix === undefined) throw new CnmError('pools_exhausted', explainExhaustion(space.pools, request.family, size, blockers));
  return prefix;
}

function refuseOverlap(space: Space, prefix: Prefix): void {
  for (const subnet of space.subnets.values()) {
    if (prefixesOverlap(subnet.prefix, prefix)) throw overlap(prefix, subnet.prefix, ownersOf(space, subnet.prefix));
  }
}

const ownersOf = (space: Space, prefix: Prefix): string[] =>
  [...space.leases.values()].filter((lease) => lease.subnet.prefix === prefix).map((lease) => lease.owner);

const namedOwners = (owners: readonly string[]): string => `network ${owners.map(shortId).join(', ')}`;

function overlap(wanted: Prefix, present: Prefix, owners: readonly string[]): CnmError {
  return new CnmError(
    'pool_overlap',
    `invalid pool request: Pool overlaps with other one on this address space: ${wanted} with ${present} of ${namedOwners(owners)}`,
  );
}
