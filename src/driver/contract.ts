/**
 * The network driver contract (spec 01 §2). Drivers answer with values: no setters, no callbacks, no store. What a driver
 * must remember it returns as `state`; the controller keeps it in the one record and hands it back.
 */

import type { Address, EndpointId, Env, Json, Mac, NetworkId, Prefix, SandboxId } from '../base/index.ts';
import type { Firewall, FirewallChange } from '../firewall/index.ts';
import type { PortHold } from '../keeper/index.ts';
import type { Mark, Netns, Reaper } from '../kernel/index.ts';

export type Scope = 'local' | 'global';

/** Driver options as given, `-o key=value`. */
export type DriverOptions = Readonly<Record<string, string>>;

/** What a driver is built with; compose.ts fills it. */
export interface DriverParts {
  readonly host: Netns;
  readonly firewall: Firewall;
  readonly mark: Mark;
  readonly reaper: Reaper;
  readonly env: Env;
}

/** Numbers that no two owners share, such as VXLAN ids: of the whole cluster where there is one. Throws store_unreachable. */
export interface NumberPool {
  /**
   * A number for `owner`, `wanted` where that is given. Repeatable: who has one already is told the same; with another wish
   * he has that one instead. Throws number_taken, numbers_exhausted.
   */
  take(owner: string, wanted?: number): Promise<number>;
  /** The owner has none any more; one that has none is fine. */
  release(owner: string): Promise<void>;
}

export interface Ctx {
  readonly signal: AbortSignal;
}

export interface DriverPool {
  readonly prefix: Prefix;
  /** Address space of the IPAM driver that the subnet is of. */
  readonly space?: string;
  readonly gateway?: Address;
  readonly aux: Readonly<Record<string, Address>>;
}

/** A network as its driver sees it. */
export interface DriverNetwork {
  readonly id: NetworkId;
  readonly name: string;
  readonly internal: boolean;
  readonly enableIPv4: boolean;
  readonly enableIPv6: boolean;
  readonly options: DriverOptions;
  readonly v4: readonly DriverPool[];
  readonly v6: readonly DriverPool[];
  /** All hosts of the cluster have it. Default false. */
  readonly isShared?: boolean;
  /** What createNetwork returned; null before. */
  readonly state: Json;
}

export interface IfaceAddresses {
  readonly mac?: Mac;
  readonly v4?: Prefix;
  readonly v6?: Prefix;
}

/** A published port as asked for. Has the shape of portmap's WantedPort. */
export interface PortMapping {
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  readonly hostAddress?: Address;
  readonly hostPorts?: { readonly from: number; readonly to: number };
}

/** What a sandbox publishes, and what it declares only (as `80/tcp`). */
export interface SandboxPorts {
  readonly publish: readonly PortMapping[];
  readonly exposed: readonly string[];
}

export interface EndpointRequest {
  readonly id: EndpointId;
  readonly name: string;
  readonly iface: IfaceAddresses;
  readonly linkLocal: readonly Prefix[];
  readonly options: DriverOptions;
}

export interface DriverEndpoint extends EndpointRequest {
  readonly state: Json;
}

export interface StaticRoute {
  readonly destination: Prefix;
  /** Absent: on-link. */
  readonly nextHop?: Address;
}

/**
 * Families for which the endpoint is a way out without any gateway. `link`: the default route leads onto the link itself;
 * `none`: there is no default route, although the endpoint takes part in the election like one that has a gateway.
 */
export interface WayOut {
  readonly v4?: 'link' | 'none';
  readonly v6?: 'link' | 'none';
}

export interface TableEntry {
  readonly table: string;
  readonly key: string;
  readonly value: string;
}

