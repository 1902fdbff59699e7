/** Names of joined endpoints, by network, and what one sandbox may see of them. Pure. */

import type { Address, EndpointId, NetworkId } from '../base/index.ts';

/** What one sandbox may see. */
export interface NameView {
  /** Networks in search order (gateway-priority order); the first one that knows a name answers alone. */
  readonly networks: readonly { readonly id: NetworkId; readonly name: string }[];
  /** False when no network leads outside: host upstreams are not asked then. */
  readonly forwardsFromHost: boolean;
}

/** Names of one joined endpoint. */
export interface NameRecord {
  readonly network: NetworkId;
  readonly networkName: string;
  /** Lower case; the first one is the answer to PTR, as `<name>.<network>`. */
  readonly names: readonly string[];
  readonly addresses: readonly Address[];
  /** The addresses are others' too, whose names answer PTR. Default false. */
  readonly hasNoPointer?: boolean;
}

/** Records under one key, in the order in which they came. */
type Holders = Map<EndpointId, NameRecord>;

interface NetworkNames {
  readonly byName: Map<string, Holders>;
  readonly byAddress: Map<Address, Holders>;
}

function put<K>(index: Map<K, Holders>, key: K, endpoint: EndpointId, record: NameRecord): void {
  const holders = index.get(key);
  if (holders === undefined) index.set(key, new Map([[endpoint, record]]));
  else holders.set(endpoint, record);
}

function drop<K>(index: Map<K, Holders>, key: K, endpoint: EndpointId): void {
  const holders = index.get(key);
  holders?.delete(endpoint);
  if (holders?.size === 0) index.delete(key);
}

export class NameTable {
  readonly #records = new Map<EndpointId, NameRecord>();
  readonly #networks = new Map<NetworkId, NetworkNames>();

  /** Replaces the whole record of an endpoint; null withdraws it. Repeatable. */
  set(endpoint: EndpointId, record: NameRecord | null): void {
    this.#remove(endpoint);
    if (record === null) return;
    this.#records.set(endpoint, record);
    let network = this.#networks.get(record.network);
    if (network === undefined) {
      network = { byName: new Map(), byAddress: new Map() };
      this.#networks.set(record.network, network);
    }
    for (const name of record.names) put(network.byName, name.toLowerCase(), endpoint, record);
    if (record.hasNoPointer === true) return;
    for (const address of record.addresses) put(network.byAddress, address, endpoint, record);
  }

  get(endpoint: EndpointId): NameRecord | undefined {
    return this.#records.get(endpoint);
  }

  endpoints(): readonly EndpointId[] {
    return [...this.#records.keys()];
  }

  get size(): number {
    return this.#records.size;
  }

  /**
   * Addresses of `name` (a trailing dot is nothing), without duplicates, or undefined when no network of the view knows
   * it. `a.b.c` may be that name on any network, `a.b` on network `c`, or `a` on network `b.c`: the first that is known
   * wins. Names compare without case, network names exactly.
   */
  find(view: NameView, name: string): readonly Address[] | undefined {
    const plain = name.endsWith('.') ? name.slice(0, -1) : name;
    if (plain === '') return undefined;
    const lower = plain.toLowerCase();
    const anywhere = this.#findOn(view, lower, undefined);
    if (anywhere !== undefined) return anywhere;
    for (let dot = plain.lastIndexOf('.'); dot > 0; dot = plain.lastIndexOf('.', dot - 1)) {
      const found = this.#findOn(view, lower.slice(0, dot), plain.slice(dot + 1));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** `<first name>.<network>` of the earliest holder of `address` in the view's order, or undefined. */
  reverse(view: NameView, address: Address): string | undefined {
    for (const { id } of view.networks) {
      for (const record of this.#networks.get(id)?.byAddress.get(address)?.values() ?? []) {
        const name = record.names[0];
        if (name !== undefined) return `${name}.${record.networkName}`;
      }
    }
    return undefined;
  }

  #findOn(view: NameView, lower: string, networkName: string | undefined): readonly Address[] | undefined {
    for (const { id, name } of view.networks) {
      if (networkName !== undefined && name !== networkName) continue;
      const holders = this.#networks.get(id)?.byName.get(lower);
      if (holders === undefined) continue;
      const addresses = new Set<Address>();
      for (const record of holders.values()) for (const address of record.addresses) addresses.add(address);
      return [...addresses];
    }
    return undefined;
  }

  #remove(endpoint: EndpointId): void {
    const record = this.#records.get(endpoint);
    if (record === undefined) return;
    this.#records.delete(endpoint);
    const network = this.#networks.get(record.network);
    if (network === undefined) return;
    for (const name of record.names) drop(network.byName, name.toLowerCase(), endpoint);
    for (const address of record.addresses) drop(network.byAddress, address, endpoint);
    if (network.byName.size === 0 && network.byAddress.size === 0) this.#networks.delete(record.network);
  }
}
