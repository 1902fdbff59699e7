/** Sole owner of the records: memory for lookups, the store for keeps. */

import {
  CnmError,
  type EndpointId,
  type Json,
  type NetworkId,
  type SandboxId,
  type ServiceId,
  shortId,
  shown,
} from '../base/index.ts';
import { Collection, type Key, type Store } from '../store/index.ts';
import type { RecordChange } from './events.ts';
import { type EndpointRecord, type NetworkRecord, type SandboxRecord, type ServiceRecord, recordCodec } from './records.ts';

export interface StateChange {
  readonly networks?: readonly NetworkRecord[];
  readonly endpoints?: readonly EndpointRecord[];
  readonly sandboxes?: readonly SandboxRecord[];
  readonly services?: readonly ServiceRecord[];
  readonly remove?: {
    readonly network?: NetworkId;
    readonly endpoint?: EndpointId;
    readonly sandbox?: SandboxId;
    readonly service?: ServiceId;
  };
  /** On disk before the promise resolves: what must survive a power loss. */
  readonly durable?: boolean;
}

/** Beyond this the clock has been set back, and is believed. */
const TIED_MS = 1000;

export class State {
  readonly #store: Store;
  readonly #networks: Collection<NetworkRecord>;
  readonly #endpoints: Collection<EndpointRecord>;
  readonly #sandboxes: Collection<SandboxRecord>;
  readonly #services: Collection<ServiceRecord>;
  readonly #networkById = new Map<NetworkId, NetworkRecord>();
  readonly #endpointById = new Map<EndpointId, EndpointRecord>();
  readonly #sandboxById = new Map<SandboxId, SandboxRecord>();
  readonly #serviceById = new Map<ServiceId, ServiceRecord>();
  readonly #byNetwork = new Map<NetworkId, Set<EndpointId>>();
  readonly #bySandbox = new Map<SandboxId, Set<EndpointId>>();
  /** What the store has still to get of changes that were taken back. */
  readonly #owed = new Map<Key, Json | undefined>();
  #lastStamp = 0;

  /** Told of each record that a commit has changed, in its order. */
  onChange: ((change: RecordChange) => void) | undefined;

  private constructor(store: Store) {
    this.#store = store;
    this.#networks = new Collection(store, 'network', recordCodec<NetworkRecord>('network'));
    this.#endpoints = new Collection(store, 'endpoint', recordCodec<EndpointRecord>('endpoint'));
    this.#sandboxes = new Collection(store, 'sandbox', recordCodec<SandboxRecord>('sandbox'));
    this.#services = new Collection(store, 'service', recordCodec<ServiceRecord>('service'));
  }

