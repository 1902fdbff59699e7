/**
 * The IPAM driver `cluster`: hosts share subnets, and no address is ever handed out twice. The cluster's records are the truth: one
 * for each address, made only where there is none. A view in memory says which address to try, and may be behind.
 */

import {
  type Address,
  type Logger,
  type Prefix,
  CnmError,
  codeOf,
  makePrefix,
  messageOf,
  prefixAddress,
  prefixLength,
  quoted,
} from '../base/index.ts';
import { type ClusterStore, Debts, type Entry } from '../store/index.ts';
import {
  type AddressRequest,
  type IpamDriver,
  type Pool,
  type PoolId,
  type PoolRequest,
  type PoolUsage,
  GATEWAY_REQUEST,
  REQUEST_ADDRESS_TYPE,
  SERIAL_OPTION,
} from './contract.ts';
import { GLOBAL_POOLS, normalPools, uniqueLocalPool } from './pools.ts';
import { Guard } from './shared-guard.ts';
import { ALL_HOSTS, changePools, dropSharedPool, subnetFor } from './shared-pools.ts';
import {
  POOLS_KEY,
  type Holder,
  LEASES,
  type Pools,
  type SharedLease,
  decodeLease,
  decodePools,
  encodeLease,
  leaseKey,
  leasesIn,
  leasesOf,
} from './shared-records.ts';
import { CLUSTER_SPACE, SHARED_SPACE, parsedId, poolOf } from './shared-ids.ts';
import { Served } from './shared-served.ts';
import { Subnet } from './subnet.ts';
import { type Wish, normalWish } from './wish.ts';

/** In a view, the owner of what another host has. */
const ELSEWHERE = 'elsewhere';
/** Addresses tried for one request, each of which another host took first. */
const MAX_TRIES = 256;

export interface SharedIpamOptions {
  /** The cluster's store. Throws store_unreachable. */
  readonly store: () => ClusterStore;
  /** Names the cluster's data: automatic IPv6 subnets are derived from it. Throws store_unreachable. */
  readonly site: () => string;
  /** This host. */
  readonly node: string;
  readonly log: Logger;
}

export const createSharedIpam = (options: SharedIpamOptions): IpamDriver => new SharedIpam(options);

class SharedIpam implements IpamDriver {
  readonly name = 'cluster';
  readonly capabilities = { requiresMac: false, requiresReplay: false };
  readonly #store: () => ClusterStore;
  readonly #guard: Guard;
  readonly #node: string;
  readonly #site: () => string;
  readonly #views = new Map<Prefix, Promise<Subnet>>();
  readonly #debts: Debts;
  readonly #log: Logger;
  /** Of this host: what all hosts have no sweep takes. */
  readonly #served = new Served();

  constructor({ store, site, node, log }: SharedIpamOptions) {
    this.#log = log;
    this.#debts = new Debts(log);
    this.#store = store;
    this.#guard = new Guard(store);
    this.#site = site;
    this.#node = node;
  }

  async addressSpaces(): Promise<{ readonly local: string; readonly global: string }> {
    return { local: CLUSTER_SPACE, global: SHARED_SPACE };
  }

  async requestPool(request: PoolRequest): Promise<Pool> {
    if (request.space !== CLUSTER_SPACE && request.space !== SHARED_SPACE)
      throw new CnmError('unknown_address_space', `cannot find address space ${quoted(request.space)}`);
    const wish = normalWish(request);
    const work = (): Promise<Pool> => this.#poolFor(request, wish);
    return request.space === SHARED_SPACE ? work() : this.#served.give(request.owner, ({ id }) => id, work);
  }

