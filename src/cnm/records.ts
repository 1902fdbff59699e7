/**
 * What the controller remembers: readonly values joined by id. Each record is written before the first effect that it
 * stands for (`creating`, `joining`) and before the first effect that takes it back (`leaving`, `deleting`).
 */

import {
  type Address,
  CnmError,
  type EndpointId,
  type IpFamily,
  type Json,
  type Mac,
  type NetworkId,
  type Prefix,
  type SandboxId,
  type ServiceId,
} from '../base/index.ts';
import type { JoinResult, PortBinding, WayOut } from '../driver/index.ts';
import type { PoolId } from '../ipam/index.ts';
import type { Upstream } from '../keeper/index.ts';
import type { AllocatedPort, WantedPort } from '../portmap/index.ts';
import type { Codec } from '../store/index.ts';

/** Version of the record shapes below. */
export const RECORD_SCHEMA = 1;
/** Records made through our own API; a foreign engine's carry its name. */
export const OWN = 'patchbay';

export interface RecordBase {
  readonly schema: number;
  readonly owner: string;
  /** Milliseconds since the epoch. */
  readonly created: number;
}

/** One IPAM configuration as asked for. */
export interface IpamConfig {
  readonly subnet?: Prefix;
  readonly range?: Prefix;
  readonly gateway?: Address;
  readonly aux: Readonly<Record<string, Address>>;
}

/** One subnet of a network as leased. */
export interface NetworkPool {
  readonly family: IpFamily;
  readonly pool: PoolId;
  /** Address space that it is of. */
  readonly space?: string;
  readonly prefix: Prefix;
  readonly range?: Prefix;
  readonly gateway?: Address;
  readonly aux: Readonly<Record<string, Address>>;
}

export interface NetworkRecord extends RecordBase {
  readonly id: NetworkId;
  readonly name: string;
  readonly phase: 'creating' | 'ready' | 'deleting';
  readonly driver: string;
  readonly scope: string;
  /** Of all hosts of the cluster, whose record of it decides; this one is what this host knows of it. Default false. */
  readonly shared?: boolean;
  readonly enableIPv4: boolean;
  readonly enableIPv6: boolean;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  readonly configOnly: boolean;
  readonly configFrom: string;
  readonly ipam: {
    readonly driver: string;
    readonly options: Readonly<Record<string, string>>;
    readonly config: readonly IpamConfig[];
    /** The IPAM driver forgets its leases when the daemon ends. Absent: it does. */
    readonly replays?: boolean;
    /** The IPAM driver is told the MAC before it gives an address. */
    readonly needsMac?: boolean;
  };
  readonly pools: readonly NetworkPool[];
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly driverState: Json;
  /** Why the network does not work as wished. */
  readonly degraded?: string;
}

/** What a join made, kept so that restart and leave need not ask the driver again. */
export interface JoinRecord {
  /** Empty when the driver gave no link. */
  readonly ifname: string;
  /** Name and group that a link has on the host which was moved from there. */
  readonly source?: { readonly name: string; readonly group: number };
  readonly gateway?: Address;
  readonly gateway6?: Address;
  readonly wayOut?: WayOut;
  readonly routes: JoinResult['routes'];
  readonly suppressDefaultGateway: boolean;
}

export interface EndpointRecord extends RecordBase {
  readonly id: EndpointId;
  readonly name: string;
  readonly network: NetworkId;
  readonly phase: 'creating' | 'ready' | 'joining' | 'joined' | 'leaving' | 'deleting';
  /** Joined to it, or on the way in or out. */
  readonly sandbox?: SandboxId;
  /** Made by a connect: it lives exactly as long as it is joined to this sandbox. Absent: it exists by itself. */
  readonly boundTo?: SandboxId;
  readonly mac?: Mac;
  readonly v4?: Prefix;
  readonly v6?: Prefix;
  /** Pools that v4 and v6 are leased from. */
  readonly pools: readonly PoolId[];
  readonly linkLocal: readonly Prefix[];
  readonly aliases: readonly string[];
  /** Names it answers to, lower case; the first one answers PTR. */
  readonly dnsNames: readonly string[];
  readonly options: Readonly<Record<string, string>>;
  readonly gwPriority: number;
  /** As asked for: static addresses, for inspect. */
  readonly asked: { readonly v4?: Address; readonly v6?: Address; readonly mac?: Mac };
  readonly driverState: Json;
  readonly join?: JoinRecord;
  /** Published now through this endpoint. */
  readonly bindings: readonly PortBinding[];
  /** Services of the network that the endpoint is a member of. Absent: none. */
  readonly services?: readonly Membership[];
}

