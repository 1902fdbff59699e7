/** What is remembered for foreign engines: networks and endpoints that they own, whose addresses and sandboxes are theirs. */

import type { Address, EndpointId, IpFamily, Json, Mac, NetworkId, Prefix, SandboxId } from '../../base/index.ts';
import type { DriverNetwork, DriverOptions, DriverPool, GatewayRoles, PortBinding, StaticRoute } from '../../driver/index.ts';
import type { PoolId } from '../../ipam/index.ts';
import type { AllocatedPort, WantedPort } from '../../portmap/index.ts';
import type { RecordBase } from '../records.ts';

/** Owner of what was asked for over the plugin protocol. */
export const ENGINE = 'engine';

/** A network as an engine asks for it. */
export interface GuestNetworkSpec {
  readonly internal: boolean;
  readonly enableIPv4: boolean;
  readonly enableIPv6: boolean;
  readonly options: DriverOptions;
  readonly v4: readonly DriverPool[];
  readonly v6: readonly DriverPool[];
}

export interface GuestNetwork extends RecordBase {
  readonly id: NetworkId;
  readonly phase: 'creating' | 'ready' | 'deleting';
  readonly driver: string;
  readonly asked: GuestNetworkSpec;
  readonly driverState: Json;
  /** The network of the cluster that it stands for, as drivers see it. Absent: it is one by itself. */
  readonly home?: DriverNetwork;
  /** The id of that network, noted before it is made; `home` comes after. */
  readonly planned?: NetworkId;
  /** It was removed from the cluster. Default false. */
  readonly isHomeless?: boolean;
  /** Identity of the engine that was seen to have it. Absent: nobody may say that it is forgotten. */
  readonly engine?: string;
  /** Why the network does not work as wished. */
  readonly degraded?: string;
}

/** An endpoint as an engine asks for it. */
export interface GuestEndpointSpec {
  readonly mac?: Mac;
  readonly v4?: Prefix;
  readonly v6?: Prefix;
  readonly options: DriverOptions;
  readonly publish: readonly WantedPort[];
}

/** Where an endpoint is joined. */
export interface GuestJoin {
  /** Path of the sandbox's namespace, as the engine names it. */
  readonly key: string;
  /** Of the namespace, once it was seen. */
  readonly identity?: string;
  /** Name of the sandbox side: inside, or on the host until the engine takes it. */
  readonly ifname: string;
  /** The engine moves the link, and names and addresses it. */
  readonly isBare: boolean;
  /** What the engine calls the link that it moved, once that was seen. */
  readonly seenAs?: string;
  /** What the engine was told to lay. Absent in records of before. */
  readonly told?: GuestWays;
  /** Ports of the keeper's resolver in the sandbox, which it has for the names of the cluster. */
  readonly resolver?: { readonly udp: number; readonly tcp: number };
}

/** Gateways and routes of an endpoint. */
export interface GuestWays {
  readonly gateway?: Address;
  readonly gateway6?: Address;
  readonly routes: readonly StaticRoute[];
}

export interface GuestEndpoint extends RecordBase {
  readonly id: EndpointId;
  readonly network: NetworkId;
  readonly phase: 'creating' | 'ready' | 'joining' | 'joined' | 'leaving' | 'deleting';
  readonly asked: GuestEndpointSpec;
  /** The one in use: asked for, or chosen by the driver. */
  readonly mac?: Mac;
  readonly driverState: Json;
  readonly join?: GuestJoin;
  /** Wished now: asked for at the creation, or told since. */
  readonly publish: readonly WantedPort[];
  /** What the engine made it: it elects the gateway of its sandboxes. */
  readonly roles: GatewayRoles;
  readonly held: readonly AllocatedPort[];
  /** What is held is being published, and the engine has not been told that it is. */
  readonly isPublishing?: boolean;
  readonly bindings: readonly PortBinding[];
  /** Names that its engine gives it, lower case; absent until the engine was asked. */
  readonly names?: readonly string[];
}

/** Where a pool of an engine lies in the cluster. */
export interface HomePool {
  /** The network whose pool it is, or whose it becomes when it is made. */
  readonly network: NetworkId;
  /** Its name, where the engine's user gave it with the pool. */
  readonly name?: string;
  /** The pool that addresses are leased from; empty while that is only asked for. */
  readonly lease: PoolId;
  /** The engine's network that has it; absent until that is created. */
  readonly guest?: NetworkId;
}

interface GuestAddress {
  readonly address: Address;
  /** For whom, in the engine's words. */
  readonly owner: string;
  /** In whose name; absent in records of before: the pool's. */
  readonly lease?: string;
  /** When it was asked for, in a network of the cluster; absent in records of before, which stay. */
  readonly since?: number;
}

/** A pool leased through the IPAM face, with what is leased from it. */
export interface GuestPool extends RecordBase {
  /** Also the owner of the lease. */
  readonly id: string;
  /** What the engine calls it. */
  readonly pool: PoolId;
  /** Absent: it is a pool of this host. */
  readonly home?: HomePool;
  readonly family: IpFamily;
  readonly space: string;
  readonly prefix: Prefix;
  readonly range?: Prefix;
  readonly options: Readonly<Record<string, string>>;
  /** As GuestNetwork.engine: who was seen to have a network of this subnet. */
  readonly engine?: string;
  readonly addresses: readonly GuestAddress[];
}

/** Host ports of a guest are held in the endpoint's own name: the engine does not tell what else is in its sandbox. */
export const holderOf = (id: EndpointId): SandboxId => id as string as SandboxId;
