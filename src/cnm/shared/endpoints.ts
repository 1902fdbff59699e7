/** Endpoints of this host in the cluster's records: written while they are there, and taken away with them. */

import { isDeepStrictEqual } from 'node:util';
import { type Json, type NetworkId, codeOf } from '../../base/index.ts';
import type { Cluster } from '../../cluster/index.ts';
import { Debts } from '../../store/index.ts';
import type { Cnm } from '../context.ts';
import { memberById, membersOf } from '../lodgers.ts';
import type { EndpointRecord, NetworkRecord } from '../records.ts';
import { replayAddresses } from '../steps/addresses.ts';
import type { ClusterEndpoints } from './contract.ts';
import { type SharedEndpoint, encodeEndpoint, endpointKey, endpointsOf, networkKey, partsOfEndpointKey } from './records.ts';
import type { Registry } from './registry.ts';

type Listed = Pick<EndpointRecord, 'id' | 'network'>;

/** Whether the cluster is to have a record of it: it is in a sandbox, or there by itself. */
export const isTold = (ep: EndpointRecord | undefined): boolean =>
  ep?.phase === 'joined' || (ep?.phase === 'ready' && ep.boundTo === undefined);

export class SharedEndpoints implements ClusterEndpoints {
  readonly #cnm: Cnm;
  readonly #cluster: Cluster;
  readonly #registry: Registry;
  readonly #debts: Debts;

  constructor(cnm: Cnm, cluster: Cluster, registry: Registry) {
    this.#cnm = cnm;
    this.#cluster = cluster;
    this.#registry = registry;
    this.#debts = new Debts(cnm.env.log);
  }

  async write(net: NetworkRecord, ep: EndpointRecord, isJoined: boolean): Promise<void> {
    const { self, store } = this.#cluster;
    const put = [{ key: endpointKey(net.id, self, ep.id), value: encodeEndpoint(this.shown(ep, isJoined)) }];
    for (let isFresh = false; ; isFresh = true) {
      const revision = await this.#registry.revisionOf(net, isFresh);
      try {
        await store.commit({ expect: [{ key: networkKey(net.id), revision }], put });
        return;
      } catch (error) {
        if (codeOf(error) !== 'stale_revision' || isFresh) throw error;
      }
    }
  }

  /** As other hosts are told. */
  shown({ id, name, dnsNames, mac, v4, v6, phase, services }: EndpointRecord, isJoined = phase === 'joined'): SharedEndpoint {
    const { self: node, address } = this.#cluster;
    const at = { ...(mac && { mac }), ...(v4 && { v4 }), ...(v6 && { v6 }), ...(address && { vtep: address }) };
    return { id, node, name, dnsNames, isJoined, ...at, ...(isJoined && services && { services }) };
  }

  async writeWaiting(net: NetworkRecord, ep: EndpointRecord): Promise<void> {
    await this.#owe(net, ep, false);
  }

  async rewrite(net: NetworkRecord, ep: EndpointRecord): Promise<void> {
    await this.#owe(net, ep, true);
  }

  /** Told now, or later what is so then. */
  async #owe(net: NetworkRecord, ep: EndpointRecord, isJoined: boolean): Promise<void> {
    let isLate = false;
    await this.#debts.pay(ep.id, async () => {
      const wasLate = isLate;
      isLate = true;
      if (wasLate) await this.#settle(ep);
      else await this.#writeWhereThere(net, ep, isJoined);
    });
  }

  async withdraw(ep: Listed): Promise<void> {
    await this.#debts.pay(ep.id, () => this.#remove(ep));
  }

  /** What is owed to the cluster is not told any more. */
  stop(): void {
    this.#debts.close();
  }

  /** Makes the cluster's records of this host's endpoints in a network those that there are. Throws store_unreachable, address_in_use. */
  async sync(network: NetworkId): Promise<void> {
    const { entries } = await this.#cluster.store.list(endpointsOf(network, this.#cluster.self));
    const written = new Map(entries.map(({ key, value }) => [partsOfEndpointKey(network, key).id, value]));
    const own = membersOf(this.#cnm, network).map(({ id }) => id);
    let first: unknown;
    for (const id of new Set([...written.keys(), ...own])) {
      try {
        if (!written.has(id)) await this.#claim({ id, network });
        await this.#settle({ id, network }, written.get(id));
      } catch (error) {
        if (codeOf(error) === 'store_unreachable') throw error;
        first ??= error;
      }
    }
    if (first !== undefined) throw first;
  }

  /** Whoever has forgotten an endpoint has given its addresses back too: they are to be no other's. Throws address_in_use. */
  async #claim({ id, network }: Listed): Promise<void> {
    const { state, lodgers } = this.#cnm;
    const ep = state.endpointById(id);
    const net = state.networkById(network);
    if (net?.phase !== 'ready') return;
    if (ep === undefined) await lodgers?.claim(network, id);
    else if (isTold(ep)) await replayAddresses(this.#cnm, net, ep);
  }

  /** Says what is so now; what is on its way in or out says so itself. `known`: what the cluster has. */
  async #settle({ id, network }: Listed, known?: Json): Promise<void> {
    const ep = memberById(this.#cnm, id);
    const net = this.#cnm.state.networkById(network);
    if (ep === undefined || net?.phase !== 'ready') return this.#remove({ id, network });
    if (!isTold(ep)) return;
    const isJoined = ep.phase === 'joined';
    if (known === undefined || !isDeepStrictEqual(known, encodeEndpoint(this.shown(ep, isJoined))))
      await this.#writeWhereThere(net, ep, isJoined);
  }

  async #writeWhereThere(net: NetworkRecord, ep: EndpointRecord, isJoined: boolean): Promise<void> {
    try {
      await this.write(net, ep, isJoined);
    } catch (error) {
      // Whoever sees that the network is gone takes its endpoints away.
      if (codeOf(error) !== 'no_network') throw error;
    }
  }

  async #remove({ id, network }: Listed): Promise<void> {
    await this.#cluster.store.commit({ remove: [endpointKey(network, this.#cluster.self, id)] });
  }
}
