/** What every use case works with, and the values that drivers are handed. */

import type { Balancer } from '../balance/index.ts';
import { type Address, type Env, type NetworkId, CnmError, KeyedLock, type Turns } from '../base/index.ts';
import type { Cluster } from '../cluster/index.ts';
import type { Ctx, Driver, DriverEndpoint, DriverNetwork, DriverRegistry, IpamRegistry } from '../driver/index.ts';
import type { Firewall } from '../firewall/index.ts';
import type { KeeperLink } from '../keeper/index.ts';
import type { Mark, Netns, Reaper } from '../kernel/index.ts';
import type { AllocatorOptions, PortAllocator } from '../portmap/index.ts';
import type { Store } from '../store/index.ts';
import { GATEWAY_NETWORK } from './gateway-names.ts';
import type { Lodgers } from './lodgers.ts';
import type { EndpointRecord, NetworkRecord } from './records.ts';
import type { ServicePlaces } from './services/contract.ts';
import type { SharedNetworks } from './shared/contract.ts';
import { isPredefined } from './spec.ts';
import type { State } from './state.ts';

/** Leases and names that are told again at once in a start: each waits for an answer of the cluster or the keeper. */
export const REPLAYS_AT_ONCE = 16;

export interface ControllerParts {
  readonly store: Store;
  readonly drivers: DriverRegistry;
  readonly ipams: IpamRegistry;
  readonly keeper: KeeperLink;
  readonly firewall: Firewall;
  /** Sends connections to services to their members, in the namespaces of their clients. */
  readonly balancer: Balancer;
  /** Which host ports may be chosen where none is named. */
  readonly hostPorts: Pick<AllocatorOptions, 'ephemeral' | 'reserved'>;
  /** The namespace whose traffic we steer; sandboxes hang off it. */
  readonly host: Netns;
  readonly mark: Mark;
  readonly reaper: Reaper;
  /** Holds `netns/` and `sandboxes/`. */
  readonly runDir: string;
  /** Time between two looks for what others took from the kernel, milliseconds; 0: never. */
  readonly mendEveryMs: number;
  readonly env: Env;
  /** The hosts that share networks; absent: this one is alone. */
  readonly cluster?: Cluster;
  /** Nameservers for every sandbox that names none; empty: the host's own. */
  readonly dns: readonly Address[];
  /** Default network: its device is chosen, adopted (`name`), or there is none. */
  readonly defaultBridge:
    | { readonly kind: 'auto' }
    | { readonly kind: 'adopt'; readonly name: string }
    | { readonly kind: 'none' };
}

/** The parts and the state that use cases share. */
export interface Cnm extends ControllerParts {
  readonly state: State;
  readonly ports: PortAllocator;
  /** Keys: `name:…`, `sandbox:…`, `endpoint:…`, `netns:…`, `network:…`; taken in that order. */
  readonly locks: KeyedLock;
  /** Each step of a join or leave that works in the kernel takes one. */
  readonly turns: Turns;
  /** Networks whose leases the start could not have again: only another start can mend them. */
  readonly unleased: Set<NetworkId>;
  /** Networks whose foreign IPAM driver has still to be told of their leases. */
  readonly untold: Set<NetworkId>;
  /** Networks of all hosts of the cluster; absent: this host is alone. */
  shared?: SharedNetworks;
  /** What engines have in networks of the cluster; set before anything is done. */
  lodgers?: Lodgers;
  /** Services of networks; set before anything is done. */
  services?: ServicePlaces;
  /** True from the first step of stopping: new work is refused. */
  closing: boolean;
}

export const contextOf = (signal?: AbortSignal): Ctx => ({ signal: signal ?? new AbortController().signal });

/** Throws client_gone when the caller went away: the surrounding undoable takes back what was done. */
export function stillWanted(ctx: Ctx): void {
  if (ctx.signal.aborted) throw new CnmError('client_gone', 'the client went away before the operation was done');
}

/** Throws shutting_down once the daemon stops. */
export function refuseWhenClosing(cnm: Cnm): void {
  if (cnm.closing) throw new CnmError('shutting_down', 'the daemon is stopping');
}

export const driverOf = (cnm: Cnm, net: NetworkRecord): Driver => cnm.drivers.get(net.driver);

/** Our drivers, and the foreign ones that networks are of. */
export function driversInUse({ drivers, state }: Cnm): Driver[] {
  const foreign = new Set(state.allNetworks().flatMap(({ driver }) => (drivers.isForeign(driver) ? driver : [])));
  return [...drivers.all(), ...[...foreign].flatMap((name) => drivers.find(name) ?? [])];
}

/** The network as its driver sees it. */
export function driverNetwork(net: NetworkRecord): DriverNetwork {
  const pools = (family: 4 | 6) =>
    net.pools
      .filter((pool) => pool.family === family)
      .map(({ prefix, space, gateway, aux }) => ({ prefix, aux, ...(space && { space }), ...(gateway && { gateway }) }));
  return {
    id: net.id,
    name: net.name,
    internal: net.internal,
    enableIPv4: net.enableIPv4,
    enableIPv6: net.enableIPv6,
    options: net.options,
    v4: pools(4),
    v6: pools(6),
    state: net.driverState,
    ...(net.shared === true && { isShared: true }),
  };
}

/** The endpoint as its driver sees it. */
export function driverEndpoint(ep: EndpointRecord): DriverEndpoint {
  return {
    id: ep.id,
    name: ep.name,
    iface: { ...(ep.mac && { mac: ep.mac }), ...(ep.v4 && { v4: ep.v4 }), ...(ep.v6 && { v6: ep.v6 }) },
    linkLocal: ep.linkLocal,
    options: ep.options,
    state: ep.driverState,
  };
}

/** Names are served on user-defined networks only, and not on the gateway bridge (spec 08 W1, L9). */
export const servesNames = (net: NetworkRecord): boolean =>
  !isPredefined(net.name) && net.name !== GATEWAY_NETWORK && !net.ingress && !net.configOnly;
