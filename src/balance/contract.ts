/** What is balanced, and what balances it. Implemented in this folder. */

import type { Address } from '../base/index.ts';
import type { Netns } from '../kernel/index.ts';
import type { TableMemory } from './memory.ts';

/** A member as far as packets are concerned. */
export interface BalancedMember {
  /** Inside the service's network; one of each family at most. */
  readonly addresses: readonly Address[];
  /** `serving` takes new connections; `draining` only keeps those it has. */
  readonly state: 'serving' | 'draining';
}

export interface BalancedService {
  /** The service's id: 64 hex digits; names of maps and chains come from it. */
  readonly id: string;
  /** Virtual addresses, one of each family at most. */
  readonly vips: readonly Address[];
  readonly members: readonly BalancedMember[];
}

/** By rules of nf_tables alone, or by IPVS, which rules lead to. */
export type BalancerKind = 'nft' | 'ipvs';

/** What balances connections to virtual addresses in a client's own namespace. */
export interface Balancer {
  /**
   * Lets the namespace balance exactly these services. Repeatable; only what differs is changed; connections of members that stay go
   * on. With a `memory` that calls for the namespace share nothing is read that nobody else has changed. Throws too_many_members, and
   * nothing is changed then.
   */
  apply(client: Netns, services: readonly BalancedService[], memory?: TableMemory): Promise<void>;
  /** Everything of ours goes. Repeatable; a namespace that has nothing is fine. */
  clear(client: Netns, memory?: TableMemory): Promise<void>;
  /** Connections that still go through a service to a member, in one namespace (for drain: gone when 0 everywhere here). */
  countFlows(client: Netns, member: BalancedMember): Promise<number>;
}

/** A port that every host leads to a service. */
export interface PublishedPort {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** On hosts. */
  readonly published: number;
  /** On members. */
  readonly target: number;
}

/** A service's published ports, on every host. */
export interface PublishedService {
  readonly service: BalancedService;
  /** Name or id of the network the members are in. */
  readonly network: string;
  readonly ports: readonly PublishedPort[];
}

/** What leads published ports on, in a namespace that is there for nothing else. */
export interface Gate {
  /** Lets the namespace lead exactly these ports on. Repeatable; only what differs is changed; connections of members that stay go on. */
  apply(netns: Netns, published: readonly PublishedService[], memory?: TableMemory): Promise<void>;
  /** As Balancer.countFlows. */
  countFlows(netns: Netns, member: BalancedMember): Promise<number>;
}