  static async open(store: Store): Promise<State> {
    const state = new State(store);
    // In the order of their making, as they stood in memory: what is derived from lists, such as rules, comes out the same.
    for (const record of inOrder(await state.#networks.all())) state.#networkById.set(record.id, record);
    for (const record of inOrder(await state.#sandboxes.all())) state.#sandboxById.set(record.id, record);
    for (const record of inOrder(await state.#endpoints.all())) state.#index(record);
    for (const record of inOrder(await state.#services.all())) state.#serviceById.set(record.id, record);
    return state;
  }

  /**
   * Time of making for a new record, milliseconds: `now`, or a moment later where another one was made in the same millisecond, so
   * that their order outlives a restart.
   */
  stamp(now: number): number {
    const isTied = now <= this.#lastStamp && this.#lastStamp - now < TIED_MS;
    this.#lastStamp = isTied ? this.#lastStamp + 1 : now;
    return this.#lastStamp;
  }

  /** Writes the change to the store, then makes it visible. */
  async commit(change: StateChange): Promise<void> {
    const own = this.#written(change);
    const owed = this.#owed.size === 0 ? [] : [...this.#owed].filter(([key]) => !own.has(key));
    const all = [...owed, ...own];
    await this.#store.commit({
      put: all.flatMap(([key, value]) => (value === undefined ? [] : [{ key, value }])),
      remove: all.flatMap(([key, value]) => (value === undefined ? [key] : [])),
      durable: change.durable ?? false,
    });
    for (const key of own.keys()) this.#owed.delete(key);
    // What came to be owed meanwhile is another value.
    for (const [key, value] of owed) if (this.#owed.get(key) === value) this.#owed.delete(key);
    this.#show(change);
  }

  /**
   * For undo: what the change takes back is undone already, hence it becomes visible also when the store takes no changes. The
   * store gets it with the next commit; until then it has the records of something half-made, which a start ends.
   */
  async takeBack(change: StateChange): Promise<void> {
    try {
      await this.commit(change);
    } catch {
      for (const [key, value] of this.#written(change)) this.#owed.set(key, value);
      this.#show(change);
    }
  }

  /** What the store gets by key; undefined: the key goes. */
  #written({ networks = [], endpoints = [], sandboxes = [], services = [], remove }: StateChange): Map<Key, Json | undefined> {
    const put = [
      ...networks.map((r) => this.#networks.write(r)),
      ...endpoints.map((r) => this.#endpoints.write(r)),
      ...sandboxes.map((r) => this.#sandboxes.write(r)),
      ...services.map((r) => this.#services.write(r)),
    ];
    const gone = [
      ...(remove?.network ? [this.#networks.key(remove.network)] : []),
      ...(remove?.endpoint ? [this.#endpoints.key(remove.endpoint)] : []),
      ...(remove?.sandbox ? [this.#sandboxes.key(remove.sandbox)] : []),
      ...(remove?.service ? [this.#services.key(remove.service)] : []),
    ];
    return new Map([...gone.map((key) => [key, undefined] as const), ...put.map(({ key, value }) => [key, value] as const)]);
  }

  #show(change: StateChange): void {
    const { remove } = change;
    const changes = this.onChange === undefined ? [] : this.#changesOf(change);
    for (const record of change.networks ?? []) this.#networkById.set(record.id, record);
    for (const record of change.sandboxes ?? []) this.#sandboxById.set(record.id, record);
    for (const record of change.endpoints ?? []) this.#index(record);
    for (const record of change.services ?? []) this.#serviceById.set(record.id, record);
    if (remove?.network) this.#networkById.delete(remove.network);
    if (remove?.sandbox) this.#sandboxById.delete(remove.sandbox);
    if (remove?.endpoint) this.#unindex(remove.endpoint);
    if (remove?.service) this.#serviceById.delete(remove.service);
    for (const one of changes) this.onChange?.(one);
  }

  #changesOf({ networks = [], endpoints = [], sandboxes = [], services = [], remove }: StateChange): RecordChange[] {
    return [
      ...networks.map((after) => ({ kind: 'network', before: this.#networkById.get(after.id), after }) as const),
      ...sandboxes.map((after) => ({ kind: 'sandbox', before: this.#sandboxById.get(after.id), after }) as const),
      ...endpoints.map((after) => ({ kind: 'endpoint', before: this.#endpointById.get(after.id), after }) as const),
      ...services.map((after) => ({ kind: 'service', before: this.#serviceById.get(after.id), after }) as const),
      ...(remove?.service ? [{ kind: 'service', before: this.#serviceById.get(remove.service), after: undefined } as const] : []),
      ...(remove?.endpoint
        ? [{ kind: 'endpoint', before: this.#endpointById.get(remove.endpoint), after: undefined } as const]
        : []),
      ...(remove?.sandbox ? [{ kind: 'sandbox', before: this.#sandboxById.get(remove.sandbox), after: undefined } as const] : []),
      ...(remove?.network ? [{ kind: 'network', before: this.#networkById.get(remove.network), after: undefined } as const] : []),
    ];
  }

  /** A record that is there keeps its place: lists stay in the order of making. */
  #index(record: EndpointRecord): void {
    const old = this.#endpointById.get(record.id);
    this.#endpointById.set(record.id, record);
    if (old?.network !== record.network) {
      if (old !== undefined) shrink(this.#byNetwork, old.network, record.id);
      grow(this.#byNetwork, record.network, record.id);
    }
    const sandbox = sandboxOf(record);
    const before = old === undefined ? undefined : sandboxOf(old);
    if (before === sandbox) return;
    if (before !== undefined) shrink(this.#bySandbox, before, record.id);
    if (sandbox !== undefined) grow(this.#bySandbox, sandbox, record.id);
  }

  #unindex(id: EndpointId): void {
    const old = this.#endpointById.get(id);
    if (old === undefined) return;
    this.#endpointById.delete(id);
    shrink(this.#byNetwork, old.network, id);
    const sandbox = sandboxOf(old);
    if (sandbox !== undefined) shrink(this.#bySandbox, sandbox, id);
  }

  /** Every record, whatever its phase. */
  allNetworks(): NetworkRecord[] {
    return [...this.#networkById.values()];
  }

  /** Networks that exist for users: neither half-made nor going away. */
  networks(): NetworkRecord[] {
    return this.allNetworks().filter((n) => n.phase === 'ready');
  }

  allSandboxes(): SandboxRecord[] {
    return [...this.#sandboxById.values()];
  }

  sandboxes(): SandboxRecord[] {
    return this.allSandboxes().filter((s) => s.phase === 'ready');
  }

  allEndpoints(): EndpointRecord[] {
    return [...this.#endpointById.values()];
  }

  networkById(id: NetworkId): NetworkRecord | undefined {
    return this.#networkById.get(id);
  }

  sandboxById(id: SandboxId): SandboxRecord | undefined {
    return this.#sandboxById.get(id);
  }

  endpointById(id: EndpointId): EndpointRecord | undefined {
    return this.#endpointById.get(id);
  }

  /** Every endpoint record of the network, whatever its phase. */
  endpointsOfNetwork(id: NetworkId): EndpointRecord[] {
    return this.#listed(this.#byNetwork.get(id));
  }

  /** Every endpoint record that is joined to the sandbox, or made to be; whatever its phase. */
  endpointsOfSandbox(id: SandboxId): EndpointRecord[] {
    return this.#listed(this.#bySandbox.get(id));
  }

  #listed(ids: Set<EndpointId> | undefined): EndpointRecord[] {
    return [...(ids ?? [])].flatMap((id) => this.#endpointById.get(id) ?? []);
  }

  /** Every service record, whatever its phase. */
  allServices(): ServiceRecord[] {
    return [...this.#serviceById.values()];
  }

  /** The same of one network. Nearly always there is none at all. */
  servicesOfNetwork(id: NetworkId): ServiceRecord[] {
    return this.#serviceById.size === 0 ? [] : this.allServices().filter(({ network }) => network === id);
  }

  serviceById(id: ServiceId): ServiceRecord | undefined {
    return this.#serviceById.get(id);
  }

  /** By full id, name, `NETWORK/NAME` or unique id prefix. Throws no_service or ambiguous_name. */
  service(term: string): ServiceRecord {
    const missing = (): CnmError => new CnmError('no_service', `service ${shown(term)} not found`);
    const slash = term.lastIndexOf('/');
    const [home, name] = slash < 0 ? [undefined, term] : [this.network(term.slice(0, slash)), term.slice(slash + 1)];
    const all = home === undefined ? this.allServices() : this.servicesOfNetwork(home.id);
    return lookup(all.filter(isMade), name, 'service', missing);
  }

  /** Full id, then full name, then unique id prefix (spec 02 I1). Throws no_network or ambiguous_name. */
  network(term: string): NetworkRecord {
    return lookup(this.networks(), term, 'network', () => new CnmError('no_network', `network ${shown(term)} not found`));
  }

  /** Same order of resolution for sandboxes. Throws no_sandbox or ambiguous_name. */
  sandbox(term: string): SandboxRecord {
    return lookup(this.sandboxes(), term, 'sandbox', () => new CnmError('no_sandbox', `No such sandbox: ${shown(term)}`));
  }

  /** The same for endpoints, also `NETWORK/NAME`, whatever their phase once they are made. Throws no_endpoint or ambiguous_name. */
  endpoint(term: string): EndpointRecord {
    const missing = (): CnmError => new CnmError('no_endpoint', `endpoint ${shown(term)} not found`);
    const slash = term.lastIndexOf('/');
    const [home, name] = slash < 0 ? [undefined, term] : [this.network(term.slice(0, slash)), term.slice(slash + 1)];
    const all = home === undefined ? this.allEndpoints() : this.endpointsOfNetwork(home.id);
    const made = all.filter((ep) => ep.phase !== 'creating');
    return lookup(made, name, 'endpoint', missing);
  }
}

/** An endpoint of a connect belongs to its sandbox also while it is on its way in or out. */
const sandboxOf = (ep: EndpointRecord): SandboxId | undefined => ep.sandbox ?? ep.boundTo;

/** One whose removal is not through can be named, so that it may be removed again. */
const isMade = ({ phase }: ServiceRecord): boolean => phase !== 'creating';

const inOrder = <T extends { readonly created: number }>(records: readonly T[]): T[] =>
  [...records].sort((a, b) => a.created - b.created);

function grow<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const set = index.get(key);
  if (set === undefined) index.set(key, new Set([value]));
  else set.add(value);
}

function shrink<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const set = index.get(key);
  set?.delete(value);
  if (set?.size === 0) index.delete(key);
}

function lookup<T extends { id: string; name: string }>(
  all: readonly T[],
  term: string,
  what: string,
  missing: () => CnmError,
): T {
  if (term === '') throw missing();
  const exact = all.find((r) => r.id === term);
  if (exact !== undefined) return exact;
  const named = all.filter((r) => r.name === term);
  if (named.length > 1) throw ambiguous(named.length, 'name', what, term);
  if (named[0] !== undefined) return named[0];
  const prefixed = all.filter((r) => r.id.startsWith(term));
  if (prefixed.length > 1) throw ambiguous(prefixed.length, 'ID prefix', what, term, prefixed);
  if (prefixed[0] !== undefined) return prefixed[0];
  throw missing();
}

function ambiguous(count: number, by: string, what: string, term: string, found: readonly { id: string }[] = []): CnmError {
  const ids =
    found.length > 0
      ? ` (${found
          .slice(0, 5)
          .map((r) => shortId(r.id))
          .join(', ')})`
      : '';
  return new CnmError('ambiguous_name', `${count} matches found based on ${by}: ${what} ${shown(term)} is ambiguous${ids}`);
}
