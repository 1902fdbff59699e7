/** Sole owner of the guests' records: memory for lookups, the store for keeps. */

import type { EndpointId, NetworkId } from '../../base/index.ts';
import { Collection, type Store } from '../../store/index.ts';
import { recordCodec } from '../records.ts';
import { Ages } from './ages.ts';
import type { GuestEndpoint, GuestNetwork, GuestPool } from './records.ts';

export interface GuestChange {
  readonly networks?: readonly GuestNetwork[];
  readonly endpoints?: readonly GuestEndpoint[];
  readonly pools?: readonly GuestPool[];
  readonly remove?: { readonly network?: NetworkId; readonly endpoint?: EndpointId; readonly pool?: string };
  /** On disk before the promise resolves. */
  readonly durable?: boolean;
}

export class GuestState {
  readonly #store: Store;
  readonly #networks: Collection<GuestNetwork>;
  readonly #endpoints: Collection<GuestEndpoint>;
  readonly #pools: Collection<GuestPool>;
  readonly networks = new Map<NetworkId, GuestNetwork>();
  readonly endpoints = new Map<EndpointId, GuestEndpoint>();
  /** By the pool's id in its IPAM driver. */
  readonly pools = new Map<string, GuestPool>();
  /** Of pools that no network has come for, and leases that no endpoint has come for. */
  readonly ages: Ages;

  private constructor(store: Store, steady: () => number) {
    this.ages = new Ages(steady);
    this.#store = store;
    this.#networks = new Collection(store, 'guest-network', recordCodec<GuestNetwork>('guest-network'));
    this.#endpoints = new Collection(store, 'guest-endpoint', recordCodec<GuestEndpoint>('guest-endpoint'));
    this.#pools = new Collection(store, 'guest-pool', recordCodec<GuestPool>('guest-pool'));
  }

  /** `steady`: as of Env. */
  static async open(store: Store, steady: () => number): Promise<GuestState> {
    const state = new GuestState(store, steady);
    for (const one of await state.#networks.all()) state.networks.set(one.id, one);
    for (const one of await state.#endpoints.all()) state.endpoints.set(one.id, one);
    for (const one of await state.#pools.all()) state.pools.set(one.pool, one);
    return state;
  }

  /** Writes the change to the store, then makes it visible. */
  async commit(change: GuestChange): Promise<void> {
    const { networks = [], endpoints = [], pools = [], remove = {} } = change;
    const pool = remove.pool === undefined ? undefined : this.pools.get(remove.pool);
    await this.#store.commit({
      put: [
        ...networks.map((one) => this.#networks.write(one)),
        ...endpoints.map((one) => this.#endpoints.write(one)),
        ...pools.map((one) => this.#pools.write(one)),
      ],
      remove: [
        ...(remove.network ? [this.#networks.key(remove.network)] : []),
        ...(remove.endpoint ? [this.#endpoints.key(remove.endpoint)] : []),
        ...(pool ? [this.#pools.key(pool.id)] : []),
      ],
      durable: change.durable ?? false,
    });
    for (const one of networks) this.networks.set(one.id, one);
    for (const one of endpoints) this.endpoints.set(one.id, one);
    for (const one of pools) this.pools.set(one.pool, one);
    if (remove.network) this.networks.delete(remove.network);
    if (remove.endpoint) this.endpoints.delete(remove.endpoint);
    if (remove.pool) this.pools.delete(remove.pool);
  }

  endpointsOf(network: NetworkId): GuestEndpoint[] {
    return [...this.endpoints.values()].filter((ep) => ep.network === network);
  }
}
