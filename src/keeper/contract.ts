/**
 * What the keeper is told. It holds what must outlive the daemon: DNS sockets, name tables, held host ports. Every call
 * is a whole wish, written to the run directory first and acknowledged when it is live; no answer throws resolver_unavailable,
 * after 1.5 s where the keeper is gone, after 6 s of its silence where it is there, and the caller undoes.
 */

import type { Address, EndpointId, NetworkId, SandboxId } from '../base/index.ts';
import type { NameRecord, NameView, Upstream } from '../dns/index.ts';

export type { NameRecord, NameView, Upstream } from '../dns/index.ts';

export type Protocol = 'tcp' | 'udp';

/** Where the keeper finds a namespace. `identity` (Netns.identity) guards against a reused path. */
export interface NetnsRef {
  readonly path: string;
  readonly identity: string;
}

export interface SandboxWish {
  readonly netns: NetnsRef;
  readonly view: NameView;
  /** Tried in order; the first three count. */
  readonly upstreams: readonly Upstream[];
  /**
   * Ports of the sockets on 127.0.0.11 in the sandbox; the daemon lays the redirect from 53. 0: the keeper chooses and
   * says so in its answer; a number: exactly this one, as after a restart, so that no rule changes.
   */
  readonly ports: { readonly udp: number; readonly tcp: number };
}

/** Names of the endpoints that one other host has in one network, or of the services there are in it. */
export interface PeerNames {
  readonly network: NetworkId;
  readonly networkName: string;
  readonly endpoints: readonly (Pick<NameRecord, 'names' | 'addresses' | 'hasNoPointer'> & { readonly id: EndpointId })[];
}

/** Host ports asked for: one port on all of `addresses` (spec 05 N7). */
export interface HoldRequest {
  readonly protocol: Protocol;
  readonly addresses: readonly Address[];
  /** Exact host port, 1 to 65535. portmap/allocator chooses it. */
  readonly port: number;
  /** It was held before: should another process have it now, the keeper goes on trying for it. Default false. */
  readonly isOurs?: boolean;
}

/** The sockets that keep one host port ours. Held until released, also across the daemon's and the keeper's own restart. */
export interface PortHold extends HoldRequest {
  readonly owner: SandboxId;
}

/** A host port of ours that cannot be held now, on one of its addresses. The keeper tries for it until it is released. */
export interface HoldConflict {
  readonly owner: SandboxId;
  readonly protocol: Protocol;
  readonly address: Address;
  readonly port: number;
  /** EADDRINUSE: another process has it; EADDRNOTAVAIL: the host has lost the address. */
  readonly errno: string;
}

export type HoldAnswer = { readonly ok: true } | { readonly ok: false; readonly address: Address; readonly errno: string };

export interface KeeperLink {
  /** Resolver of a sandbox, or null to end it. Answers with the ports in use. Its sockets are closed before null is acknowledged. */
  sandbox(id: SandboxId, wish: SandboxWish | null): Promise<{ readonly udp: number; readonly tcp: number }>;
  /** When this has resolved, the names resolve (null: resolve no longer) everywhere. */
  names(endpoint: EndpointId, record: NameRecord | null): Promise<void>;
  /** The same for all that another host has in a network; `id` stands for the two. Null: it has nobody there any more. */
  peers(id: string, names: PeerNames | null): Promise<void>;
  /**
   * The whole set of holds of one sandbox after this call, as a list of groups, each all or nothing. Groups held already
   * stay open untouched; groups not listed are released. One answer a group, in order; a group that failed holds nothing,
   * unless it is ours: then it is held where it can be, shown under `conflicts`, and tried again.
   */
  holds(owner: SandboxId, groups: readonly HoldRequest[]): Promise<readonly HoldAnswer[]>;
  /** What the keeper has now, for adoption at start. */
  inventory(): Promise<{
    readonly sandboxes: readonly SandboxId[];
    readonly endpoints: readonly EndpointId[];
    /** Ids as told to `peers`. */
    readonly peers: readonly string[];
    readonly holds: readonly PortHold[];
    readonly conflicts: readonly HoldConflict[];
  }>;
  /** As the keeper said last, which is about a second ago at most while it answers. */
  readonly conflicts: readonly HoldConflict[];
  /** Called when `conflicts` has changed. */
  onConflicts: (() => void) | undefined;
  /** Called when a keeper answers again after one was lost. */
  onBack: (() => void) | undefined;
  /** Pid of the keeper, for diagnosis. */
  readonly pid: number | undefined;
  close(): Promise<void>;
}
