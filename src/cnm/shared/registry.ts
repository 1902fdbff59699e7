/** Networks in the cluster's own records: the name first, then the network; and both away again, when nobody uses it. */

import { CnmError, type Env, type NetworkId, codeOf } from '../../base/index.ts';
import type { Cluster } from '../../cluster/index.ts';
import { Debts, type Entry, type Revision } from '../../store/index.ts';
import type { NetworkRecord } from '../records.ts';
import { servicesOf } from '../services/records.ts';
import type { ClusterNetworks } from './contract.ts';
import {
  ENDPOINTS,
  GONE,
  NAMES,
  decodeClaim,
  decodeEndpoint,
  decodeGone,
  encodeClaim,
  encodeGone,
  encodeNetwork,
  endpointsOf,
  goneKey,
  nameKey,
  networkKey,
  nodeOfEndpointKey,
  partsOfEndpointKey,
  type NameClaim,
  type SharedEndpoint,
} from './records.ts';

/** Tries of one change that others get ahead of. */
const MAX_TRIES = 16;
/** How long it is known that a network was removed: longer than a host may be away and come back, milliseconds. */
const REMEMBERED_MS = 30 * 24 * 3600 * 1000;
/** How often a host looks for those that are older, milliseconds. */
const FORGET_EVERY_MS = 3600 * 1000;
/** Records that one commit may remove: a part of what etcd takes by itself. */
const AT_ONCE = 100;

export class Registry implements ClusterNetworks {
  readonly #cluster: Cluster;
  readonly #now: () => number;
  /** Revisions of the records of networks: an endpoint is written only while its network is there. */
  readonly #revisions = new Map<NetworkId, Revision>();

  /** When this host removed a network: what is told of it from before is old. */
  readonly #removed = new Map<NetworkId, Revision>();
  #nextForget = 0;

  readonly #debts: Debts;

  constructor(cluster: Cluster, { now, log }: Env) {
    this.#cluster = cluster;
    this.#now = now;
    this.#debts = new Debts(log);
  }

  /** The network has this revision now; undefined: it is not there. */
  learn(id: NetworkId, revision: Revision | undefined): void {
    if (revision === undefined) this.#revisions.delete(id);
    else this.#revisions.set(id, revision);
  }