export interface JoinResult {
  /**
   * `sandbox`: made there under its final name. `host`: the controller moves it, calls it `prefix` and a number, gives it MAC and
   * addresses, and brings it up; on leave it goes back (remote drivers). Absent: the sandbox gets no link.
   */
  readonly link?: { readonly name: string; readonly at: 'sandbox' | 'host'; readonly prefix?: string };
  readonly gateway?: Address;
  readonly gateway6?: Address;
  readonly wayOut?: WayOut;
  readonly routes: readonly StaticRoute[];
  readonly suppressDefaultGateway: boolean;
  readonly publish: readonly TableEntry[];
  readonly state: Json;
  /** A first join may change the network's state too. */
  readonly netState?: Json;
}

/** Sandbox side of a join. */
export interface JoinPlace {
  readonly sandbox: SandboxId;
  readonly netns: Netns;
  /** Final interface name, such as eth0. */
  readonly ifname: string;
  /** The link is left down and without addresses: whoever owns the sandbox moves it there and does the rest. */
  readonly isBare?: boolean;
  /**
   * On leave: the namespace goes with the sandbox a moment later. What cannot be reached from outside any more may be left to it;
   * what can, such as a link with an address on somebody's wire, may not.
   */
  readonly isEnding?: boolean;
  readonly ports?: SandboxPorts;
}

/** Which default-route role an endpoint has in its sandbox, per family. */
export interface GatewayRoles {
  readonly v4: boolean;
  readonly v6: boolean;
}

/** A host⇄endpoint pair as it is now. `hostPort` 0: routed, no host port. */
export interface PortBinding {
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  readonly hostAddress: Address;
  readonly hostPort: number;
}

/** One published port with the host side that the sandbox holds. */
export interface HeldPort {
  readonly hold: PortHold;
  /** Port inside the sandbox. */
  readonly port: number;
}

/** Published ports when the gateway role changes. */
export interface ExternalFacet {
  /**
   * Makes published ports match `roles`, on host ports that are already held; the same arguments twice are harmless.
   * Never closes a hold. A routed family needs no role: its clients reach the endpoint by its own address. No ports
   * withdraws all.
   */
  programExternalConnectivity(
    ctx: Ctx,
    net: DriverNetwork,
    ep: DriverEndpoint,
    roles: GatewayRoles,
    ports: readonly HeldPort[],
  ): Promise<{ readonly bindings: readonly PortBinding[]; readonly state: Json }>;
}

/** For a driver that publishes by itself: it is told what is wished, and takes host ports itself. Repeatable. */
export interface PublisherFacet {
  /** The endpoint has these roles from now on. Throws; nothing is published then that was not before. */
  program(ctx: Ctx, net: DriverNetwork, ep: DriverEndpoint, roles: GatewayRoles, ports: SandboxPorts): Promise<void>;
  /** It has none any more. */
  revoke(ctx: Ctx, net: DriverNetwork, ep: DriverEndpoint): Promise<void>;
}

export interface RestoreNetwork {
  readonly net: DriverNetwork;
  readonly endpoints: readonly {
    readonly ep: DriverEndpoint;
    readonly roles: GatewayRoles;
    readonly ports: readonly HeldPort[];
    /** Absent: not joined, or not to be seen. */
    readonly place?: JoinPlace;
    /** An engine has taken the sandbox's side, and does with it as it likes: only the host's side is ours. No `place` then. */
    readonly hasMoved?: boolean;
    /** Where it has taken it, as far as that can be seen. */
    readonly moved?: MovedPlace;
  }[];
}

/** Sandbox of an engine. */
export interface MovedPlace {
  readonly sandbox: SandboxId;
  readonly netns: Netns;
  /** What the engine calls the link there; absent: that was not seen while it was there. */
  readonly ifname?: string;
}

export interface RestoreReport {
  readonly id: NetworkId;
  /** Why the network does not work as wished, in one sentence. */
  readonly problem?: string;
  /** What the network and its endpoints want of the packet filter; the controller applies the wishes of all at once. */
  readonly rules: readonly FirewallChange[];
  readonly state: Json;
}