  async #poolFor(request: PoolRequest, wish: Wish): Promise<Pool> {
    if (request.isReplay !== true || wish.subnet === undefined) return this.#takePool(request, wish);
    // A start does not wait for the cluster.
    await this.#debts.pay(`pool ${wish.subnet} ${request.owner}`, async () => void (await this.#takePool(request, wish)));
    return poolOf(request.space, wish.subnet, wish.range);
  }

  async #takePool(request: PoolRequest, wish: Wish): Promise<Pool> {
    const { owner, space } = request;
    const node = space === SHARED_SPACE ? ALL_HOSTS : this.#node;
    const from = normalPools([...GLOBAL_POOLS, uniqueLocalPool(this.#site())]);
    let found: Pool | undefined;
    await changePools(this.#store(), (pools) => {
      for (const [prefix, holders] of Object.entries(pools)) {
        const own = holders.find((holder) => holder.owner === owner && holder.node === node);
        const isSame = own?.asked === wish.asked || (prefix === wish.subnet && own?.range === wish.range);
        if (own === undefined || !isSame) continue;
        found = poolOf(space, prefix as Prefix, own.range);
        return pools;
      }
      const prefix = subnetFor(pools, from, request, wish, node);
      found = poolOf(space, prefix, wish.range);
      const holder = { owner, node, asked: wish.asked, ...(wish.range && { range: wish.range }) };
      return { ...pools, [prefix]: [...(pools[prefix] ?? []), holder] };
    });
    if (found === undefined) throw new CnmError('internal', 'no subnet was chosen');
    return found;
  }

  /** As releaseAddress. */
  async releasePool(pool: PoolId, owner: string): Promise<void> {
    const { prefix, range, isShared } = parsedId(pool);
    if (isShared) return this.#giveBack(`pool ${prefix} ${owner}`, () => dropSharedPool(this.#store(), prefix, owner));
    this.#served.take(owner, pool);
    await this.#giveBack(`pool ${prefix} ${owner}`, () =>
      changePools(this.#store(), (pools) => {
        const { [prefix]: holders = [], ...others } = pools;
        const left = holders.filter((one) => one.owner !== owner || one.node !== this.#node || one.range !== range);
        if (left.length === holders.length) return pools;
        return left.length === 0 ? others : { ...pools, [prefix]: left };
      }),
    );
  }

  async releaseAll(owner: string): Promise<void> {
    await this.#giveBack(`pools ${owner}`, async () => {
      const pools = Object.entries(decodePools(await this.#store().get(POOLS_KEY)));
      const own = pools.filter(([, holders]) => holders.some((one) => one.owner === owner && one.node === ALL_HOSTS));
      for (const [prefix] of own) await dropSharedPool(this.#store(), prefix as Prefix, owner);
    });
  }

  async holdBack(pool: PoolId): Promise<void> {
    const { prefix, isShared } = parsedId(pool);
    if (isShared) await this.#guard.holdBack(prefix);
  }

  async requestAddress(pool: PoolId, request: AddressRequest): Promise<Prefix> {
    const { prefix, isShared } = parsedId(pool);
    const work = (): Promise<Prefix> => this.#addressFor(pool, request);
    if (isShared && request.isForPool === true) return work();
    return this.#served.give(request.owner, (leased) => servedName(prefix, prefixAddress(leased)), work);
  }

  async #addressFor(pool: PoolId, request: AddressRequest): Promise<Prefix> {
    const { prefix, range, isShared } = parsedId(pool);
    const { address } = request;
    const node = isShared && request.isForPool === true ? ALL_HOSTS : this.#node;
    const isGuarded = isShared && request.isReplay !== true;
    if (address === undefined) return this.#choose(prefix, range, request, { node, isGuarded });
    if (request.isReplay !== true) return this.#named(prefix, address, request, { node, isGuarded });
    const claim = async (): Promise<void> => void (await this.#named(prefix, address, request, { node, isGuarded }));
    await this.#debts.pay(`address ${prefix} ${address} ${request.owner}`, claim);
    return makePrefix(address, prefixLength(prefix));
  }

  /** While the cluster is away the address is given back later, and is nobody's until then. */
  async releaseAddress(pool: PoolId, address: Address, owner: string): Promise<void> {
    const { prefix, isShared } = parsedId(pool);
    const nodes = isShared ? [this.#node, ALL_HOSTS] : [this.#node];
    // Before the cluster is asked: what the owner leases again meanwhile is to stay.
    this.#served.take(owner, servedName(prefix, address));
    await this.#giveBack(`address ${prefix} ${address} ${owner}`, () => this.#release(prefix, address, owner, nodes));
    await this.#freeInView(prefix, address, owner);
  }

  async #freeInView(prefix: Prefix, address: Address, owner: string): Promise<void> {
    (await this.#views.get(prefix)?.catch(() => undefined))?.release(address, owner);
  }

  /** A record that cannot be read stays as it is: it must keep no endpoint from going, and no daemon from starting. */
  async #giveBack(record: string, work: () => Promise<void>): Promise<void> {
    await this.#debts.pay(record, async () => {
      try {
        await work();
      } catch (error) {
        if (codeOf(error) !== 'store_corrupt') throw error;
        this.#log.error({ error: messageOf(error) }, 'what the cluster has of this host is not given back');
      }
    });
  }

  async #release(prefix: Prefix, address: Address, owner: string, nodes: readonly string[]): Promise<void> {
    await this.#changeLease(prefix, address, false, (lease) => {
      const left = lease?.holders.filter((holder) => holder.owner !== owner || !nodes.includes(holder.node)) ?? [];
      if (lease === undefined || left.length === lease.holders.length) return lease;
      return left.length === 0 ? undefined : { ...lease, holders: left };
    });
  }

  async usage(pool: PoolId): Promise<PoolUsage> {
    const { prefix, range } = parsedId(pool);
    return { prefix, ...(await this.#view(prefix, true)).usage(range) };
  }

  /** Gives back what this host had for owners of which no record is left. Repeatable. */
  async sweep(owners: ReadonlySet<string>): Promise<void> {
    await this.#giveBack('strays', () =>
      this.#dropHolders(({ owner, node }) => node === this.#node && !owners.has(owner) && !this.#served.has(owner)),
    );
  }

  async releaseOwned(owner: string, pool?: PoolId): Promise<void> {
    const only = pool === undefined ? undefined : parsedId(pool).prefix;
    this.#served.takeAll(owner, (name) => only === undefined || name.startsWith(servedName(only, '')) || name === pool);
    await this.#giveBack(`leases ${owner} ${only ?? ''}`, () =>
      this.#dropHolders((holder) => [this.#node, ALL_HOSTS].includes(holder.node) && holder.owner === owner, only),
    );
  }

  forgetHost(host: string): Promise<void> {
    return this.#dropHolders(({ node }) => node === host);
  }

  /** `only`: in that subnet; absent: in all. */
  async #dropHolders(isStray: (holder: Holder) => boolean, only?: Prefix): Promise<void> {
    const { entries } = await this.#store().list(only === undefined ? LEASES : leasesOf(only));
    for (const { prefix, address, holders } of leasesIn(entries, this.#log)) {
      for (const { owner, node } of holders.filter(isStray)) {
        this.#log.warn({ owner, node, address }, 'an address of the cluster belongs to nobody: it is given back');
        await this.#release(prefix, address, owner, [node]);
        await this.#freeInView(prefix, address, owner);
      }
    }
    await changePools(this.#store(), (pools) => {
      const all = Object.entries(pools);
      const isIn = (prefix: string): boolean => only === undefined || prefix === only;
      if (!all.some(([prefix, holders]) => isIn(prefix) && holders.some(isStray))) return pools;
      const left = all.map(([prefix, holders]) => [prefix, holders.filter((one) => !isIn(prefix) || !isStray(one))] as const);
      return Object.fromEntries(left.filter(([, holders]) => holders.length > 0)) as Pools;
    });
  }

  async #choose(
    prefix: Prefix,
    range: Prefix | undefined,
    { owner, options }: AddressRequest,
    { node, isGuarded }: Claiming,
  ): Promise<Prefix> {
    const asked = {
      owner,
      purpose: options?.[REQUEST_ADDRESS_TYPE] === GATEWAY_REQUEST ? 'gateway' : 'plain',
      isSerial: options?.[SERIAL_OPTION] === 'true',
      ...(range && { range }),
    } as const;
    // A gateway is the first address wherever that is free: what others have given back counts.
    let isFresh = asked.purpose === 'gateway';
    let view = await this.#view(prefix, isFresh);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      let leased: Prefix;
      try {
        leased = view.lease(asked);
      } catch (error) {
        if (isFresh) throw error;
        // What others have given back is not known here.
        view = await this.#view(prefix, true);
        isFresh = true;
        continue;
      }
      const address = prefixAddress(leased);
      try {
        await this.#claim(prefix, address, { owner, node }, false, isGuarded);
        return leased;
      } catch (error) {
        view.release(address, owner);
        if (codeOf(error) !== 'address_in_use') throw error;
        view.lease({ owner: ELSEWHERE, purpose: 'plain', isSerial: false, address });
      }
    }
    throw new CnmError(
      'no_free_address',
      `other hosts were quicker ${MAX_TRIES} times: no address of ${range ?? prefix} was left`,
    );
  }

  async #named(prefix: Prefix, address: Address, { owner }: AddressRequest, { node, isGuarded }: Claiming): Promise<Prefix> {
    // Outside, or one that no host may have.
    new Subnet(prefix).lease({ owner, purpose: 'plain', isSerial: false, address });
    const holders = decodePools(await this.#store().get(POOLS_KEY))[prefix] ?? [];
    const isReserved = holders.some((holder) => holder.owner === owner && holder.node === node);
    await this.#claim(prefix, address, { owner, node }, isReserved, isGuarded);
    const view = await this.#view(prefix, false);
    view.release(address, ELSEWHERE);
    try {
      view.lease({ owner, purpose: 'plain', isSerial: false, address });
    } catch {
      // A reservation that another network here has too.
    }
    return makePrefix(address, prefixLength(prefix));
  }

  /** Throws address_in_use. */
  async #claim(prefix: Prefix, address: Address, own: Holder, isReserved: boolean, isGuarded: boolean): Promise<void> {
    await this.#changeLease(prefix, address, isGuarded, (lease) => {
      if (lease === undefined) return { holders: [own], isReserved };
      if (lease.holders.some((holder) => holder.owner === own.owner && holder.node === own.node)) return lease;
      if (isReserved && lease.isReserved) return { ...lease, holders: [...lease.holders, own] };
      throw new CnmError('address_in_use', `Address already in use: ${address}, in the cluster`);
    });
  }

  /** As changePools, of one address; `undefined`: there is none. */
  async #changeLease(
    prefix: Prefix,
    address: Address,
    isGuarded: boolean,
    change: (lease: SharedLease | undefined) => SharedLease | undefined,
  ): Promise<void> {
    const key = leaseKey(prefix, address);
    const store = this.#store();
    // Most often there is none yet: the first try asks nobody before.
    const hopeful = change(undefined);
    let entry: Entry | undefined = hopeful === undefined ? await store.get(key) : undefined;
    for (let tries = 1; ; tries++) {
      const before = entry && decodeLease(entry);
      const after = change(before);
      if (after === before) return;
      const guard = isGuarded ? await this.#guard.expectations(prefix) : [];
      try {
        await store.commit({
          expect: [{ key, revision: entry?.revision }, ...guard],
          ...(after === undefined ? { remove: [key] } : { put: [{ key, value: encodeLease(after) }] }),
        });
        return;
      } catch (error) {
        if (codeOf(error) !== 'stale_revision' || tries === MAX_TRIES) throw error;
        if (isGuarded) await this.#guard.look(prefix);
        entry = await store.get(key);
      }
    }
  }

  /** Made once for a subnet, and anew when it is to be up to date. */
  #view(prefix: Prefix, isFresh: boolean): Promise<Subnet> {
    const known = isFresh ? undefined : this.#views.get(prefix);
    if (known !== undefined) return known;
    const view = this.#read(prefix);
    this.#views.set(prefix, view);
    view.catch(() => {
      if (this.#views.get(prefix) === view) this.#views.delete(prefix);
    });
    return view;
  }

  async #read(prefix: Prefix): Promise<Subnet> {
    const subnet = new Subnet(prefix);
    const { entries } = await this.#store().list(leasesOf(prefix));
    for (const { address, holders } of leasesIn(entries, this.#log)) {
      const owner = holders.find(({ node }) => node === this.#node)?.owner ?? ELSEWHERE;
      try {
        subnet.lease({ owner, purpose: 'plain', isSerial: false, address });
      } catch (error) {
        this.#log.warn({ address, error: messageOf(error) }, 'the cluster has a record of an address that no host can have');
      }
    }
    return subnet;
  }
}

const servedName = (prefix: Prefix, address: Address | ''): string => `${prefix} ${address}`;

/** Whose an address becomes, and whether it may be held back. */
interface Claiming {
  readonly node: string;
  readonly isGuarded: boolean;
}
