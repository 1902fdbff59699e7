/** NetworkController, the one door of the model; Network, Endpoint and Sandbox are thin handles `(controller, id)`. */

import type { EndpointId, Json, NetworkId, SandboxId } from '../base/index.ts';
import { CnmError, KeyedLock, Turns, shortId, steadyOf, within } from '../base/index.ts';
import type { PoolUsage } from '../ipam/index.ts';
import type { HoldConflict } from '../keeper/index.ts';
import { Conflicts } from './conflicts.ts';
import type { Cluster } from '../cluster/index.ts';
import type { Cnm, ControllerParts } from './context.ts';
import { checkDefaults, ensureDefaults } from './defaults.ts';
import { connect, disconnect } from './connections.ts';
import { createByItself, join, leave, operInfo, removeEndpoint } from './endpoint-verbs.ts';
import { EventLog, eventsOf } from './events.ts';
import { type SandboxFiles, filesOf } from './files.ts';
import { removeNetwork } from './ghosts.ts';
import { Guests } from './guests/index.ts';
import { GuestState } from './guests/state.ts';
import { LeaseTroubles } from './lease-troubles.ts';
import { Mender } from './mend.ts';
import { createNetwork } from './networks.ts';
import { Processes } from './processes.ts';
import { Pruner } from './prune.ts';
import { PortAllocator } from '../portmap/index.ts';
import { reconcile, withdraw } from './reconcile.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './records.ts';
import type { Caller } from './callers.ts';
import { type SandboxSpec, createSandbox } from './sandboxes.ts';
import type { EndpointSpec, NetworkSpec } from './spec.ts';
import { Services } from './services/services.ts';
import type { SharedNetworks } from './shared/contract.ts';
import { Shared } from './shared/shared.ts';
import { State } from './state.ts';
import { usageOf } from './usage.ts';

/** Time for operations under way when the controller closes, milliseconds. */
const CLOSE_WAIT_MS = 10_000;
/** Changes under way at once. It bounds every queue below: locks, the store, the packet filter, the keeper. */
const MAX_CHANGES = 1024;

