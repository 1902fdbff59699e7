/** Networks of the cluster as records of this host, which stay while the cluster is away; and what is done where the two differ. */

import { CnmError, type NetworkId, codeOf, messageOf, shown } from '../../base/index.ts';
import { type Cluster, follow, type Followed } from '../../cluster/index.ts';
import { type Cnm, contextOf, driverNetwork, driverOf } from '../context.ts';
import { deleteEndpoint, detach } from '../endpoints.ts';
import { leaveWithGateway } from '../gateway-bridge.ts';
import { unmakeNetwork } from '../networks.ts';
import type { Revision } from '../../store/index.ts';
import type { NetworkRecord } from '../records.ts';
import { replayAddresses, replayPools } from '../steps/addresses.ts';
import type { SharedEndpoints } from './endpoints.ts';
import { NETWORKS, decodeNetwork } from './records.ts';
import type { Registry } from './registry.ts';

/** Pause after a failure to bring one network in line, milliseconds. */
const RETRY_MS = 2000;

export class Mirror {
  readonly #cnm: Cnm;
  readonly #cluster: Cluster;
  readonly #registry: Registry;
  readonly #own: SharedEndpoints;
  readonly #closing = new AbortController();
  /** What the cluster says of each network that was heard of; undefined: it has none. */
  readonly #told = new Map<NetworkId, { readonly net: NetworkRecord; readonly revision: Revision } | undefined>();
  /** Networks to be brought in line again, and whether what they have is to be told again too. */
  readonly #retries = new Map<NetworkId, { readonly timer: NodeJS.Timeout; readonly isAll: boolean }>();
  readonly #waiting: { readonly revision: number; readonly resolve: () => void }[] = [];
  #revision = 0;
  #begin: () => void = () => {};
  /** Resolves when all networks of the cluster are known here. */
  readonly ready = new Promise<void>((resolve) => (this.#begin = resolve));
  /** Why a network is not as the cluster wants it, or cannot be told to it. */
  readonly troubles = new Map<NetworkId, string>();

  constructor(cnm: Cnm, cluster: Cluster, registry: Registry, own: SharedEndpoints) {
    this.#cnm = cnm;
    this.#cluster = cluster;
    this.#registry = registry;
    this.#own = own;
  }

  start(): void {
    void this.#follow();
  }

  stop(): void {
    this.#closing.abort();
    for (const { timer } of this.#retries.values()) clearTimeout(timer);
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  /** Resolves when this host is as far as the cluster's `revision`. */
  async seen(revision: number): Promise<void> {
    if (this.#revision >= revision || this.#closing.signal.aborted) return;
    await new Promise<void>((resolve) => this.#waiting.push({ revision, resolve }));
  }

  async #follow(): Promise<void> {
    const store = await this.#cluster.arrived;
    if (store === undefined) return;
    try {
      const refused = (error: Error): void =>
        this.#cnm.env.log.error({ error: messageOf(error) }, 'networks of the cluster are not told');
      for await (const news of follow(store, NETWORKS, this.#closing.signal, refused)) await this.#take(news);
    } catch (error) {
      this.#cnm.env.log.error({ error: messageOf(error) }, 'networks of the cluster are not followed any more');
    }
  }

  async #take(news: Followed): Promise<void> {
    const ids = new Set<NetworkId>();
    const revision = news.kind === 'all' ? news.revision : news.change.revision;
    const isOlder = revision < this.#revision;
    if (news.kind === 'all') {
      this.#told.clear();
      for (const net of this.#cnm.state.allNetworks()) if (net.shared === true) ids.add(net.id);
    }
    const { put, removed } = news.kind === 'all' ? { put: news.entries, removed: [] } : news.change;
    for (const key of removed) {
      const id = key.slice(NETWORKS.length) as NetworkId;
      this.#told.set(id, undefined);
      this.#registry.learn(id, undefined);
      ids.add(id);
    }
    for (const entry of put) {
      try {
        const net = decodeNetwork(entry);
        this.#refuseAlien(net);
        this.#told.set(net.id, { net, revision: entry.revision });
        this.#registry.learn(net.id, entry.revision);
        ids.add(net.id);
      } catch (error) {
        // One that a newer version wrote must not hide the others; what this host knows of it stays.
        ids.delete(entry.key.slice(NETWORKS.length) as NetworkId);
        this.#cnm.env.log.error({ error: messageOf(error) }, 'a network of the cluster is passed over');
      }
    }
    // Revisions from before say nothing of these.
    if (isOlder) this.#registry.passed(Number.MAX_SAFE_INTEGER);
    // A copy from before has not the addresses that were given since.
    if (isOlder) for (const told of this.#told.values()) if (told !== undefined) await this.#heldBack(told.net);
    // One that takes long, as a removal of what is in use here, holds up nobody but those who use its name.
    const works = new Map([...ids].map((id) => [id, this.#settle(id, news.kind === 'all')]));
    await Promise.all([...works].flatMap(([id, work]) => (this.#told.has(id) && this.#told.get(id) === undefined ? [] : work)));
    this.#registry.passed(revision);
    this.#arriveAt(revision);
    this.#begin();
  }

  /** What no version tells: a driver that knows of no other hosts would make it from options that nobody here has checked. Throws store_corrupt. */
  #refuseAlien(net: NetworkRecord): void {
    if (this.#cnm.drivers.find(net.driver)?.cluster !== undefined) return;
    const what = `network ${net.name} of the cluster has driver ${shown(net.driver)}`;
    throw new CnmError('store_corrupt', `${what}, which has no networks of several hosts here`);
  }

  async #heldBack(net: NetworkRecord): Promise<void> {
    try {
      await this.#holdBack(net);
    } catch (error) {
      this.#cnm.env.log.warn({ network: net.id, error: messageOf(error) }, 'addresses of a network are not held back');
    }
  }

  #arriveAt(revision: number): void {
    this.#revision = revision;
    const due = this.#waiting.filter((one) => one.revision <= revision);
    for (const one of due) this.#waiting.splice(this.#waiting.indexOf(one), 1);
    for (const { resolve } of due) resolve();
  }

  /** Never throws: what fails is logged, shown, and tried again. */
  async #settle(id: NetworkId, isAll: boolean): Promise<void> {
    if (this.#closing.signal.aborted || this.#cnm.closing) return;
    clearTimeout(this.#retries.get(id)?.timer);
    this.#retries.delete(id);
    try {
      await this.#settleNow(id, isAll);
      this.troubles.delete(id);
      // Neither there nor here: nothing is left to know.
      if (this.#told.get(id) === undefined && this.#cnm.state.networkById(id) === undefined) this.#told.delete(id);
    } catch (error) {
      const problem = messageOf(error);
      if (this.troubles.get(id) !== problem)
        this.#cnm.env.log.error({ network: id, error: problem }, 'a network is not as the cluster wants it');
      if (this.#cnm.state.networkById(id) !== undefined) this.troubles.set(id, problem);
      this.#tryAgain(id, isAll);
    }
  }

  /** Once for a network, however often it has failed meanwhile. */
  #tryAgain(id: NetworkId, isAll: boolean): void {
    if (this.#closing.signal.aborted) return;
    const other = this.#retries.get(id);
    clearTimeout(other?.timer);
    const isAllNow = isAll || other?.isAll === true;
    const timer = setTimeout(() => void this.#settle(id, isAllNow), RETRY_MS).unref();
    this.#retries.set(id, { timer, isAll: isAllNow });
  }

  async #settleNow(id: NetworkId, isAll: boolean): Promise<void> {
    const { state, locks } = this.#cnm;
    const name = this.#told.get(id)?.net.name ?? state.networkById(id)?.name;
    if (name === undefined) return;
    const isGone = await locks.run(`name:network:${name}`, async () => {
      const told = this.#told.get(id);
      if (told !== undefined && this.#registry.isOld(id, told.revision)) return false;
      if (told === undefined) return await this.#lacks(id);
      await this.#adopt(told.net, isAll);
      return false;
    });
    if (isGone) await this.#leave(id);
  }

  /** The cluster has the network. */
  async #adopt(told: NetworkRecord, isAll: boolean): Promise<void> {
    const { state } = this.#cnm;
    const known = state.networkById(told.id);
    // One whose making was cut short after it was told; one whose removal failed is removed now.
    if (known === undefined || known.phase === 'creating') await state.commit({ networks: [told], durable: true });
    else if (known.phase === 'deleting') await this.#cnm.locks.run(`network:${told.id}`, () => unmakeNetwork(this.#cnm, told.id));
    else if (isAll) await this.#claimAgain(known);
  }

  /** What the cluster says of this host's addresses and endpoints may be older than they are. */
  async #claimAgain(net: NetworkRecord): Promise<void> {
    // While the cluster is away, each try would owe it the same once more.
    await this.#registry.isThere(net.id);
    for (const ep of this.#cnm.state.endpointsOfNetwork(net.id)) await replayAddresses(this.#cnm, net, ep);
    // One whose address is somebody else's by now must not keep all others from being told.
    let taken: unknown;
    for (const { id } of this.#cnm.lodgers?.endpointsOf(net.id) ?? []) {
      try {
        await this.#cnm.lodgers?.claim(net.id, id);
      } catch (error) {
        if (codeOf(error) !== 'address_in_use') throw error;
        taken ??= error;
      }
    }
    await this.#own.sync(net.id);
    if (taken !== undefined) throw taken;
  }

  /** The cluster lacks the network. Answers whether somebody has removed it. The caller holds the lock of its name. */
  async #lacks(id: NetworkId): Promise<boolean> {
    const known = this.#cnm.state.networkById(id);
    if (known === undefined) return false;
    if (known.phase !== 'ready') return true;
    if (await this.#registry.isThere(id)) {
      // Made here, or told again elsewhere, while the list was on its way.
      await this.#claimAgain(known);
      return false;
    }
    return (await this.#registry.isGone(id)) || (await this.#tellAgain(known));
  }

  /** The cluster has lost the network, with its data or a part of them. Answers whether somebody has removed it meanwhile. */
  async #tellAgain(net: NetworkRecord): Promise<boolean> {
    const cnm = this.#cnm;
    await this.#registry.claim(net);
    await this.#holdBack(net);
    await replayPools(cnm, net);
    await driverOf(cnm, net).createNetwork(contextOf(), driverNetwork(net));
    try {
      await this.#registry.publish(net);
    } catch (error) {
      // Another host was quicker to say the same.
      if (codeOf(error) !== 'stale_revision') throw error;
      if (await this.#registry.isGone(net.id)) return true;
    }
    cnm.env.log.warn({ network: net.id, name: net.name }, 'the cluster had lost a network: it is told again');
    await this.#claimAgain(net);
    return false;
  }

  /** Until all hosts have said again which addresses they have. */
  async #holdBack({ ipam, pools }: NetworkRecord): Promise<void> {
    for (const { pool } of pools) await this.#cnm.ipams.find(ipam.driver)?.holdBack?.(pool);
  }

  /** Somebody has removed the network: whoever is in it here is taken out of it, as on a host that was away meanwhile. */
  async #leave(id: NetworkId): Promise<void> {
    const { state, locks, env } = this.#cnm;
    for (const ep of state.endpointsOfNetwork(id)) {
      env.log.warn({ network: id, endpoint: ep.name }, 'a network was removed from the cluster: an endpoint of it is removed');
      const { sandbox } = ep;
      if (sandbox === undefined) await deleteEndpoint(this.#cnm, ep.id);
      else {
        await locks.run(`sandbox:${sandbox}`, () =>
          leaveWithGateway(this.#cnm, sandbox, ep, () => detach(this.#cnm, ep.id), true),
        );
        if (state.endpointById(ep.id) !== undefined) await deleteEndpoint(this.#cnm, ep.id);
      }
    }
    await this.#cnm.lodgers?.evict(id);
    await this.#cnm.services?.forgetNetwork(id);
    const name = state.networkById(id)?.name;
    if (name === undefined) return;
    await locks.runAll([`name:network:${name}`, `network:${id}`], async () => {
      if (state.networkById(id) !== undefined) await unmakeNetwork(this.#cnm, id);
    });
  }
}
