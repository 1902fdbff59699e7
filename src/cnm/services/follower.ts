/** Services of the cluster as records of this host, which stay while the cluster is away; and what is done where the two differ. */

import { type ServiceId, codeOf, messageOf } from '../../base/index.ts';
import { type Cluster, type Followed, follow } from '../../cluster/index.ts';
import type { Cnm } from '../context.ts';
import type { ServiceRecord } from '../records.ts';
import { SERVICES, decodeService, partsOfServiceKey } from './records.ts';
import type { ServiceRegistry } from './registry.ts';
import { replayVips } from './vips.ts';

/** Pause after a failure to bring services in line, milliseconds. */
const RETRY_MS = 2000;
/** Pause before an address is asked for again that somebody else has got, milliseconds. */
const TAKEN_MS = 10_000;
/** How long the networks of services that the cluster has lost are waited for, milliseconds: they are told again first. */
const WAIT_MS = 1000;

/** What is done with a service here. */
export interface ServiceCare {
  /** There is one, or it differs from what was known. */
  adopt(service: ServiceRecord): Promise<void>;
  /** Why it is neither named nor balanced here; undefined: it is. Repeatable. */
  trouble(service: ServiceRecord, why: string | undefined): void;
  /** It is gone from the cluster. Repeatable. */
  forget(service: ServiceRecord): Promise<void>;
}

export class ServiceFollower {
  readonly #cnm: Cnm;
  readonly #cluster: Cluster;
  readonly #registry: ServiceRegistry;
  readonly #care: ServiceCare;
  readonly #closing = new AbortController();
  readonly #retries = new Map<ServiceId, NodeJS.Timeout>();
  readonly #told = new Map<ServiceId, ServiceRecord>();
  #begin: () => void = () => {};
  /** Resolves when all services of the cluster are known here. */
  readonly ready = new Promise<void>((resolve) => (this.#begin = resolve));

  constructor(cnm: Cnm, cluster: Cluster, registry: ServiceRegistry, care: ServiceCare) {
    this.#cnm = cnm;
    this.#cluster = cluster;
    this.#registry = registry;
    this.#care = care;
  }

  start(): void {
    void this.#follow();
  }

  stop(): void {
    this.#closing.abort();
    for (const timer of this.#retries.values()) clearTimeout(timer);
    this.#begin();
  }

  async #follow(): Promise<void> {
    const store = await this.#cluster.arrived;
    if (store === undefined) return;
    const { log } = this.#cnm.env;
    try {
      const refused = (error: Error): void => log.error({ error: messageOf(error) }, 'services of the cluster are not told');
      for await (const news of follow(store, SERVICES, this.#closing.signal, refused)) {
        await this.#take(news);
        this.#begin();
      }
    } catch (error) {
      log.error({ error: messageOf(error) }, 'services of the cluster are not followed any more');
    }
  }

  async #take(news: Followed): Promise<void> {
    const ids = new Set<ServiceId>();
    if (news.kind === 'all') {
      this.#told.clear();
      for (const service of this.#cnm.state.allServices()) if (this.#isShared(service)) ids.add(service.id);
    }
    const { put, removed } = news.kind === 'all' ? { put: news.entries, removed: [] } : news.change;
    for (const key of removed) {
      const { id } = partsOfServiceKey(key);
      this.#told.delete(id);
      ids.add(id);
    }
    for (const entry of put) {
      try {
        const service = decodeService(entry);
        this.#told.set(service.id, service);
        ids.add(service.id);
      } catch (error) {
        // One that a newer version wrote must not hide the others; what this host knows of it stays.
        ids.delete(partsOfServiceKey(entry.key).id);
        this.#cnm.env.log.error({ error: messageOf(error) }, 'a service of the cluster is passed over');
      }
    }
    await Promise.all([...ids].map((id) => this.#settle(id)));
  }

  #isShared({ network }: ServiceRecord): boolean {
    return this.#cnm.state.networkById(network)?.shared === true;
  }

  /** Never throws: what fails is logged, and tried again. */
  async #settle(id: ServiceId): Promise<void> {
    if (this.#closing.signal.aborted || this.#cnm.closing) return;
    clearTimeout(this.#retries.get(id));
    try {
      await this.#cnm.locks.run(`service:${id}`, () => this.#settleNow(id));
    } catch (error) {
      const { log } = this.#cnm.env;
      if (codeOf(error) !== 'store_unreachable')
        log.error({ service: id, error: messageOf(error) }, 'a service is not as the cluster wants it');
      this.#later(id, RETRY_MS);
    }
  }

  #later(id: ServiceId, ms: number): void {
    if (!this.#closing.signal.aborted) this.#retries.set(id, setTimeout(() => void this.#settle(id), ms).unref());
  }

  async #settleNow(id: ServiceId): Promise<void> {
    const known = this.#cnm.state.serviceById(id);
    const told = this.#told.get(id);
    if (told !== undefined) {
      // What this host is about to make or to remove it says itself.
      if (known === undefined || known.phase === 'ready') await this.#care.adopt(told);
      return;
    }
    if (known?.phase !== 'ready') return;
    if (await this.#registry.isGone(id)) return this.#care.forget(known);
    await this.#tellAgain(known);
  }

  /** The cluster has lost the service, with its data or a part of them. */
  async #tellAgain(service: ServiceRecord): Promise<void> {
    const { state, env } = this.#cnm;
    const net = state.networkById(service.network);
    if (net === undefined) return this.#care.forget(service);
    try {
      await replayVips(this.#cnm, net, service);
      await this.#registry.publish(service, net);
      this.#care.trouble(service, undefined);
      env.log.warn({ service: service.id, name: service.name }, 'the cluster had lost a service: it is told again');
    } catch (error) {
      const code = codeOf(error);
      if (code === 'no_network') return this.#later(service.id, WAIT_MS);
      if (code === 'address_in_use') {
        this.#care.trouble(service, `the cluster had lost it, and its address is somebody else's by now: ${messageOf(error)}`);
        return this.#later(service.id, TAKEN_MS);
      }
      if (code !== 'name_taken' && code !== 'port_taken' && code !== 'no_service') throw error;
      env.log.warn({ service: service.id, error: messageOf(error) }, 'a service that the cluster had lost is removed');
      await this.#care.forget(service);
    }
  }
}