export class NetworkController implements AsyncDisposable {
  readonly #cnm: Cnm;
  readonly #processes: Processes;
  readonly #pruner: Pruner;
  readonly #mender: Mender;
  readonly #conflicts: Conflicts;
  readonly #running = new Set<Promise<unknown>>();
  /** What happens, from the opening on. */
  readonly events: EventLog;
  readonly leaseTroubles: LeaseTroubles;
  /** Networks on behalf of foreign engines. */
  readonly guests: Guests;
  /** Networks that the cluster's hosts share; absent: this host is alone. */
  readonly shared: SharedNetworks | undefined;
  readonly services: Services;
  private constructor(cnm: Cnm, guests: GuestState) {
    this.#cnm = cnm;
    this.shared = cnm.shared;
    this.guests = new Guests(cnm, guests, (begin) => this.#run(begin));
    this.events = new EventLog(cnm.env);
    cnm.state.onChange = (change) => this.events.add(eventsOf(change, cnm.state));
    this.services = new Services(cnm, cnm.cluster);
    this.#processes = new Processes(cnm);
    this.#pruner = new Pruner(cnm);
    this.#mender = new Mender(cnm, guests, cnm.mendEveryMs);
    this.#conflicts = new Conflicts(cnm, this.events);
    this.leaseTroubles = new LeaseTroubles(cnm, this.events);
  }

  /** Opens on a store; the kernel matches the records, and the predefined networks exist, when it resolves. */
  static async open(parts: ControllerParts): Promise<NetworkController> {
    const state = await State.open(parts.store);
    const ports = new PortAllocator({ ...parts.hostPorts, nameOf: (id) => state.sandboxById(id)?.name });
    const cnm: Cnm = {
      ...parts,
      state,
      ports,
      locks: new KeyedLock(),
      turns: new Turns(),
      unleased: new Set(),
      untold: new Set(),
      closing: false,
    };
    if (parts.cluster !== undefined) cnm.shared = new Shared(cnm, parts.cluster);
    const guests = await GuestState.open(parts.store, steadyOf(parts.env));
    const controller = new NetworkController(cnm, guests);
    await checkDefaults(cnm);
    try {
      await reconcile({ cnm, state: guests });
      await ensureDefaults(cnm);
    } catch (error) {
      await withdraw({ cnm, state: guests });
      throw error;
    }
    for (const sandbox of cnm.state.sandboxes()) controller.#processes.watch(sandbox);
    await cnm.shared?.start();
    await controller.services.start();
    controller.#mender.start();
    controller.#conflicts.start();
    controller.leaseTroubles.start();
    return controller;
  }

  /** Creates a network; the warning is empty when there is nothing to say. */
  async createNetwork(spec: NetworkSpec, signal?: AbortSignal, caller?: Caller): Promise<{ network: Network; warning: string }> {
    const { record, warning } = await this.#run(() => createNetwork(this.#cnm, spec, signal, caller));
    return { network: new Network(this, record.id), warning };
  }

  networks(): Network[] {
    return this.#cnm.state.networks().map((record) => new Network(this, record.id));
  }

  /** By full id, full name or unique id prefix. Throws no_network or ambiguous_name. */
  network(term: string): Network {
    return new Network(this, this.#cnm.state.network(term).id);
  }

  /** Errors: no_network, predefined_network, network_in_use. */
  async deleteNetwork(term: string): Promise<void> {
    await this.#run(() => removeNetwork(this.#cnm, term));
  }

  /** Removes unused networks that `wanted` accepts; answers their names. */
  async pruneNetworks(wanted: (net: NetworkRecord) => boolean): Promise<string[]> {
    const removed = await this.#run(() => this.#pruner.prune(wanted));
    this.events.add([{ type: 'network', action: 'prune', id: '', attributes: { reclaimed: '0' } }]);
    return removed;
  }

  /** Creates a sandbox joined to its networks, or nothing. */
  async createSandbox(
    spec: SandboxSpec,
    signal?: AbortSignal,
    caller?: Caller,
  ): Promise<{ sandbox: Sandbox; warnings: readonly string[] }> {
    const { record, warnings } = await this.#run(() => createSandbox(this.#cnm, spec, signal, caller));
    return { sandbox: new Sandbox(this, record.id), warnings };
  }

  sandboxes(): Sandbox[] {
    return this.#cnm.state.sandboxes().map((record) => new Sandbox(this, record.id));
  }

  /** By full id, full name or unique id prefix. Throws no_sandbox or ambiguous_name. */
  sandbox(term: string): Sandbox {
    return new Sandbox(this, this.#cnm.state.sandbox(term).id);
  }

  /** Throws sandbox_busy while its process lives, unless `force`. */
  async deleteSandbox(term: string, force: boolean): Promise<void> {
    await this.#run(() => this.#processes.remove(term, force));
  }

  /** Declares the process that a sandbox stands for. Throws bad_process. */
  async setProcess(term: string, pid: number, caller?: Caller): Promise<void> {
    await this.#run(() => this.#processes.set(term, pid, caller));
  }

  isAlive(id: SandboxId): boolean {
    return this.#processes.isAlive(id);
  }

  /** Creates an endpoint for the sandbox and joins it. When it resolves, the names resolve. */
  async connect(network: string, sandbox: string, spec: EndpointSpec, signal?: AbortSignal): Promise<Endpoint> {
    const record = await this.#run(() => connect(this.#cnm, network, sandbox, spec, signal));
    return new Endpoint(this, record.id);
  }

  /** Leaves and deletes. When it resolves, the names resolve no longer. */
  async disconnect(network: string, sandbox: string, force: boolean): Promise<void> {
    await this.#run(() => disconnect(this.#cnm, network, sandbox, force));
  }

  /** An endpoint that exists by itself: it keeps addresses, MAC and name while it is joined to nothing. */
  async createEndpoint(network: string, name: string, spec: EndpointSpec = {}, signal?: AbortSignal): Promise<Endpoint> {
    const record = await this.#run(() => createByItself(this.#cnm, network, name, spec, signal));
    return new Endpoint(this, record.id);
  }

  /** Every endpoint, joined or not. */
  endpoints(): Endpoint[] {
    const made = this.#cnm.state.allEndpoints().filter((ep) => ep.phase !== 'creating');
    return made.map((ep) => new Endpoint(this, ep.id));
  }

  /** By id, name, `NETWORK/NAME` or unique id prefix. Throws no_endpoint or ambiguous_name. */
  endpoint(term: string): Endpoint {
    return new Endpoint(this, this.#cnm.state.endpoint(term).id);
  }

  /** When it resolves, the names resolve. Throws already_joined. */
  async joinEndpoint(term: string, sandbox: string, signal?: AbortSignal): Promise<void> {
    await this.#run(() => join(this.#cnm, term, sandbox, signal));
  }

  /** Throws not_connected when it is joined to nothing. */
  async leaveEndpoint(term: string): Promise<void> {
    await this.#run(() => leave(this.#cnm, term));
  }

  /** Throws endpoint_active while it is joined, unless `force`. */
  async deleteEndpoint(term: string, force: boolean): Promise<void> {
    await this.#run(() => removeEndpoint(this.#cnm, term, force));
  }

  /** What the endpoint's driver has to tell of it; undefined when it tells nothing. Throws what a plugin's failure throws. */
  driverInfo(id: EndpointId, signal?: AbortSignal): Promise<Readonly<Record<string, Json>> | undefined> {
    return operInfo(this.#cnm, this.endpointRecord(id), signal);
  }

  networkRecord(id: NetworkId): NetworkRecord {
    return found(this.#cnm.state.networkById(id), 'no_network', 'network', id);
  }

  endpointRecord(id: EndpointId): EndpointRecord {
    return found(this.#cnm.state.endpointById(id), 'no_endpoint', 'endpoint', id);
  }

  sandboxRecord(id: SandboxId): SandboxRecord {
    return found(this.#cnm.state.sandboxById(id), 'no_sandbox', 'sandbox', id);
  }

  endpointsOfNetwork(id: NetworkId): readonly EndpointRecord[] {
    return this.#cnm.state.endpointsOfNetwork(id).filter((ep) => ep.phase === 'joined' || ep.phase === 'ready');
  }

  endpointsOfSandbox(id: SandboxId): readonly EndpointRecord[] {
    return this.#cnm.state.endpointsOfSandbox(id).filter((ep) => ep.phase === 'joined');
  }

  /** Address usage of a network's pools; empty where the IPAM driver cannot tell. */
  usage(id: NetworkId): Promise<readonly PoolUsage[]> {
    return usageOf(this.#cnm, this.networkRecord(id));
  }

  /** Host ports of the sandbox that another process has; the keeper tries to get them back. */
  conflictsOfSandbox(id: SandboxId): readonly HoldConflict[] {
    return this.#conflicts.ofSandbox(id);
  }

  /** Those of them that are published through this endpoint. */
  conflictsOfEndpoint(ep: EndpointRecord): readonly HoldConflict[] {
    return this.#conflicts.ofEndpoint(ep);
  }

  files(id: SandboxId): SandboxFiles {
    return filesOf(this.#cnm, { id });
  }

  /** Looks for what others took from the kernel, and puts it back; runs by itself every few seconds. */
  async mend(): Promise<void> {
    await this.#run(() => this.#mender.mend());
  }

  driverNames(): string[] {
    return this.#cnm.drivers.names();
  }

  /** Throws no_cluster. */
  get cluster(): Cluster {
    if (this.#cnm.cluster === undefined) throw new CnmError('no_cluster', 'this daemon is in no cluster');
    return this.#cnm.cluster;
  }

  get firewallBackend(): string {
    return this.#cnm.firewall.backend;
  }
  /** Refuses new work, waits for what is under way, and leaves every sandbox connected. Does not close the parts. */
  async close(): Promise<void> {
    this.#cnm.closing = true;
    this.#processes.close();
    this.#conflicts.stop();
    this.leaseTroubles.stop();
    this.services.stop();
    await within(CLOSE_WAIT_MS, Promise.allSettled([...this.#running, this.#mender.stop()]));
    await this.#cnm.shared?.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Throws too_busy; then `begin` has not run. */
  async #run<T>(begin: () => Promise<T>): Promise<T> {
    if (this.#running.size >= MAX_CHANGES)
      throw new CnmError('too_busy', `${MAX_CHANGES} changes are under way; try again with fewer at once`);
    const work = begin();
    this.#running.add(work);
    try {
      return await work;
    } finally {
      this.#running.delete(work);
    }
  }
}

function found<T>(record: T | undefined, code: 'no_network' | 'no_endpoint' | 'no_sandbox', what: string, id: string): T {
  if (record === undefined) throw new CnmError(code, `${what} ${shortId(id)} not found`);
  return record;
}

/** One network. `record` throws no_network once it is gone. */
export class Network {
  readonly controller: NetworkController;
  readonly id: NetworkId;

  constructor(controller: NetworkController, id: NetworkId) {
    this.controller = controller;
    this.id = id;
  }

  get record(): NetworkRecord {
    return this.controller.networkRecord(this.id);
  }

  get name(): string {
    return this.record.name;
  }

  endpoints(): Endpoint[] {
    return this.controller.endpointsOfNetwork(this.id).map((ep) => new Endpoint(this.controller, ep.id));
  }

  createEndpoint(name: string, spec: EndpointSpec = {}): Promise<Endpoint> {
    return this.controller.createEndpoint(this.id, name, spec);
  }

  delete(): Promise<void> {
    return this.controller.deleteNetwork(this.id);
  }
}

/** One endpoint. `record` throws no_endpoint once it is gone. */
export class Endpoint {
  readonly controller: NetworkController;
  readonly id: EndpointId;

  constructor(controller: NetworkController, id: EndpointId) {
    this.controller = controller;
    this.id = id;
  }

  get record(): EndpointRecord {
    return this.controller.endpointRecord(this.id);
  }

  get network(): Network {
    return new Network(this.controller, this.record.network);
  }

  join(sandbox: Sandbox): Promise<void> {
    return this.controller.joinEndpoint(this.id, sandbox.id);
  }

  leave(): Promise<void> {
    return this.controller.leaveEndpoint(this.id);
  }

  delete(force = false): Promise<void> {
    return this.controller.deleteEndpoint(this.id, force);
  }
}

/** One sandbox. `record` throws no_sandbox once it is gone. */
export class Sandbox {
  readonly controller: NetworkController;
  readonly id: SandboxId;

  constructor(controller: NetworkController, id: SandboxId) {
    this.controller = controller;
    this.id = id;
  }

  get record(): SandboxRecord {
    return this.controller.sandboxRecord(this.id);
  }

  get name(): string {
    return this.record.name;
  }

  endpoints(): Endpoint[] {
    return this.controller.endpointsOfSandbox(this.id).map((ep) => new Endpoint(this.controller, ep.id));
  }

  connect(network: string, spec: EndpointSpec = {}): Promise<Endpoint> {
    return this.controller.connect(network, this.id, spec);
  }

  disconnect(network: string, force = false): Promise<void> {
    return this.controller.disconnect(network, this.id, force);
  }

  delete(force = false): Promise<void> {
    return this.controller.deleteSandbox(this.id, force);
  }
}
