/** This host's part in the networks that hosts share: what use cases ask of it, and what goes on by itself. */

import { CnmError, type EndpointId, type NetworkId, codeOf, within } from '../../base/index.ts';
import type { Cluster } from '../../cluster/index.ts';
import { type Cnm, contextOf, driverNetwork, driverOf } from '../context.ts';
import { memberById, membersOf } from '../lodgers.ts';
import type { EndpointRecord, NetworkRecord } from '../records.ts';
import type { SharedNetworks } from './contract.ts';
import { SharedEndpoints } from './endpoints.ts';
import { Mirror } from './mirror.ts';
import { NetworkPeers, peersId } from './peers.ts';
import { decodeClaim, nameKey, networkKey, type SharedEndpoint } from './records.ts';
import { Registry } from './registry.ts';
import { Secrets, isSecure } from './secrets.ts';

/** Longest wait for the cluster, milliseconds: for the first list of a network's peers, or of the networks. */
const PATIENCE_MS = 2000;

/** Networks whose entries in the kernel are compared with what is wished in one round; of more, each has its turn. */
const AUDITS_A_ROUND = 20;
/** Looks of the mender between two rounds: each reads all entries of a network. */
const LOOKS_A_ROUND = 3;

export class Shared implements SharedNetworks {
  readonly #cnm: Cnm;
  readonly #cluster: Cluster;
  readonly networks: Registry;
  readonly endpoints: SharedEndpoints;
  readonly #secrets: Secrets;
  readonly #mirror: Mirror;
  readonly #peers = new Map<NetworkId, NetworkPeers>();
  /** Endpoints here that have entered a network and not left it. Records do not tell: of two that leave at once, each is there for the other. */
  readonly #users = new Map<NetworkId, Set<EndpointId>>();
  /** Networks whose peers are being withdrawn. */
  readonly #leaving = new Map<NetworkId, Promise<void>>();
  #nextAudit = 0;
  #looks = 0;

  constructor(cnm: Cnm, cluster: Cluster) {
    this.#cnm = cnm;
    this.#cluster = cluster;
    this.networks = new Registry(cluster, cnm.env);
    this.endpoints = new SharedEndpoints(cnm, cluster, this.networks);
    this.#secrets = new Secrets(cnm, cluster);
    this.#mirror = new Mirror(cnm, cluster, this.networks, this.endpoints);
    cluster.onNodes = (nodes) => {
      this.#peers.forEach((peers) => peers.nodesChanged(nodes));
      this.#secrets.hostsChanged();
    };
    cluster.onForget = (node) => this.#forget(node);
  }

  troubleOf(id: NetworkId): string | undefined {
    return this.#mirror.troubles.get(id) ?? this.#peers.get(id)?.trouble;
  }

