/** What the rest of the house may ask of the kernel. Implemented in this folder; nothing else makes a system call. */

import type { Address, IpFamily, Mac, Prefix } from '../base/index.ts';

/** A network namespace held open by a descriptor. Close it (`using`) when done; closing never removes a pin. */
export interface Netns extends Disposable {
  /** Path it was opened from, or the pin. */
  readonly path: string;
  /** Boot id + namespace cookie. Inode numbers are reused at once, this is not. */
  readonly identity: string;
  /** Open descriptor, for IFLA_NET_NS_FD and setns. */
  readonly fd: number;
  /**
   * Runs `work` on this thread inside the namespace and returns its value. Work must be synchronous: a promise is a type
   * error, and a thenable is refused at run time. Async fs calls run on pool threads, hence outside: only Sync forms here.
   * Failing to come back aborts the process.
   */
  run<T>(work: () => T extends PromiseLike<unknown> ? never : T): T;
  /** The façade on this namespace; opened once, lives as long as the Netns. */
  rtnl(): Rtnl;
}

export type LinkKind = 'veth' | 'bridge' | 'macvlan' | 'ipvlan' | 'vxlan' | 'vlan' | 'dummy' | 'wireguard';

/** A link by name or by index. */
export type LinkAt = { readonly name: string } | { readonly index: number };

interface LinkCommon {
  readonly name: string;
  /** Asked-for interface index, so that later messages of one batch can name it. Default: the kernel chooses. */
  readonly index?: number;
  readonly mac?: Mac;
  /** Octets. */
  readonly mtu?: number;
  /** IFLA_GROUP: the owner's mark (mark.ts). */
  readonly group?: number;
  /** Where to make it; default: the namespace of this Rtnl. */
  readonly netns?: Netns;
}

interface BridgeSettings {
  readonly stp?: boolean;
  readonly multicastSnooping?: boolean;
  readonly vlanFiltering?: boolean;
  /** VLAN that untagged frames of new ports are of; 0: none. */
  readonly defaultPvid?: number;
}

interface VxlanSettings {
  readonly vni: number;
  readonly port?: number;
  readonly local?: Address;
  readonly learning?: boolean;
  readonly proxy?: boolean;
  readonly l2miss?: boolean;
  readonly l3miss?: boolean;
}

/** What a VXLAN link was made with. Its socket is in the namespace that it was made from, wherever it lies. */
export interface VxlanFacts {
  readonly vni: number;
  readonly port: number;
  readonly local?: Address;
  readonly learning: boolean;
}

/** Settings of a port of a bridge. */
export interface PortFacts {
  /** Takes the source addresses of what comes in into its table. */
  readonly learning: boolean;
  /** Sends what it finds no entry for: unknown unicasts, broadcasts or multicasts, any of the three. */
  readonly flood: boolean;
  /** ARP and ND about known neighbours of the bridge are answered instead of being sent there. */
  readonly neighSuppress: boolean;
  /** Sends back out of it what came in by it. */
  readonly hairpin: boolean;
  /** Passes nothing to other isolated ports. */
  readonly isolated: boolean;
}

export interface LinkSpec extends LinkCommon {
  readonly kind: LinkKind;
  /** Index of the bridge to be a port of, in the namespace where the link is made. */
  readonly master?: number;
  /** Created UP. Not for a veth whose peer is not up: the kernel answers ENOTCONN for the peer; set it in its own op. */
  readonly up?: boolean;
  /** IFLA_LINK: index of the lower link (macvlan, ipvlan, vlan, vxlan). */
  readonly parent?: number;
  /** veth: the other half, made in `peer.netns` when given. */
  readonly peer?: LinkCommon;
  readonly bridge?: BridgeSettings;
  readonly vxlan?: VxlanSettings;
  readonly macvlan?: { readonly mode: 'private' | 'vepa' | 'bridge' | 'passthru' };
  readonly ipvlan?: { readonly mode: 'l2' | 'l3' | 'l3s'; readonly flag?: 'bridge' | 'private' | 'vepa' };
  readonly vlan?: { readonly id: number };
}

export interface Link {
  readonly index: number;
  readonly name: string;
  /** Kernel's kind text; `''` for links without one (lo, real hardware). */
  readonly kind: string;
  readonly mac?: Mac;
  readonly mtu: number;
  readonly up: boolean;
  /** IFF_LOWER_UP, true from the moment on: for a veth, its other side is up too. */
  readonly carrier: boolean;
  readonly group: number;
  readonly alias?: string;
  /** Index of the bridge it is a port of. */
  readonly master?: number;
  /** Index of the lower link or of the veth peer, which may be in another namespace. */
  readonly parent?: number;
  readonly vxlan?: VxlanFacts;
  /** Of a port of a bridge. */
  readonly port?: PortFacts;
}

export interface LinkChange {
  readonly name?: string;
  readonly alias?: string;
  readonly mac?: Mac;
  readonly mtu?: number;
  readonly group?: number;
  readonly up?: boolean;
  /** 0 takes it off its bridge. */
  readonly master?: number;
  readonly hairpin?: boolean;
  /** Bridge port isolation (IFLA_BRPORT_ISOLATED). */
  readonly isolated?: boolean;
  /** Of a bridge port: see PortFacts. `flood` sets all three kinds. */
  readonly learning?: boolean;
  readonly flood?: boolean;
  readonly neighSuppress?: boolean;
}

export interface AddressSpec {
  readonly link: number;
  /** Interface address with its length. */
  readonly prefix: Prefix;
  /** IFA_F_NODAD. */
  readonly noDad?: boolean;
}