  /** Whether what was told at this revision is from before this host removed the network. */
  isOld(id: NetworkId, revision: Revision): boolean {
    return revision <= (this.#removed.get(id) ?? -1);
  }

  /** All networks of the cluster at this revision have been told. */
  passed(revision: Revision): void {
    for (const [id, at] of this.#removed) if (at <= revision) this.#removed.delete(id);
  }

  /** Throws no_network, store_unreachable. `isFresh`: asks also where one is known. */
  async revisionOf(net: NetworkRecord, isFresh: boolean): Promise<Revision> {
    const known = isFresh ? undefined : this.#revisions.get(net.id);
    const revision = known ?? (await this.#cluster.store.get(networkKey(net.id)))?.revision;
    this.learn(net.id, revision);
    if (revision === undefined) throw new CnmError('no_network', `network ${net.name} is not in the cluster any more`);
    return revision;
  }

  async isThere(id: NetworkId): Promise<boolean> {
    return (await this.#cluster.store.get(networkKey(id))) !== undefined;
  }

  /** Whether it was removed, by whomever. */
  async isGone(id: NetworkId): Promise<boolean> {
    return (await this.#cluster.store.get(goneKey(id))) !== undefined;
  }

  async claim({ id, name }: Pick<NetworkRecord, 'id' | 'name'>): Promise<void> {
    const { store, self } = this.#cluster;
    let before: Entry | undefined;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      try {
        await store.commit({
          expect: [{ key: nameKey(name), revision: before?.revision }],
          put: [{ key: nameKey(name), value: encodeClaim({ network: id, node: self }) }],
        });
        return;
      } catch (error) {
        if (codeOf(error) !== 'stale_revision') throw error;
      }
      before = await store.get(nameKey(name));
      if (before === undefined) continue;
      const claim = decodeClaim(before);
      if (claim.network === id) return;
      if (await this.isThere(claim.network))
        throw new CnmError('name_taken', `network with name ${name} already exists in the cluster`);
      // Whoever was about to make it and died has left the name behind; so has this host, which makes one of a name at a time.
      if (claim.node !== self && !this.#cluster.isAway(claim.node))
        throw new CnmError(
          'name_taken',
          `network with name ${name} is being created on host ${this.#cluster.nameOf(claim.node)}`,
        );
    }
    throw new CnmError('too_busy', `others were quicker ${MAX_TRIES} times to take the name ${name}`);
  }

  async takeBack(net: NetworkRecord): Promise<void> {
    await this.#debts.pay(net.id, () => this.remove(net));
  }

  /** What is owed to the cluster is not done any more. */
  stop(): void {
    this.#debts.close();
  }

  /** What is owed for a claim: the name is free again, if it is this network's. */
  async unclaim({ id, name }: Pick<NetworkRecord, 'id' | 'name'>): Promise<void> {
    const { store } = this.#cluster;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const entry = await store.get(nameKey(name));
      if (entry === undefined || decodeClaim(entry).network !== id) return;
      try {
        await store.commit({ expect: [{ key: entry.key, revision: entry.revision }], remove: [entry.key] });
        return;
      } catch (error) {
        if (codeOf(error) !== 'stale_revision') throw error;
      }
    }
  }

  async publish(net: NetworkRecord): Promise<void> {
    const { store } = this.#cluster;
    const entry = await store.get(nameKey(net.name));
    if (entry === undefined || decodeClaim(entry).network !== net.id)
      throw new CnmError('name_taken', `network with name ${net.name} was made by another host meanwhile`);
    const revision = await store.commit({
      expect: [
        { key: entry.key, revision: entry.revision },
        { key: networkKey(net.id), revision: undefined },
        // One that is told again may be removed in that moment.
        { key: goneKey(net.id), revision: undefined },
      ],
      put: [{ key: networkKey(net.id), value: encodeNetwork(net) }],
    });
    this.learn(net.id, revision);
  }

  async remove(net: NetworkRecord): Promise<void> {
    const { store } = this.#cluster;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const entry = await store.get(networkKey(net.id));
      if (entry === undefined) {
        if (net.phase !== 'ready' || (await this.#buryLost(net))) return this.unclaim(net);
        continue;
      }
      const ghosts = await this.#unused(net);
      const expect = [{ key: entry.key, revision: entry.revision }];
      try {
        for (let from = 0; from < ghosts.length; from += AT_ONCE) {
          const part = ghosts.slice(from, from + AT_ONCE);
          const same = part.map(({ key, revision }) => ({ key, revision }));
          await store.commit({ expect: [...expect, ...same], remove: part.map(({ key }) => key) });
        }
        const revision = await store.commit({
          expect,
          expectNone: [endpointsOf(net.id), servicesOf(net.id)],
          put: [{ key: goneKey(net.id), value: encodeGone(this.#now()) }],
          remove: [entry.key, nameKey(net.name)],
        });
        this.learn(net.id, undefined);
        this.#removed.set(net.id, revision);
        return await this.#forgetOld();
      } catch (error) {
        if (codeOf(error) !== 'stale_revision') throw error;
      }
    }
    throw new CnmError('network_in_use', `network ${net.name} changes all the time`);
  }

  /** Records of endpoints that no living host has. Throws network_in_use when one has any. */
  async #unused(net: NetworkRecord): Promise<readonly Entry[]> {
    const { store, self } = this.#cluster;
    const { entries } = await store.list(endpointsOf(net.id));
    const hosts = new Map<string, number>();
    for (const { key } of entries) {
      const { node } = partsOfEndpointKey(net.id, key);
      // This host has none left, whatever is written of it.
      if (node !== self && !this.#cluster.isAway(node)) hosts.set(node, (hosts.get(node) ?? 0) + 1);
    }
    if (hosts.size === 0) return entries;
    const named = [...hosts].map(([node, count]) => `${this.#cluster.nameOf(node)} (${count})`).join(', ');
    throw new CnmError(
      'network_in_use',
      `error while removing network: network ${net.name} has active endpoints on other hosts: ${named}`,
    );
  }

  /** One that the cluster has lost is removed all the same: no other host is to tell it again. False: it was told again just now. */
  async #buryLost({ id }: NetworkRecord): Promise<boolean> {
    if (await this.isGone(id)) return true;
    try {
      await this.#cluster.store.commit({
        expect: [{ key: networkKey(id), revision: undefined }],
        put: [{ key: goneKey(id), value: encodeGone(this.#now()) }],
      });
      return true;
    } catch (error) {
      if (codeOf(error) !== 'stale_revision') throw error;
      return false;
    }
  }

  /** Now and then, since all of them are read. What fails is done another time: the network that was removed is. */
  async #forgetOld(): Promise<void> {
    const { store } = this.#cluster;
    if (this.#now() < this.#nextForget) return;
    this.#nextForget = this.#now() + FORGET_EVERY_MS;
    try {
      const { entries } = await store.list(GONE);
      const old = entries.filter((entry) => ageOf(entry, this.#now()) > REMEMBERED_MS).map(({ key }) => key);
      for (let from = 0; from < old.length; from += AT_ONCE) await store.commit({ remove: old.slice(from, from + AT_ONCE) });
    } catch (error) {
      if (codeOf(error) !== 'store_unreachable') throw error;
    }
  }

  /** Endpoints of a network on all hosts. Throws store_unreachable. */
  async endpoints(id: NetworkId): Promise<readonly SharedEndpoint[]> {
    const { entries } = await this.#cluster.store.list(endpointsOf(id));
    return entries.flatMap((entry) => {
      try {
        return decodeEndpoint(id, entry);
      } catch {
        return [];
      }
    });
  }

  /**
   * Removes what a host has written that does not come back: endpoints, and names of networks that it did not finish. Answers those
   * networks.
   */
  async forgetHost(node: string): Promise<readonly NetworkId[]> {
    const { store } = this.#cluster;
    // Also in networks that are not known here: nobody else would ever take them away.
    const keys = (await store.list(ENDPOINTS)).entries.map(({ key }) => key).filter((key) => nodeOfEndpointKey(key) === node);
    for (let from = 0; from < keys.length; from += AT_ONCE) await store.commit({ remove: keys.slice(from, from + AT_ONCE) });
    const unfinished: NetworkId[] = [];
    for (const entry of (await store.list(NAMES)).entries) {
      const claim = claimIn(entry);
      // One that a newer version wrote keeps no host from being forgotten.
      if (claim?.node !== node || (await this.isThere(claim.network))) continue;
      await store.commit({ expect: [{ key: entry.key, revision: entry.revision }], remove: [entry.key] });
      unfinished.push(claim.network);
    }
    return unfinished;
  }
}

const claimIn = (entry: Entry): NameClaim | undefined => {
  try {
    return decodeClaim(entry);
  } catch {
    return undefined;
  }
};

const ageOf = (entry: Entry, now: number): number => {
  try {
    return now - decodeGone(entry);
  } catch {
    return 0;
  }
};