/** An endpoint's place in a service. */
export interface Membership {
  readonly service: ServiceId;
  /** `draining`: it keeps the connections that it has. Only `healthy` ones take new ones and are in names. */
  readonly state: 'starting' | 'healthy' | 'unhealthy' | 'draining';
  /** Of one that drains: it is no member any more when it has no connections left, then at the latest; milliseconds since the epoch. */
  readonly leavesBy?: number;
}

/** A published port of a service: on every host `published` leads to `target` of the members. */
export interface ServicePort {
  readonly protocol: 'tcp' | 'udp';
  readonly published: number;
  readonly target: number;
}

/** How a member's host finds out whether it serves; times in milliseconds. */
export interface HealthCheck {
  readonly probe:
    | { readonly kind: 'command'; readonly command: string }
    | { readonly kind: 'http'; readonly port: number; readonly path: string }
    | { readonly kind: 'tcp'; readonly port: number };
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Failures in a row that make a member unhealthy. */
  readonly retries: number;
  /** Failures so soon after it became a member do not count. */
  readonly startPeriodMs: number;
}

export interface ServiceRecord extends RecordBase {
  readonly id: ServiceId;
  /** Unique in its network. */
  readonly name: string;
  readonly network: NetworkId;
  readonly phase: 'creating' | 'ready' | 'deleting';
  /** `vip`: the name is one virtual address, which clients balance; `dnsrr`: it is the members' own addresses. */
  readonly mode: 'vip' | 'dnsrr';
  /** Further names, lower case. */
  readonly aliases: readonly string[];
  /** One of each family of the network, IPv4 first; none with `dnsrr`. */
  readonly vips: readonly { readonly address: Address; readonly pool: PoolId }[];
  readonly ports: readonly ServicePort[];
  readonly health?: HealthCheck;
  readonly labels: Readonly<Record<string, string>>;
}

export interface SandboxRecord extends RecordBase {
  readonly id: SandboxId;
  readonly name: string;
  readonly phase: 'creating' | 'ready' | 'deleting';
  readonly hostname: string;
  /** Our pin. */
  readonly key: string;
  /** Netns.identity; set once the namespace exists. */
  readonly identity?: string;
  /** Path given by the user; the namespace is not ours to clear. */
  readonly adopted?: string;
  readonly mode: 'own' | 'host';
  /** Published ports as asked for. */
  readonly publish: readonly WantedPort[];
  /** Declared only, as `80/tcp`. */
  readonly exposed: readonly string[];
  /** Host ports that are ours, from the first network on that can lead to them until the sandbox ends. */
  readonly held: readonly AllocatedPort[];
  /** Families that `held` was made for. */
  readonly heldFamilies: { readonly v4: boolean; readonly v6: boolean };
  readonly dns: readonly Address[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  readonly extraHosts: readonly { readonly name: string; readonly address: Address }[];
  readonly labels: Readonly<Record<string, string>>;
  readonly autoRemove: boolean;
  /** Ports of the resolver's sockets and whom it asks, once it runs; fixed until the sandbox ends (spec 01 R9). */
  readonly resolver?: { readonly udp: number; readonly tcp: number; readonly upstreams: readonly Upstream[] };
  readonly process?: { readonly pid: number; readonly startTime: string };
  readonly exited?: boolean;
}

/** Decodes by version alone: the writer is this program, and the store guards its own bytes. */
export function recordCodec<T extends RecordBase>(kind: string): Codec<T> {
  return {
    decode(value: Json): T {
      const record = value as unknown as T;
      if (typeof record !== 'object' || record === null || typeof record.schema !== 'number') {
        throw new CnmError('store_corrupt', `a ${kind} record has no version`);
      }
      if (record.schema > RECORD_SCHEMA) {
        throw new CnmError('store_newer', `a ${kind} record has version ${record.schema}, this program knows ${RECORD_SCHEMA}`);
      }
      return record;
    },
    encode: (record) => record as unknown as Json,
  };
}
