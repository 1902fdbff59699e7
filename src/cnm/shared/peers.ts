/**
 * Endpoints that other hosts have in one network: followed in the cluster as long as this host has one there too, and told to the
 * network's driver and to the keeper, many changes at once. While the cluster is away, what was told last stays.
 */

import { CnmError, type EndpointId, codeOf, messageOf, prefixAddress } from '../../base/index.ts';
import { type Cluster, follow, type Followed } from '../../cluster/index.ts';
import type { Peer } from '../../driver/index.ts';
import type { PeerNames } from '../../keeper/index.ts';
import { type Cnm, contextOf, driverNetwork, driverOf, servesNames } from '../context.ts';
import { memberById } from '../lodgers.ts';
import type { NetworkRecord } from '../records.ts';
import { type SharedEndpoints, isTold } from './endpoints.ts';
import { unreachableHosts } from './reach.ts';
import { type SharedEndpoint, decodeEndpoint, endpointsOf, partsOfEndpointKey } from './records.ts';

/** Pause after a failure to tell driver or keeper, milliseconds. */
const RETRY_MS = 1000;

/** How long endpoints are kept that the cluster has lost with its data, milliseconds: their hosts tell them again meanwhile. */
const KEEP_MS = 10_000;

/** What the keeper calls the endpoints of a host in a network. */
export const peersId = (network: string, node: string): string => `${network}-${node}`;

export class NetworkPeers {
  readonly #cnm: Cnm;
  readonly #cluster: Cluster;
  readonly #own: SharedEndpoints;
  readonly #net: NetworkRecord;
  /** By host, then by endpoint. */
  readonly #known = new Map<string, Map<EndpointId, SharedEndpoint>>();
  /** Hosts of which something has changed since the keeper was told. */
  readonly #changed = new Set<string>();
  /** Endpoints that have changed since the driver was told, with their hosts; undefined: it is to be told all. */
  #updates: Map<EndpointId, string> | undefined;
  readonly #closing = new AbortController();
  #isComplete = false;
  #revision = 0;
  /** The keeper's list of the network may hold hosts of an earlier life of this daemon. */
  #isSwept = false;
  #telling: Promise<void> | undefined;
  #isDue = false;
  #retry: NodeJS.Timeout | undefined;
  #resync: NodeJS.Timeout | undefined;
  /** Why the last telling of this host's own endpoints failed. */
  #untold: string | undefined;
  /** Why some peers cannot be reached. */
  #trouble: string | undefined;
  #first: { resolve: () => void; reject: (error: unknown) => void } | undefined;
  #ready: Promise<void>;

  /** Follows at once, until close(). */
  constructor(cnm: Cnm, cluster: Cluster, own: SharedEndpoints, net: NetworkRecord) {
    this.#cnm = cnm;
    this.#cluster = cluster;
    this.#own = own;
    this.#net = net;
    this.#ready = this.#expect();
    void this.#follow();
  }

  /** Resolves when driver and keeper know all peers. Rejects with what the telling throws that is waited for. */
  get ready(): Promise<void> {
    return this.#ready;
  }