  async start(): Promise<void> {
    const { state } = this.#cnm;
    for (const net of state.networks()) {
      const users = net.shared === true ? this.#usersIn(net.id) : [];
      if (users.length === 0) continue;
      this.#users.set(net.id, new Set(users));
      this.#open(net);
    }
    this.#mirror.start();
    this.#secrets.start();
    // One that did not answer by now has been waited for.
    if (this.#cluster.isJoined) await within(PATIENCE_MS, this.#mirror.ready);
  }

  async stop(): Promise<void> {
    const { state } = this.#cnm;
    // Its sandboxes live on without the daemon.
    this.#cluster.lingers = state.networks().some((net) => net.shared === true && this.#hasUsers(net.id));
    this.#cluster.onNodes = undefined;
    this.#mirror.stop();
    this.#secrets.stop();
    await Promise.all([...this.#peers.values()].map((peers) => peers.close(false)));
    this.#peers.clear();
    this.networks.stop();
    this.endpoints.stop();
  }

  #usersIn(id: NetworkId): EndpointId[] {
    const isUser = ({ phase }: EndpointRecord): boolean => phase === 'joined' || phase === 'joining';
    return membersOf(this.#cnm, id)
      .filter(isUser)
      .map((ep) => ep.id);
  }

  #hasUsers(id: NetworkId): boolean {
    return this.#usersIn(id).length > 0;
  }

  async enter(net: NetworkRecord, { id }: Pick<EndpointRecord, 'id'>): Promise<void> {
    this.#users.set(net.id, (this.#users.get(net.id) ?? new Set()).add(id));
    if (isSecure(net)) await this.#secrets.ready();
    if (
      (await within(
        PATIENCE_MS,
        this.#followed(net).then(() => true),
      )) === true
    )
      return;
    throw new CnmError('store_unreachable', `the cluster does not tell who is in network ${net.name}: try again when it answers`);
  }

  async #followed(net: NetworkRecord): Promise<void> {
    // A withdrawal that is not through would take what is told now.
    await this.#leaving.get(net.id);
    if (this.#users.has(net.id)) await (this.#peers.get(net.id) ?? this.#open(net)).ready;
  }

  async exit(net: Pick<NetworkRecord, 'id'>, leaving: Pick<EndpointRecord, 'id'>): Promise<void> {
    const users = this.#users.get(net.id) ?? new Set();
    // One whose sandbox is gone may have been removed without a leave.
    for (const id of users) if (id === leaving.id || memberById(this.#cnm, id) === undefined) users.delete(id);
    if (users.size > 0) return;
    this.#users.delete(net.id);
    const peers = this.#peers.get(net.id);
    if (peers === undefined) return;
    this.#peers.delete(net.id);
    const closed = peers.close(true).finally(() => this.#leaving.delete(net.id));
    this.#leaving.set(net.id, closed);
    await closed;
  }

  #open(net: NetworkRecord): NetworkPeers {
    const peers = new NetworkPeers(this.#cnm, this.#cluster, this.endpoints, net);
    this.#peers.set(net.id, peers);
    return peers;
  }

  keeps(id: string): boolean {
    return this.#cnm.state.networks().some((net) => id.startsWith(peersId(net.id, '')) && this.#hasUsers(net.id));
  }

  async catchUp(term: string): Promise<void> {
    try {
      this.#cnm.state.network(term);
    } catch (error) {
      if (codeOf(error) !== 'no_network') throw error;
      try {
        await within(PATIENCE_MS, this.#mirror.seen(await this.#revisionOf(term)));
      } catch (failure) {
        // Then it is as unknown as it was.
        if (codeOf(failure) !== 'store_unreachable' && codeOf(failure) !== 'store_corrupt') throw failure;
      }
    }
  }

  async #revisionOf(term: string): Promise<number> {
    const { store } = this.#cluster;
    const claimed = await store.get(nameKey(term));
    // The name is taken before the network is told.
    const found = await store.get(networkKey(claimed === undefined ? (term as NetworkId) : decodeClaim(claimed).network));
    return found?.revision ?? 0;
  }

  async endpointsOf(id: NetworkId): Promise<readonly SharedEndpoint[]> {
    try {
      return await this.networks.endpoints(id);
    } catch (error) {
      const followed = this.#peers.get(id)?.endpoints;
      if (codeOf(error) !== 'store_unreachable' || followed === undefined) throw error;
      const own = membersOf(this.#cnm, id).filter(({ phase }) => phase === 'joined' || phase === 'ready');
      return [...own.map((ep) => this.endpoints.shown(ep)), ...followed];
    }
  }

  async rotateKeys(): Promise<{ readonly keys: number }> {
    return { keys: (await this.#secrets.rotate()).keys.length };
  }

  peersOf(id: NetworkId): readonly SharedEndpoint[] {
    return this.#peers.get(id)?.present ?? [];
  }

  async audit(): Promise<void> {
    if (++this.#looks % LOOKS_A_ROUND !== 0) return;
    const ids = [...this.#peers.keys()];
    const first = this.#nextAudit < ids.length ? this.#nextAudit : 0;
    this.#nextAudit = first + AUDITS_A_ROUND;
    for (const id of ids.slice(first, first + AUDITS_A_ROUND)) {
      const net = this.#cnm.state.networkById(id);
      if (net === undefined || net.phase !== 'ready') continue;
      const audited = await driverOf(this.#cnm, net).cluster?.audit(contextOf(), driverNetwork(net));
      if (audited !== undefined && audited.restored + audited.removed > 0)
        this.#cnm.env.log.warn({ network: id, ...audited }, 'entries of peers were not as wished: they are mended');
    }
  }

  /** What a host had that does not come back is nobody's. */
  async #forget(node: string): Promise<void> {
    const unfinished = await this.networks.forgetHost(node);
    for (const ipam of this.#cnm.ipams.all()) {
      await ipam.forgetHost?.(node);
      for (const id of unfinished) await ipam.releaseAll?.(id);
    }
  }
}
