/** Services in the cluster's records: names, ports and service are made and removed in one transaction. */

import { CnmError, type Env, type ServiceId, codeOf } from '../../base/index.ts';
import type { Cluster } from '../../cluster/index.ts';
import { Debts, type Entry, type Key } from '../../store/index.ts';
import type { NetworkRecord, ServiceRecord } from '../records.ts';
import { networkKey } from '../shared/records.ts';
import {
  GONE_SERVICES,
  decodeService,
  decodeServiceClaim,
  encodeService,
  encodeServiceClaim,
  goneServiceKey,
  partsOfServiceKey,
  serviceKey,
  serviceNameKey,
  servicePortKey,
  servicesOf,
} from './records.ts';

/** Tries of one change that others get ahead of. */
const MAX_TRIES = 16;
/** How long it is known that a service was removed: longer than a host may be away and come back, milliseconds. */
const REMEMBERED_MS = 30 * 24 * 3600 * 1000;
/** How often a host looks for those that are older, milliseconds. */
const FORGET_EVERY_MS = 3600 * 1000;
/** Records that one commit may remove. */
const AT_ONCE = 100;

export class ServiceRegistry {
  readonly #cluster: Cluster;
  readonly #now: () => number;
  readonly #debts: Debts;
  #nextForget = 0;

  constructor(cluster: Cluster, { now, log }: Env) {
    this.#cluster = cluster;
    this.#now = now;
    this.#debts = new Debts(log);
  }

  /** Makes the service known to all hosts. Repeatable. Throws name_taken, port_taken, no_network, store_unreachable. */
  async publish(service: ServiceRecord, net: NetworkRecord): Promise<void> {
    const { store } = this.#cluster;
    const claims = claimsOf(service);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const network = await store.get(networkKey(net.id));
      if (network === undefined) throw new CnmError('no_network', `network ${net.name} is not in the cluster any more`);
      try {
        await store.commit({
          expect: [
            { key: network.key, revision: network.revision },
            ...[serviceKey(service), goneServiceKey(service.id), ...claims].map((key) => ({ key, revision: undefined })),
          ],
          put: [
            { key: serviceKey(service), value: encodeService(service) },
            ...claims.map((key) => ({ key, value: encodeServiceClaim(service) })),
          ],
        });
        return;
      } catch (error) {
        if (codeOf(error) !== 'stale_revision') throw error;
      }
      if ((await store.get(serviceKey(service))) !== undefined) return;
      if (await this.isGone(service.id)) throw new CnmError('no_service', `service ${service.name} was removed meanwhile`);
      for (const key of claims) await this.#refuseTaken(service, net, await store.get(key));
    }
    throw new CnmError('too_busy', `others were quicker ${MAX_TRIES} times to make service ${service.name}`);
  }

  async #refuseTaken(service: ServiceRecord, net: NetworkRecord, entry: Entry | undefined): Promise<void> {
    if (entry === undefined || decodeServiceClaim(entry).id === service.id) return;
    const name = namesOf(service).find((one) => serviceNameKey({ network: service.network, name: one }) === entry.key);
    if (name !== undefined) throw nameTaken(name, net);
    const other = await this.#cluster.store.get(serviceKey(decodeServiceClaim(entry)));
    const port = service.ports.find((one) => servicePortKey(one) === entry.key);
    throw portTaken(port?.published ?? 0, port?.protocol ?? 'tcp', other && decodeService(other).name);
  }

  /** Takes the service out of the cluster; one that is not there is fine. Throws store_unreachable. */
  async remove(service: ServiceRecord): Promise<void> {
    const { store } = this.#cluster;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const entries = await Promise.all([serviceKey(service), ...claimsOf(service)].map((key) => store.get(key)));
      const own = entries.filter((entry) => entry !== undefined).filter((entry) => isOf(service, entry));
      try {
        await store.commit({
          expect: own.map(({ key, revision }) => ({ key, revision })),
          put: [{ key: goneServiceKey(service.id), value: { schema: 1, at: this.#now() } }],
          remove: own.map(({ key }) => key),
        });
        return await this.#forgetOld();
      } catch (error) {
        if (codeOf(error) !== 'stale_revision') throw error;
      }
    }
    throw new CnmError('too_busy', `service ${service.name} changes all the time`);
  }

  /** What is owed to the cluster is not done any more. */
  stop(): void {
    this.#debts.close();
  }

  /** Undo of publish(): as remove(), and where the cluster is away, later. */
  async takeBack(service: ServiceRecord): Promise<void> {
    await this.#debts.pay(service.id, () => this.remove(service));
  }

  async isGone(id: ServiceId): Promise<boolean> {
    return (await this.#cluster.store.get(goneServiceKey(id))) !== undefined;
  }

  /** Names of the services that a network has in the cluster. */
  async namesIn({ id }: NetworkRecord): Promise<readonly string[]> {
    const { entries } = await this.#cluster.store.list(servicesOf(id));
    return entries.map((entry) => {
      try {
        return decodeService(entry).name;
      } catch {
        return partsOfServiceKey(entry.key).id;
      }
    });
  }

  async #forgetOld(): Promise<void> {
    if (this.#now() < this.#nextForget) return;
    const { entries } = await this.#cluster.store.list(GONE_SERVICES);
    const old = entries.filter(({ value }) => this.#now() - timeIn(value) > REMEMBERED_MS).slice(0, AT_ONCE);
    if (old.length > 0) await this.#cluster.store.commit({ remove: old.map(({ key }) => key) });
    // Where there are more, the next removal takes them.
    if (old.length < AT_ONCE) this.#nextForget = this.#now() + FORGET_EVERY_MS;
  }
}

const claimsOf = (service: ServiceRecord): Key[] => [
  ...new Set(namesOf(service).map((name) => serviceNameKey({ network: service.network, name }))),
  ...service.ports.map(servicePortKey),
];

const namesOf = ({ name, aliases }: ServiceRecord): string[] => [name, ...aliases];

/** A claim that cannot be read keeps no service from going. */
function isOf(service: ServiceRecord, entry: Entry): boolean {
  if (entry.key === serviceKey(service)) return true;
  try {
    return decodeServiceClaim(entry).id === service.id;
  } catch {
    return false;
  }
}

const timeIn = (value: Entry['value']): number =>
  typeof value === 'object' && value !== null && 'at' in value && typeof value['at'] === 'number' ? value['at'] : Number.NaN;

export const nameTaken = (name: string, net: NetworkRecord): CnmError =>
  new CnmError('name_taken', `service with name ${name} already exists in network ${net.name}`);

export const portTaken = (port: number, protocol: string, other: string | undefined): CnmError =>
  new CnmError('port_taken', `port ${port}/${protocol} is published by service ${other ?? 'of another network'} already`);
