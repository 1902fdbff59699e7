/**
 * Endpoints that engines have in networks of the cluster. Their records are the guests' own; whoever tells the cluster, the kernel
 * or the keeper who is in a network sees them beside this host's own, in the same shape.
 */

import type { EndpointId, NetworkId } from '../base/index.ts';
import type { RestoreNetwork } from '../driver/index.ts';
import type { EndpointRecord } from './records.ts';
import type { State } from './state.ts';

interface Residents {
  readonly state: State;
  lodgers?: Lodgers;
}

export interface Lodgers {
  endpointById(id: EndpointId): EndpointRecord | undefined;
  /** With one for each engine's network object, which is in no sandbox and has no address: while it is there, the network is in use. */
  endpointsOf(network: NetworkId): readonly EndpointRecord[];
  /** Those that are joined, as a driver is to make the kernel match. */
  wished(network: NetworkId): RestoreNetwork['endpoints'];
  /** Keys of the locks under which they come and go. */
  locksOf(network: NetworkId): readonly string[];
  /** Leases again what one of them has, as its record says. Throws address_in_use. */
  claim(network: NetworkId, id: EndpointId): Promise<void>;
  /** The network is not there any more: they are taken out of it. */
  evict(network: NetworkId): Promise<void>;
  /** Ids of keeper's resolvers in engines' sandboxes. */
  resolvers(): ReadonlySet<string>;
  /** Owners of leases of the cluster's addresses. */
  owners(): readonly string[];
}

/** This host's endpoint of the id, whosever it is. */
export const memberById = ({ state, lodgers }: Residents, id: EndpointId): EndpointRecord | undefined =>
  state.endpointById(id) ?? lodgers?.endpointById(id);

/** All that this host has in a network. */
export const membersOf = ({ state, lodgers }: Residents, network: NetworkId): readonly EndpointRecord[] => [
  ...state.endpointsOfNetwork(network),
  ...(lodgers?.endpointsOf(network) ?? []),
];
