/** What the rest of the model asks of services. */

import type { NetworkId, SandboxId } from '../../base/index.ts';
import type { Netns } from '../../kernel/index.ts';
import type { EndpointRecord, NetworkRecord } from '../records.ts';

/** An endpoint on its way into or out of a sandbox. */
export interface Passage {
  readonly net: NetworkRecord;
  readonly ep: EndpointRecord;
  readonly sandbox: { readonly id: SandboxId };
  /** Absent: it is gone. */
  readonly netns?: Netns;
  /** The namespace goes, with what is in it. */
  readonly isEnding: boolean;
}

export interface ServicePlaces {
  /** A sandbox comes into the network: it balances the network's services before its link is there. */
  enter(passage: Passage): Promise<void>;
  /** Undo of enter(), of what may not have entered. */
  exit(passage: Passage): Promise<void>;
  /** A member leaves its sandbox: it is out of names and clients of this host when this resolves. */
  withdraw(passage: Passage): Promise<void>;
  /** Endpoints of other hosts have changed. */
  peersChanged(id: NetworkId): void;
  /** Whether an id of the keeper's peers stands for a service. */
  keeps(id: string): boolean;
  /** Throws network_in_use, naming the services, for a network that has any. */
  refuseInUse(net: NetworkRecord): void;
  /** The same by the cluster's word. Throws store_unreachable too. */
  refuseInUseInCluster(net: NetworkRecord): Promise<void>;
  /** The network is gone, and its services with it. */
  forgetNetwork(id: NetworkId): Promise<void>;
  /** Leases the virtual addresses again that records name. Throws as replayPools. */
  replay(net: NetworkRecord): Promise<void>;
  /** At a start: services that were half made or half removed. */
  finish(): Promise<void>;
  /** What others took from clients of this host is put back. */
  audit(): Promise<void>;
}