/** Start, and later when something is not as wished. */
export interface RestoreFacet {
  /** Endpoints that have moved are looked at too. Default false. */
  readonly seesMoved?: boolean;
  /** Links that have moved go with a link of the host, and are made anew where they were. Default false. */
  readonly remakesMoved?: boolean;
  /** Makes the kernel match what is wished; one report a network. Never throws for a single network. */
  restore(ctx: Ctx, desired: readonly RestoreNetwork[]): Promise<readonly RestoreReport[]>;
  /** Networks of which the host's links or addresses are not as wished. Cheap: asked every few seconds; changes nothing. */
  observe(desired: readonly RestoreNetwork[]): Promise<readonly NetworkId[]>;
  /** Host links that belong to the network; others with the owner's mark are swept. Asks no kernel. */
  linksOf(wish: RestoreNetwork): readonly string[];
  /** Pins in the run directory that belong to the network; others are swept. Asks no kernel. */
  pinsOf?(wish: RestoreNetwork): readonly string[];
}

/** An endpoint on another host of the cluster. */
export interface Peer {
  readonly endpoint: EndpointId;
  readonly mac: Mac;
  /** Addresses with the length of their subnet. */
  readonly v4?: Prefix;
  readonly v6?: Prefix;
  /** Underlay address of its host. */
  readonly vtep: Address;
}

/** What a change of peers did to the kernel's entries. All 0 while the network has nobody here: the wish is kept until then. */
export interface PeerChanges {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
  /** Peers that nothing can be done for: outside the subnets, of this host, or of another underlay than this host's. */
  readonly ignored: number;
}

export interface PeerAudit {
  /** Entries that were gone or were others, and are right again. */
  readonly restored: number;
  /** Entries that nobody wished for, and are gone. */
  readonly removed: number;
  /** Wrong entries that are left for the next call. */
  readonly left: number;
}

/** What has become of single peers. */
export interface PeerUpdate {
  /** New, or another than before. */
  readonly put: readonly Peer[];
  readonly remove: readonly EndpointId[];
}

/** Secrets that all hosts of the cluster have. */
export interface TransportKeys {
  /** All serve for what comes. `tag`: tells one from others, 32 bits; `secret`: 32 octets. */
  readonly keys: readonly { readonly tag: number; readonly secret: Buffer }[];
  /** Tag of the one for what is sent. */
  readonly primary: number;
}

/** What encrypted networks need to know. */
export interface SecureWish {
  readonly keys: TransportKeys;
  /** All hosts of the cluster that have said where they are, this one too. */
  readonly hosts: readonly SecureHost[];
}

export interface SecureHost {
  /** On the underlay. */
  readonly address: Address;
  /** Public key of its WireGuard link, base64; absent: it has none. */
  readonly wireguard?: string;
}

/** For a driver whose networks span hosts: where endpoints on other hosts are. */
export interface ClusterFacet {
  /**
   * The whole wish, not a change of it. While it is not `complete`, as after a start, nothing is removed, and peers told before
   * stay wished. Of several peers with one address the first one told has it, and the next one when that one goes. Repeatable.
   */
  setPeers(ctx: Ctx, net: DriverNetwork, peers: readonly Peer[], complete: boolean): Promise<PeerChanges>;
  /** Changes the last whole wish, at the cost of the change; it was complete. Outcome as of setPeers with what comes of it. */
  changePeers(ctx: Ctx, net: DriverNetwork, update: PeerUpdate): Promise<PeerChanges>;
  /** Compares the kernel's entries with the wish and mends them, a bounded number in a call. */
  audit(ctx: Ctx, net: DriverNetwork): Promise<PeerAudit>;
  /** For a driver whose networks may be encrypted: keys and hosts as they are now, before the first join and after each change. */
  secure?(ctx: Ctx, wish: SecureWish): Promise<void>;
}

