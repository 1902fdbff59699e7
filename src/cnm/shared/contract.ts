/** What use cases ask of networks that hosts share. */

import type { NetworkId } from '../../base/index.ts';
import type { EndpointRecord, NetworkRecord } from '../records.ts';
import type { SharedEndpoint } from './records.ts';

/** Networks in the cluster's own records. All throw store_unreachable. */
export interface ClusterNetworks {
  /** Takes the name for a network that is to be made. Repeatable. Throws name_taken. */
  claim(net: Pick<NetworkRecord, 'id' | 'name'>): Promise<void>;
  /** Makes the network known to all hosts. Throws name_taken when its name has become another's. */
  publish(net: NetworkRecord): Promise<void>;
  /**
   * Takes the network out of the cluster, with its name; one that is not there is fine. Endpoints of hosts that are away go
   * with it. Throws network_in_use; nothing is changed then.
   */
  remove(net: NetworkRecord): Promise<void>;
  /** Undo of claim() and publish(): as remove(), and where the cluster is away, later. */
  takeBack(net: NetworkRecord): Promise<void>;
}

/** Endpoints of this host in the cluster's records. */
export interface ClusterEndpoints {
  /** Tells all hosts. Throws no_network when the network is not there any more, store_unreachable. */
  write(net: NetworkRecord, ep: EndpointRecord, isJoined: boolean): Promise<void>;
  /** It has its addresses, and is in no sandbox any more; where the cluster is away, what is so then is told later. */
  writeWaiting(net: NetworkRecord, ep: EndpointRecord): Promise<void>;
  /** What a joined endpoint tells has changed; where the cluster is away, others hear of it later. */
  rewrite(net: NetworkRecord, ep: EndpointRecord): Promise<void>;
  /** The cluster's record goes; where the cluster is away, later. Repeatable. */
  withdraw(ep: Pick<EndpointRecord, 'id' | 'network'>): Promise<void>;
}

export interface SharedNetworks {
  readonly networks: ClusterNetworks;
  readonly endpoints: ClusterEndpoints;
  /** Follows the cluster from now on. Waits for its networks where it answers, but not for long. */
  start(): Promise<void>;
  /** Nothing is followed any more; what driver and keeper were told stays. */
  stop(): Promise<void>;
  /** Why a network does not work as wished, as far as the cluster is concerned. */
  troubleOf(id: NetworkId): string | undefined;
  /** The network has somebody here, or is about to: its peers are known to driver and keeper when this resolves. Throws store_unreachable. */
  enter(net: NetworkRecord, joining: Pick<EndpointRecord, 'id'>): Promise<void>;
  /** Undo of enter(), of whom may not have entered: peers are forgotten with the last endpoint here. */
  exit(net: Pick<NetworkRecord, 'id'>, leaving: Pick<EndpointRecord, 'id'>): Promise<void>;
  /** Whether an id of the keeper's peers stands for a network that somebody here is in. */
  keeps(id: string): boolean;
  /** A network that another host has just made may not be known here yet: waits until it is, where there is one. */
  catchUp(term: string): Promise<void>;
  /** All endpoints of a network, on all hosts; while the cluster is away as it was last told. Throws store_unreachable. */
  endpointsOf(id: NetworkId): Promise<readonly SharedEndpoint[]>;
  /**
   * The next key of encrypted networks comes into use on all hosts, without a packet lost. Answers how many keys there are. Throws
   * not_supported_here where there are none yet, too_busy right after another change, store_unreachable.
   */
  rotateKeys(): Promise<{ readonly keys: number }>;
  /** Joined endpoints that other living hosts have in a network that somebody here is in, as last told. */
  peersOf(id: NetworkId): readonly SharedEndpoint[];
  /** Compares the kernel's entries of some networks with the wish, and mends them. */
  audit(): Promise<void>;
}