  #expect(): Promise<void> {
    const ready = new Promise<void>((resolve, reject) => (this.#first = { resolve, reject }));
    ready.catch(() => {});
    return ready;
  }

  /** Endpoints that other hosts have there, as last told; undefined before anything was told. */
  get endpoints(): readonly SharedEndpoint[] | undefined {
    return this.#isComplete ? [...this.#known.values()].flatMap((all) => [...all.values()]) : undefined;
  }

  /** Why some cannot be reached from here. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Of them those that are in a sandbox, on hosts that give a sign of life. */
  get present(): readonly SharedEndpoint[] {
    return [...this.#known.keys()].flatMap((node) => this.#alive(node));
  }

  /** These hosts are away since, or not away any more: what others have stays as it was told. */
  nodesChanged(nodes: ReadonlySet<string>): void {
    const affected = [...nodes].flatMap((node) => [...(this.#known.get(node)?.keys() ?? [])].map((id) => [node, id] as const));
    for (const [node, id] of affected) this.#touch(node, id);
    if (affected.length > 0 && this.#isComplete) this.#tell();
  }

  /** No peer is told any more; with `isLast` those that were are withdrawn. */
  async close(isLast: boolean): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#retry);
    clearTimeout(this.#resync);
    this.#first?.reject(new CnmError('no_endpoint', `nobody of this host is in network ${this.#net.name} any more`));
    await this.#telling;
    if (!isLast) return;
    const { keeper, env } = this.#cnm;
    const works = [...this.#known.keys()].map((node) => keeper.peers(peersId(this.#net.id, node), null));
    works.push(this.#setPeers([]));
    for (const result of await Promise.allSettled(works))
      if (result.status === 'rejected') env.log.warn({ network: this.#net.id, err: result.reason }, 'peers are not withdrawn');
  }

  async #follow(): Promise<void> {
    const store = await this.#cluster.arrived;
    if (store === undefined) return;
    try {
      const refused = (error: Error): void =>
        this.#cnm.env.log.error({ network: this.#net.id, error: messageOf(error) }, 'peers of a network are not told');
      for await (const news of follow(store, endpointsOf(this.#net.id), this.#closing.signal, refused)) {
        this.#learn(news);
        this.#tell();
      }
    } catch (error) {
      this.#cnm.env.log.error({ network: this.#net.id, error: messageOf(error) }, 'peers of a network are not followed any more');
    }
  }

  #learn(news: Followed): void {
    const isOwn = (key: string): boolean => partsOfEndpointKey(this.#net.id, key).node === this.#cluster.self;
    const revision = news.kind === 'all' ? news.revision : news.change.revision;
    const isOlder = revision < this.#revision;
    this.#revision = revision;
    if (news.kind === 'all') {
      const before = [...this.#known.values()].flatMap((all) => [...all.values()]);
      for (const node of this.#known.keys()) this.#changed.add(node);
      this.#known.clear();
      for (const entry of news.entries) if (!isOwn(entry.key)) this.#take(entry);
      if (isOlder) this.#keepForNow(before);
      this.#isComplete = true;
      this.#updates = undefined;
      // Whoever was away for long may have been forgotten.
      return this.#syncOwn();
    }
    let isForgotten = false;
    for (const key of news.change.removed) {
      const { node, id } = partsOfEndpointKey(this.#net.id, key);
      if (isOwn(key)) isForgotten ||= isTold(memberById(this.#cnm, id));
      else if (this.#known.get(node)?.delete(id) === true) this.#touch(node, id);
    }
    if (isForgotten) this.#syncOwn();
    for (const entry of news.change.put) if (!isOwn(entry.key)) this.#take(entry);
  }

  /** The cluster's data were lost in part: who is missing will most likely be told again, and until then keeps what nobody else has. */
  #keepForNow(before: readonly SharedEndpoint[]): void {
    const present = [...this.#known.values()].flatMap((all) => [...all.values()]);
    const taken = new Set(present.flatMap(({ id, mac, v4, v6 }) => [id, mac, v4, v6]));
    const kept = before.filter(({ id, mac, v4, v6 }) => ![id, mac, v4, v6].some((one) => one !== undefined && taken.has(one)));
    for (const endpoint of kept) {
      const all = this.#known.get(endpoint.node) ?? new Map<EndpointId, SharedEndpoint>();
      this.#known.set(endpoint.node, all.set(endpoint.id, endpoint));
    }
    setTimeout(() => {
      for (const endpoint of kept) {
        // One that was told again is another object.
        if (this.#known.get(endpoint.node)?.get(endpoint.id) !== endpoint) continue;
        this.#known.get(endpoint.node)?.delete(endpoint.id);
        this.#touch(endpoint.node, endpoint.id);
      }
      this.#tell();
    }, KEEP_MS).unref();
  }

  #take(entry: Parameters<typeof decodeEndpoint>[1]): void {
    const { node, id } = partsOfEndpointKey(this.#net.id, entry.key);
    const all = this.#known.get(node) ?? new Map<EndpointId, SharedEndpoint>();
    try {
      all.set(id, decodeEndpoint(this.#net.id, entry));
      this.#known.set(node, all);
      this.#touch(node, id);
    } catch (error) {
      // One that a newer version wrote must not hide the others.
      if (all.delete(id)) this.#touch(node, id);
      this.#cnm.env.log.error({ error: messageOf(error) }, 'a record of the cluster is passed over');
    }
  }

  /** Driver and keeper are to be told of it. */
  #touch(node: string, id: EndpointId): void {
    this.#changed.add(node);
    this.#updates?.set(id, node);
  }

  #syncOwn(): void {
    if (this.#closing.signal.aborted) return;
    this.#own.sync(this.#net.id).then(
      () => (this.#untold = undefined),
      (error: unknown) => {
        const problem = messageOf(error);
        if (codeOf(error) !== 'store_unreachable' && problem !== this.#untold)
          this.#cnm.env.log.error({ network: this.#net.id, err: error }, 'endpoints are not told to the cluster');
        this.#untold = problem;
        clearTimeout(this.#resync);
        this.#resync = setTimeout(() => this.#syncOwn(), RETRY_MS).unref();
      },
    );
  }

  /** One telling at a time; what changes meanwhile is in the next one. */
  #tell(): void {
    this.#isDue = true;
    this.#telling ??= this.#tellAll().finally(() => {
      this.#telling = undefined;
      // What came between the last look and this.
      if (this.#isDue && !this.#closing.signal.aborted) this.#tell();
    });
  }

  async #tellAll(): Promise<void> {
    while (this.#isDue && !this.#closing.signal.aborted) {
      this.#isDue = false;
      const nodes = [...this.#changed];
      this.#changed.clear();
      const updates = this.#updates;
      this.#updates = new Map();
      try {
        // First the way, then the name: who has the name may use it at once.
        await (updates === undefined ? this.#setPeers(this.#reachable()) : this.#changePeers(updates));
        await this.#tellKeeper(nodes);
        this.#judge(nodes.length > 0);
        if (nodes.length > 0) this.#cnm.services?.peersChanged(this.#net.id);
        this.#first?.resolve();
        this.#first = undefined;
      } catch (error) {
        const failed = this.#first;
        // Whoever comes after this waits for the next try.
        if (failed !== undefined) this.#ready = this.#expect();
        failed?.reject(error);
        this.#cnm.env.log.error({ network: this.#net.id, err: error }, 'peers of a network could not be told');
        for (const node of nodes) this.#changed.add(node);
        this.#updates = undefined;
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => this.#tell(), RETRY_MS).unref();
      }
    }
  }

  #judge(isChanged: boolean): void {
    if (!isChanged) return;
    const { address } = this.#cluster;
    const trouble = unreachableHosts(this.present, address, (node) => this.#cluster.nameOf(node));
    if (trouble !== undefined && trouble !== this.#trouble)
      this.#cnm.env.log.error({ network: this.#net.id, problem: trouble }, 'peers of a network cannot be reached');
    this.#trouble = trouble;
  }

  #alive(node: string): readonly SharedEndpoint[] {
    if (this.#cluster.isAway(node)) return [];
    return [...(this.#known.get(node)?.values() ?? [])].filter(({ isJoined }) => isJoined);
  }

  #reachable(): Peer[] {
    return this.present.flatMap((endpoint) => peerOf(endpoint) ?? []);
  }

  async #changePeers(updates: ReadonlyMap<EndpointId, string>): Promise<void> {
    const put: Peer[] = [];
    const remove: EndpointId[] = [];
    for (const [id, node] of updates) {
      const endpoint = this.#cluster.isAway(node) ? undefined : this.#known.get(node)?.get(id);
      const peer = endpoint?.isJoined === true ? peerOf(endpoint) : undefined;
      if (peer === undefined) remove.push(id);
      else put.push(peer);
    }
    await driverOf(this.#cnm, this.#net).cluster?.changePeers(contextOf(), driverNetwork(this.#net), { put, remove });
  }

  async #setPeers(peers: readonly Peer[]): Promise<void> {
    await driverOf(this.#cnm, this.#net).cluster?.setPeers(contextOf(), driverNetwork(this.#net), peers, true);
  }

  async #tellKeeper(nodes: readonly string[]): Promise<void> {
    if (!servesNames(this.#net)) return;
    const { keeper } = this.#cnm;
    const wishes = new Map(nodes.map((node) => [peersId(this.#net.id, node), this.#namesOf(node)]));
    if (!this.#isSwept) {
      const { peers } = await keeper.inventory();
      for (const id of peers) if (id.startsWith(peersId(this.#net.id, '')) && !wishes.has(id)) wishes.set(id, null);
    }
    await Promise.all([...wishes].map(([id, names]) => keeper.peers(id, names)));
    this.#isSwept = true;
    for (const [node, all] of this.#known) if (all.size === 0) this.#known.delete(node);
  }

  #namesOf(node: string): PeerNames | null {
    const { id: network, name: networkName } = this.#net;
    const endpoints = this.#alive(node).map(({ id, dnsNames, v4, v6 }) => ({
      id,
      names: dnsNames,
      addresses: [v4, v6].filter((prefix) => prefix !== undefined).map(prefixAddress),
    }));
    return endpoints.length === 0 ? null : { network, networkName, endpoints };
  }
}

/** Undefined: there is no way to it. */
const peerOf = ({ id, mac, v4, v6, vtep }: SharedEndpoint): Peer | undefined =>
  mac === undefined || vtep === undefined ? undefined : { endpoint: id, mac, vtep, ...(v4 && { v4 }), ...(v6 && { v6 }) };
