/** What engines have in networks of the cluster, as cluster, drivers and keeper are told of it. */

import { type EndpointId, type NetworkId, prefixAddress } from '../../base/index.ts';
import type { RestoreNetwork } from '../../driver/index.ts';
import type { Lodgers } from '../lodgers.ts';
import type { EndpointRecord } from '../records.ts';
import { type Hosting, guestEndpointValue } from './context.ts';
import { endGuestEndpoint } from './endpoints.ts';
import { replayHomeLeases } from './home-leases.ts';
import { memberOf, resolverId, stakeOf } from './members.ts';
import { NO_ROLE } from './ports.ts';
import type { GuestEndpoint, GuestNetwork } from './records.ts';
import { isAbandoned } from './sandbox.ts';

/** Whether the engine's network keeps the cluster's in use. */
const hasStake = ({ phase, isHomeless }: GuestNetwork): boolean => phase === 'ready' && isHomeless !== true;

export class Lodging implements Lodgers {
  readonly #hosting: Hosting;

  constructor(hosting: Hosting) {
    this.#hosting = hosting;
  }

  endpointById(id: EndpointId): EndpointRecord | undefined {
    const { networks, endpoints } = this.#hosting.state;
    const ep = endpoints.get(id);
    const home = ep && networks.get(ep.network)?.home;
    if (ep !== undefined && home !== undefined) return memberOf(home.id, ep);
    const net = networks.get(id as string as NetworkId);
    return net?.home !== undefined && hasStake(net) ? stakeOf(net.home.id, net) : undefined;
  }

  endpointsOf(network: NetworkId): readonly EndpointRecord[] {
    const stakes = this.#guests(network).flatMap((net) => (hasStake(net) ? [stakeOf(network, net)] : []));
    return [...this.#endpoints(network).map((ep) => memberOf(network, ep)), ...stakes];
  }

  wished(network: NetworkId): RestoreNetwork['endpoints'] {
    return this.#endpoints(network)
      .filter((ep) => ep.phase === 'joined' && !isAbandoned(ep))
      .map((ep) => ({ ep: guestEndpointValue(ep), roles: NO_ROLE, ports: [], hasMoved: true }));
  }

  locksOf(network: NetworkId): readonly string[] {
    return this.#endpoints(network).map(({ id }) => `endpoint:${id}`);
  }

  async claim(network: NetworkId, id: EndpointId): Promise<void> {
    const ep = this.endpointById(id);
    const own = [ep?.v4, ep?.v6].flatMap((prefix) => (prefix === undefined ? [] : prefixAddress(prefix)));
    if (own.length > 0) await replayHomeLeases(this.#hosting, network, new Set(own));
  }

  async evict(network: NetworkId): Promise<void> {
    const { cnm, state } = this.#hosting;
    await state.commit({ networks: this.#guests(network).map((net) => ({ ...net, isHomeless: true })) });
    for (const { id } of this.#endpoints(network)) {
      cnm.env.log.warn({ network, endpoint: id }, 'a network was removed from the cluster: an endpoint of an engine is removed');
      await cnm.locks.run(`endpoint:${id}`, () => endGuestEndpoint(this.#hosting, id));
    }
  }

  resolvers(): ReadonlySet<string> {
    const all = [...this.#hosting.state.endpoints.values()];
    return new Set(all.flatMap(({ join }) => (join?.resolver === undefined ? [] : resolverId(join.key))));
  }

  owners(): readonly string[] {
    return [...this.#hosting.state.pools.values()].flatMap(({ id, home, addresses }) =>
      home === undefined ? [] : addresses.map(({ lease }) => lease ?? id),
    );
  }

  #guests(network: NetworkId): GuestNetwork[] {
    return [...this.#hosting.state.networks.values()].filter(({ home }) => home?.id === network);
  }

  #endpoints(network: NetworkId): GuestEndpoint[] {
    return this.#guests(network).flatMap(({ id }) => this.#hosting.state.endpointsOf(id));
  }
}
