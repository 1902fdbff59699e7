/** Networks and endpoints on behalf of foreign engines: they own addresses, names and sandboxes, we make links and rules. */

import type { Address, EndpointId, Mac, NetworkId, Prefix } from '../../base/index.ts';
import type { Driver } from '../../driver/index.ts';
import { type Cnm, contextOf } from '../context.ts';
import type { Hosting } from './context.ts';
import { createGuestEndpoint, deleteGuestEndpoint, forgetGuestEndpoint, programGuest } from './endpoints.ts';
import { type HomePoolRequest, requestHomePool } from './home-leases.ts';
import { type GuestJoined, joinGuest, leaveGuest } from './join.ts';
import {
  type GuestPoolRequest,
  guestSpaces,
  notePoolEngine,
  releaseGuestAddress,
  releaseGuestPool,
  requestGuestAddress,
  requestGuestPool,
} from './leases.ts';
import { Lodging } from './lodging.ts';
import { nameGuest } from './names.ts';
import { type GuestExternal, revokeGuest } from './ports.ts';
import { createGuestNetwork, deleteGuestNetwork, noteEngine } from './networks.ts';
import type { GuestEndpoint, GuestEndpointSpec, GuestNetwork, GuestNetworkSpec, GuestPool } from './records.ts';
import type { GuestState } from './state.ts';

export type { GuestJoined } from './join.ts';
export type { GuestPoolRequest } from './leases.ts';
export type { GuestEndpoint, GuestEndpointSpec, GuestNetwork, GuestNetworkSpec } from './records.ts';

type Run = <T>(begin: () => Promise<T>) => Promise<T>;

/** The door for `plugin`. Every method may be repeated: engines do, and their retries come late. */
export class Guests {
  readonly #hosting: Hosting;
  readonly #run: Run;

  /** `run` bounds what is under way. */
  constructor(cnm: Cnm, state: GuestState, run: Run) {
    this.#hosting = { cnm, state };
    this.#run = run;
    cnm.lodgers = new Lodging(this.#hosting);
  }

  /** Throws no_driver. */
  driver(name: string): Driver {
    return this.#hosting.cnm.drivers.get(name);
  }

  createNetwork(driver: string, id: NetworkId, asked: GuestNetworkSpec, signal?: AbortSignal): Promise<void> {
    return this.#run(() => createGuestNetwork(this.#hosting, driver, id, asked, contextOf(signal)));
  }

  deleteNetwork(id: NetworkId): Promise<void> {
    return this.#run(() => deleteGuestNetwork(this.#hosting, id));
  }

  createEndpoint(
    network: NetworkId,
    id: EndpointId,
    asked: GuestEndpointSpec,
    signal?: AbortSignal,
  ): Promise<{ readonly mac?: Mac }> {
    return this.#run(() => createGuestEndpoint(this.#hosting, network, id, asked, contextOf(signal)));
  }

  deleteEndpoint(network: NetworkId, id: EndpointId): Promise<void> {
    return this.#run(() => deleteGuestEndpoint(this.#hosting, network, id));
  }

  /** Whether nothing leads out of a network. False for one that is not here. */
  isInternal(id: NetworkId): boolean {
    return this.#hosting.state.networks.get(id)?.asked.internal === true;
  }

  /** One that its engine has forgotten. */
  forgetEndpoint(network: NetworkId, id: EndpointId): Promise<void> {
    return this.#run(() => forgetGuestEndpoint(this.#hosting, network, id));
  }

  join(network: NetworkId, id: EndpointId, key: string, signal?: AbortSignal): Promise<GuestJoined> {
    return this.#run(() => joinGuest(this.#hosting, network, id, key, contextOf(signal)));
  }

  leave(network: NetworkId, id: EndpointId): Promise<void> {
    return this.#run(() => leaveGuest(this.#hosting, network, id));
  }

  program(network: NetworkId, id: EndpointId, wish: GuestExternal, signal?: AbortSignal): Promise<void> {
    return this.#run(() => programGuest(this.#hosting, network, id, wish, contextOf(signal)));
  }

  revoke(network: NetworkId, id: EndpointId): Promise<void> {
    return this.#run(() => revokeGuest(this.#hosting, network, id));
  }

  noteEngine(id: NetworkId, engine: string): Promise<void> {
    return this.#run(() => noteEngine(this.#hosting, id, engine));
  }

  notePoolEngine(pool: string, engine: string): Promise<void> {
    return this.#run(() => notePoolEngine(this.#hosting, pool, engine));
  }

  networks(): readonly GuestNetwork[] {
    return [...this.#hosting.state.networks.values()];
  }

  endpoints(): readonly GuestEndpoint[] {
    return [...this.#hosting.state.endpoints.values()];
  }

  pools(): readonly GuestPool[] {
    return [...this.#hosting.state.pools.values()];
  }

  addressSpaces(): Promise<{ readonly local: string; readonly global: string }> {
    return guestSpaces(this.#hosting);
  }

  requestPool(asked: GuestPoolRequest): Promise<{ readonly pool: string; readonly prefix: Prefix }> {
    return this.#run(() => requestGuestPool(this.#hosting, asked));
  }

  releasePool(pool: string): Promise<void> {
    return this.#run(() => releaseGuestPool(this.#hosting, pool));
  }

  requestAddress(
    pool: string,
    asked: { readonly address?: Address; readonly owner: string; readonly options: Readonly<Record<string, string>> },
  ): Promise<Prefix> {
    return this.#run(() => requestGuestAddress(this.#hosting, pool, asked));
  }

  /** As requestPool, of a network that hosts share. */
  requestHomePool(asked: HomePoolRequest): Promise<{ readonly pool: string; readonly prefix: Prefix }> {
    return this.#run(() => requestHomePool(this.#hosting, asked));
  }

  /** The engine calls an endpoint so: all hosts of its network are told. */
  nameEndpoint(network: NetworkId, id: EndpointId, names: readonly string[]): Promise<void> {
    return this.#run(() => nameGuest(this.#hosting, network, id, names));
  }

  releaseAddress(pool: string, address: Address): Promise<void> {
    return this.#run(() => releaseGuestAddress(this.#hosting, pool, address));
  }
}