export interface RouteSpec {
  /** Destination; absent = default route of `family`. */
  readonly destination?: Prefix;
  readonly family: IpFamily;
  readonly gateway?: Address;
  /** Output link index. */
  readonly link?: number;
  /** Default: `link` without gateway, else `global`. */
  readonly scope?: 'global' | 'link' | 'host';
  /** RTNH_F_ONLINK. */
  readonly onLink?: boolean;
  /** Default 254 (main). */
  readonly table?: number;
  readonly metric?: number;
  /** Read-only: kernel's rtm_protocol number (2 = kernel, 3 = boot, 4 = static). Written as static. */
  readonly protocol?: number;
}

export interface RuleSpec {
  readonly family: IpFamily;
  readonly priority: number;
  readonly table: number;
  readonly mark?: number;
  readonly source?: Prefix;
  readonly destination?: Prefix;
}

export interface NeighbourSpec {
  readonly link: number;
  readonly address: Address;
  readonly mac?: Mac;
  readonly state?: 'permanent' | 'reachable' | 'stale' | 'noarp';
}

export interface FdbSpec {
  readonly link: number;
  readonly mac: Mac;
  /** VXLAN: the remote VTEP. */
  readonly destination?: Address;
  readonly permanent?: boolean;
  /** Of a bridge: frames with this address from another port do not move it there. */
  readonly sticky?: boolean;
}

/** One change. `fine`: refusals, as the kernel names them (`ENOENT`), after which all is as wished: they are no failures. */
export type RtnlOp = RtnlChange & { readonly fine?: readonly string[] };

type RtnlChange =
  | { readonly op: 'link.add'; readonly spec: LinkSpec }
  | { readonly op: 'link.set'; readonly at: LinkAt; readonly change: LinkChange }
  | { readonly op: 'link.remove'; readonly at: LinkAt }
  | { readonly op: 'address.add' | 'address.remove'; readonly spec: AddressSpec }
  | { readonly op: 'route.add' | 'route.replace' | 'route.remove'; readonly spec: RouteSpec }
  | { readonly op: 'rule.add' | 'rule.remove'; readonly spec: RuleSpec }
  /** `change` touches only an entry that is there: ENOENT where none is. */
  | { readonly op: 'neighbour.replace' | 'neighbour.change' | 'neighbour.remove'; readonly spec: NeighbourSpec }
  | { readonly op: 'fdb.replace' | 'fdb.remove'; readonly spec: FdbSpec };

export interface LinkFilter {
  readonly kind?: LinkKind;
  readonly group?: number;
  readonly master?: number;
}

/** A table of the kernel. `list` filters by equality of every given field. */
export interface Table<S> {
  list(filter?: Partial<S>): Promise<readonly S[]>;
}

/** rtnetlink on one namespace: its sockets were opened inside and need no switching later. */
export interface Rtnl extends Disposable {
  readonly link: {
    /** Throws KernelError ENODEV when there is none. */
    get(at: LinkAt): Promise<Link>;
    /** Like get, but undefined instead of ENODEV. */
    find(at: LinkAt): Promise<Link | undefined>;
    list(filter?: LinkFilter): Promise<readonly Link[]>;
    /**
     * The operation `link.add` of a link in this namespace. Answers it as the kernel tells of it, which it does since Linux 6.2; of a
     * veth that saves the look for the peer's index.
     */
    add(spec: LinkSpec): Promise<Link | undefined>;
    /** Moves a link to another namespace, under `name` when given. 15 to 22 ms: only for links that foreign plugins made. */
    move(at: LinkAt, to: Netns, name?: string): Promise<void>;
  };
  readonly address: Table<AddressSpec>;
  readonly route: Table<RouteSpec>;
  readonly rule: Table<RuleSpec>;
  readonly neighbour: Table<NeighbourSpec>;
  readonly fdb: Table<FdbSpec>;
  /**
   * Sends the operations in order as one message; a whole attach is one batch. On the
   * first failure that is not fine throws KernelError, whose subject names the operation and whose text holds the kernel's extended
   * error; the operations before it stay done (the caller's undo takes them back) and the kernel goes on with those
   * behind it, hence order them so that a later one fails too or is harmless.
   */
  batch(ops: readonly RtnlOp[]): Promise<void>;
  /** Same as batch, on a pool thread: for deletes, which block their thread for 16 to 20 ms in the kernel. */
  batchOffThread(ops: readonly RtnlOp[]): Promise<void>;
}

/** The owner's mark: who made a kernel object, readable without a store. Derived from the instance id alone. */
export interface Mark {
  /** 128 bits as 32 hex digits, made once per state directory. */
  readonly instanceId: string;
  /** First 8 hex digits: part of nft table and iptables chain names and of rule comments. */
  readonly tag: string;
  /** Link group of what is in use. */
  readonly liveGroup: number;
  /** Link group of what waits for deletion. */
  readonly deadGroup: number;
}

/** Deletes dead links off the JavaScript thread. */
export interface Reaper {
  /** Asks for a pass soon over the dead group of the host namespace; returns at once. Many calls share one pass. */
  kick(): void;
  /** Has a pass that was asked for begin at once. Resolves when no dead link is left or a pass failed twice. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

export interface ConntrackMatch {
  readonly family: IpFamily;
  /** Any of: original source, original destination, reply source. */
  readonly address?: Address;
  /** Original destination port with protocol. */
  readonly protocol?: 'tcp' | 'udp' | 'sctp';
  readonly originalDestinationPort?: number;
  readonly originalDestination?: Address;
  /** Original destination is an address of a link of the namespace, or loopback; routes of type local do not count. */
  readonly isToHost?: true;
  /** Answered by none of these: not translated, or to another address. */
  readonly notAnsweredBy?: readonly Address[];
}