export interface DriverCapabilities {
  readonly scope: Scope;
  readonly connectivity: Scope;
  /** `none`: no IPAM is asked (host, null). */
  readonly addressing: 'ipam' | 'none';
  /** `own`: endpoints live in the sandbox's namespace; `host`: the sandbox is the host's; `none`: only lo. */
  readonly sandbox: 'own' | 'host' | 'none';
  /** Only one network of this driver can exist. */
  readonly singleton: boolean;
  /** Its networks hang on a link of the host that the option `parent` names; their subnets are that link's. */
  readonly usesParent?: boolean;
  /** False: interfaces have their parent's MAC, and none can be given. */
  readonly ownMac?: boolean;
  /** Its networks lead nowhere outside: a sandbox that has no other way there is joined to the gateway bridge too. */
  readonly gatewayBridge?: boolean;
}

/** Of a network that is to be: what decides whether it needs a gateway address. */
export interface GatewayQuestion {
  readonly options: DriverOptions;
  readonly internal: boolean;
  readonly enableIPv4?: boolean;
  readonly enableIPv6: boolean;
}

/**
 * A method that throws has left nothing behind; after a join that failed the endpoint leaves all the same. Calls for one endpoint
 * never overlap; first join and last leave of one network never overlap. Deletes accept what is already gone.
 */
export interface Driver {
  readonly name: string;
  readonly capabilities: DriverCapabilities;
  /** Checks options and subnets before anything is leased or made. Throws bad_option and friends. */
  validateNetwork?(net: DriverNetwork): void;
  /** What whoever makes such a network should know, in words; '' for nothing. */
  warning?(net: DriverNetwork): string;
  /** Asked before any address is leased: true leaves the family's gateway unallocated. */
  skipGwAlloc?(ctx: Ctx, asked: GatewayQuestion): Promise<{ readonly v4: boolean; readonly v6: boolean }>;
  /** Keys of auxiliary addresses that each subnet must have: leased where they are not given. */
  auxAddresses?(options: DriverOptions): readonly string[];
  /**
   * Makes the link that the network hangs on, for an IPAM driver that asks on it before the network is created. What it has made
   * goes with deleteNetwork, also when it throws.
   */
  prepareParent?(ctx: Ctx, net: DriverNetwork): Promise<void>;
  /**
   * What the creation will change that bears no mark of ours, recorded as the network's state before it is changed: a delete
   * after a crash takes it back. Changes nothing; undefined when there is no such thing.
   */
  planNetwork?(ctx: Ctx, net: DriverNetwork): Promise<{ readonly state: Json } | undefined>;
  createNetwork(ctx: Ctx, net: DriverNetwork): Promise<{ readonly state: Json }>;
  deleteNetwork(ctx: Ctx, net: DriverNetwork): Promise<void>;
  createEndpoint(
    ctx: Ctx,
    net: DriverNetwork,
    ep: EndpointRequest,
    ports?: SandboxPorts,
  ): Promise<{ readonly iface: IfaceAddresses; readonly state: Json }>;
  deleteEndpoint(ctx: Ctx, net: DriverNetwork, ep: DriverEndpoint): Promise<void>;
  join(ctx: Ctx, net: DriverNetwork, ep: DriverEndpoint, at: JoinPlace): Promise<JoinResult>;
  leave(ctx: Ctx, net: DriverNetwork, ep: DriverEndpoint, at?: JoinPlace): Promise<{ readonly netState?: Json }>;
  /** What the driver has to tell of an endpoint, for inspect. */
  operInfo?(ctx: Ctx, net: DriverNetwork, ep: DriverEndpoint): Promise<Readonly<Record<string, Json>>>;
  /** Publishes on host ports that the model holds. A driver has this or `publisher`. */
  readonly external?: ExternalFacet;
  readonly publisher?: PublisherFacet;
  readonly restorer?: RestoreFacet;
  readonly cluster?: ClusterFacet;
}
