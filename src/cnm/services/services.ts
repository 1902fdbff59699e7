/** Services, the model's door to them: made and removed here; members are membership.ts, what is told of them teller.ts. */

import { isDeepStrictEqual } from 'node:util';
import {
  CnmError,
  type EndpointId,
  type NetworkId,
  type SandboxId,
  type ServiceId,
  attemptAll,
  messageOf,
  newServiceId,
  shortId,
  undoable,
  within,
} from '../../base/index.ts';
import type { Cluster } from '../../cluster/index.ts';
import type { Caller } from '../callers.ts';
import { type Cnm, contextOf, refuseWhenClosing, servesNames, stillWanted } from '../context.ts';
import type { RecordChange } from '../events.ts';
import { membersOf } from '../lodgers.ts';
import { type NetworkRecord, OWN, RECORD_SCHEMA, type ServiceRecord } from '../records.ts';
import type { Passage, ServicePlaces } from './contract.ts';
import { type ServiceCare, ServiceFollower } from './follower.ts';
import { Health, type Verdict } from './health.ts';
import { Ingress } from './ingress.ts';
import { Memberships } from './membership.ts';
import { ServiceRegistry, nameTaken, portTaken } from './registry.ts';
import { type CheckedService, type ServiceSpec, checkService } from './spec.ts';
import { Teller, tellingId } from './teller.ts';
import { releaseVips, replayVips, requestVips } from './vips.ts';

/** Pause before a process is looked at again of which it could not be told how it is, milliseconds. */
const AGAIN_MS = 2000;
/** Longest wait for the cluster's services at a start, milliseconds. */
const PATIENCE_MS = 2000;

export class Services implements ServicePlaces, ServiceCare {
  readonly #cnm: Cnm;
  readonly #teller: Teller;
  readonly #health: Health;
  readonly members: Memberships;
  readonly ingress: Ingress;
  readonly #registry: ServiceRegistry | undefined;
  readonly #follower: ServiceFollower | undefined;
  readonly #again = new Map<SandboxId, NodeJS.Timeout>();

  constructor(cnm: Cnm, cluster: Cluster | undefined) {
    this.#cnm = cnm;
    cnm.services = this;
    const told = cnm.state.onChange;
    cnm.state.onChange = (change) => {
      told?.(change);
      this.#heard(change);
    };
    this.ingress = new Ingress(cnm);
    this.#teller = new Teller(cnm, this.ingress);
    this.members = new Memberships(cnm, this.#teller, this.ingress);
    this.#health = new Health(cnm, async (endpoint, service, verdict) => void (await this.#judge(endpoint, service, verdict)));
    if (cluster === undefined) return;
    this.#registry = new ServiceRegistry(cluster, cnm.env);
    this.#follower = new ServiceFollower(cnm, cluster, this.#registry, this);
  }

  /** After the networks are what they are: all is told that an earlier life of this daemon may not have told. */
  async start(): Promise<void> {
    const { state } = this.#cnm;
    this.#follower?.start();
    if (this.#follower !== undefined && this.#cnm.cluster?.isJoined === true) {
      await within(PATIENCE_MS, this.#follower.ready);
    }
    for (const network of new Set(state.allServices().map((service) => service.network))) this.#teller.tellSoon(network);
    if (state.allServices().some(isPublished)) this.#teller.publishSoon();
    this.members.start();
    this.#health.settle();
  }

  stop(): void {
    for (const timer of this.#again.values()) clearTimeout(timer);
    this.#health.stop();
    this.members.stop();
    this.#teller.stop();
    this.#follower?.stop();
    this.#registry?.stop();
  }

  /** By full id, name, `NETWORK/NAME` or unique id prefix. Throws no_service, ambiguous_name. */
  find(term: string): ServiceRecord {
    return this.#cnm.state.service(term);
  }

  all(): ServiceRecord[] {
    return this.#cnm.state.allServices().filter(({ phase }) => phase === 'ready');
  }

  troubleOf(service: ServiceId): string | undefined {
    return this.#teller.troubles.get(service) ?? this.ingress.troubleOf(service);
  }

  /** Why a member of this host does not serve, by its last look. */
  problemOf(endpoint: EndpointId, service: ServiceId): string | undefined {
    return this.#health.problemOf(endpoint, service);
  }

  /**
   * Makes a service, known on all hosts of its network when it resolves. Throws no_network, bad_name, bad_option, bad_port, name_taken,
   * port_taken, no_free_address, not_supported_here, not_permitted, store_unreachable; nothing is left then.
   */
  async create(spec: ServiceSpec, signal?: AbortSignal, caller: Caller = 'trusted'): Promise<ServiceRecord> {
    const cnm = this.#cnm;
    refuseWhenClosing(cnm);
    const checked = checkService(spec);
    if (checked.health?.probe.kind === 'command' && caller !== 'trusted')
      throw new CnmError(
        'not_permitted',
        'a health command runs with the rights of the daemon: without root, use an HTTP path or a TCP port',
      );
    await cnm.shared?.catchUp(spec.network);
    const net = cnm.state.network(spec.network);
    if (!servesNames(net)) throw new CnmError('not_supported_here', `network ${net.name} has no names, hence no services`);
    const ctx = contextOf(signal);
    const id = newServiceId();
    const draft: ServiceRecord = {
      schema: RECORD_SCHEMA,
      owner: OWN,
      id,
      network: net.id,
      phase: 'creating',
      created: cnm.state.stamp(cnm.env.now()),
      vips: [],
      ...checked,
    };
    return undoable(async (undo) => {
      // A delete of the network sees the record, or the record sees that the network is going; names and ports are looked at by one at a time.
      await cnm.locks.run('services', () =>
        cnm.locks.run(`network:${net.id}`, async () => {
          if (cnm.state.networkById(net.id)?.phase !== 'ready') throw new CnmError('no_network', `network ${net.name} not found`);
          this.#refuseTaken(net, checked);
          await cnm.state.commit({ services: [draft] });
        }),
      );
      undo.add('forget record', () => cnm.state.takeBack({ remove: { service: id } }));
      const vips = draft.mode === 'vip' ? await requestVips(cnm, net, id, undo) : [];
      stillWanted(ctx);
      const service: ServiceRecord = { ...draft, vips, phase: 'ready' };
      if (net.shared === true) {
        // What a kill leaves is found by this.
        await cnm.state.commit({ services: [{ ...draft, vips }] });
        undo.add('forget service in the cluster', () => this.#registry?.takeBack(service));
        await this.#registry?.publish(service, net);
      }
      undo.add('withdraw service', () => this.#withdraw(service));
      await cnm.state.commit({ services: [service], durable: true });
      // Its removal on another host was passed over until now.
      if (net.shared === true && (await this.#registry?.isGone(id)) === true)
        throw new CnmError('no_service', `service ${service.name} was removed on another host while it was made`);
      await this.#teller.tell(net.id);
      if (isPublished(service)) await this.#teller.publish();
      const trouble = this.ingress.troubleOf(id);
      if (trouble !== undefined)
        throw new CnmError('port_taken', `ports of service ${service.name} cannot be published on this host: ${trouble}`);
      stillWanted(ctx);
      return service;
    });
  }

  /** Undo of a service that was told: its record is `creating` again, and nobody knows it. */
  async #withdraw(service: ServiceRecord): Promise<void> {
    await this.#cnm.state.commit({ services: [{ ...service, phase: 'deleting' }] });
    await attemptAll([
      ['tell', () => this.#teller.tell(service.network)],
      ['publish', () => (isPublished(service) ? this.#teller.publish() : undefined)],
    ]);
  }

  /** As far as this host knows; the cluster has the last word. */
  #refuseTaken(net: NetworkRecord, { name, aliases, ports }: CheckedService): void {
    const { state } = this.#cnm;
    const wanted = new Set([name.toLowerCase(), ...aliases]);
    for (const other of state.servicesOfNetwork(net.id))
      if ([other.name.toLowerCase(), ...other.aliases].some((one) => wanted.has(one))) throw nameTaken(other.name, net);
    const own = membersOf(this.#cnm, net.id);
    const holder = [...own, ...(this.#cnm.shared?.peersOf(net.id) ?? [])].find((ep) =>
      ep.dnsNames.some((one) => wanted.has(one)),
    );
    if (holder !== undefined)
      throw new CnmError('name_taken', `${holder.name} of network ${net.name} answers to a name of service ${name} already`);
    for (const { published, protocol } of ports) {
      const other = state
        .allServices()
        .find((one) => one.ports.some((port) => port.published === published && port.protocol === protocol));
      if (other !== undefined) throw portTaken(published, protocol, other.name);
    }
  }

  /** Members stay, as plain sandboxes. Throws no_service, ambiguous_name, store_unreachable. May be repeated after a failure. */
  async remove(term: string): Promise<ServiceRecord> {
    refuseWhenClosing(this.#cnm);
    const { id } = this.find(term);
    return this.#cnm.locks.run(`service:${id}`, async () => {
      const service = this.#cnm.state.serviceById(id);
      if (service === undefined) throw new CnmError('no_service', `service ${shortId(id)} not found`);
      await this.#unmake(service);
      return service;
    });
  }

  async #unmake(service: ServiceRecord): Promise<void> {
    const cnm = this.#cnm;
    const net = cnm.state.networkById(service.network);
    // From here on it goes, whatever fails.
    if (net?.shared === true) await this.#registry?.remove(service);
    await this.#endHere(service);
    if (net !== undefined) await releaseVips(cnm, net, service);
    await cnm.state.commit({ remove: { service: service.id }, durable: true });
  }

  /** Names, clients, ports and members of this host know nothing of it any more. */
  async #endHere(service: ServiceRecord): Promise<void> {
    this.#teller.troubles.delete(service.id);
    await this.#cnm.state.commit({ services: [{ ...service, phase: 'deleting' }] });
    await attemptAll([
      ['tell', () => this.#teller.tell(service.network)],
      ['publish', () => (isPublished(service) ? this.#teller.publish() : undefined)],
      ['members', () => this.members.forget(service)],
    ]);
  }

  async adopt(service: ServiceRecord): Promise<void> {
    const { state } = this.#cnm;
    this.trouble(service, undefined);
    if (isDeepStrictEqual(state.serviceById(service.id), service)) return;
    await state.commit({ services: [service], durable: true });
    this.#teller.tellSoon(service.network);
    if (isPublished(service)) this.#teller.publishSoon();
    this.#health.settle();
  }

  trouble(service: ServiceRecord, why: string | undefined): void {
    const { troubles } = this.#teller;
    if (troubles.get(service.id) === why) return;
    if (why === undefined) troubles.delete(service.id);
    else {
      troubles.set(service.id, why);
      this.#cnm.env.log.error({ service: service.id, name: service.name, error: why }, 'a service is neither named nor balanced');
    }
    this.#teller.tellSoon(service.network);
    if (isPublished(service)) this.#teller.publishSoon();
  }

  /** Whoever has removed it may not have come to giving its addresses back. */
  async forget(service: ServiceRecord): Promise<void> {
    await this.#endHere(service);
    const net = this.#cnm.state.networkById(service.network);
    if (net !== undefined) await releaseVips(this.#cnm, net, service);
    await this.#cnm.state.commit({ remove: { service: service.id }, durable: true });
  }

  async forgetNetwork(id: NetworkId): Promise<void> {
    for (const service of this.#cnm.state.servicesOfNetwork(id)) await this.forget(service);
  }

  refuseInUse(net: NetworkRecord): void {
    const names = this.#cnm.state.servicesOfNetwork(net.id).map(({ name }) => name);
    if (names.length > 0) throw inUse(net, names);
  }

  async refuseInUseInCluster(net: NetworkRecord): Promise<void> {
    const names = (await this.#registry?.namesIn(net)) ?? [];
    if (names.length > 0) throw inUse(net, names);
  }

  async replay(net: NetworkRecord): Promise<void> {
    for (const service of this.#cnm.state.servicesOfNetwork(net.id)) await replayVips(this.#cnm, net, service);
  }

  async finish(): Promise<void> {
    const { state, env } = this.#cnm;
    for (const service of state.allServices()) {
      const net = state.networkById(service.network);
      if (service.phase === 'ready' && net !== undefined) continue;
      try {
        if (net?.shared === true) await this.#registry?.takeBack(service);
        await this.#endHere(service);
        if (net !== undefined) await releaseVips(this.#cnm, net, service);
        // One that was killed between the lease and its record.
        if (net?.shared === true && service.vips.length === 0)
          await this.#cnm.ipams.find(net.ipam.driver)?.releaseOwned?.(service.id);
        await state.commit({ remove: { service: service.id } });
        env.log.info({ id: shortId(service.id) }, 'removal of a service: finished');
      } catch (error) {
        env.log.error({ id: shortId(service.id), error: messageOf(error) }, 'removal of a service: could not be finished');
      }
    }
  }

  /** What of a change of records concerns services. Must not throw. */
  #heard({ kind, before, after }: RecordChange): void {
    if (kind === 'endpoint') {
      if (after === undefined || (after.phase !== 'joined' && after.phase !== 'joining'))
        this.#teller.forget((after ?? before)?.id);
      if (before?.services !== undefined || after?.services !== undefined) this.#health.settle();
    } else if (kind === 'service') {
      if (after === undefined && before !== undefined) this.#teller.forgetService(before.id);
      this.#health.settle();
    } else if (kind === 'sandbox' && after !== undefined && after.exited !== before?.exited)
      this.#processChanged(after.id, after.exited);
  }

  /** Without a check its process says whether a member serves. */
  #processChanged(id: SandboxId, hasExited = false): void {
    for (const ep of this.#cnm.state.endpointsOfSandbox(id))
      for (const { service } of ep.services ?? []) {
        const isChecked = this.#cnm.state.serviceById(service)?.health !== undefined;
        if (!hasExited && isChecked) continue;
        void this.#judge(ep.id, service, hasExited ? 'unhealthy' : 'healthy').then((isTold) => {
          if (!isTold) this.#lookAgain(id);
        });
      }
  }

  /** A check looks again by itself; of a process nobody tells twice. */
  #lookAgain(id: SandboxId): void {
    clearTimeout(this.#again.get(id));
    const look = (): void => {
      this.#again.delete(id);
      const sandbox = this.#cnm.state.sandboxById(id);
      if (sandbox !== undefined && !this.#cnm.closing) this.#processChanged(id, sandbox.exited);
    };
    this.#again.set(id, setTimeout(look, AGAIN_MS).unref());
  }

  /** False: it failed. Never throws. */
  async #judge(endpoint: EndpointId, service: ServiceId, state: Verdict): Promise<boolean> {
    try {
      await this.members.judge(endpoint, service, state);
      return true;
    } catch (error) {
      this.#cnm.env.log.error({ endpoint, service, error: messageOf(error) }, 'it is not told how a member is');
      return false;
    }
  }

  async enter(passage: Passage): Promise<void> {
    await this.#teller.enter(passage);
  }

  async exit(passage: Passage): Promise<void> {
    await this.#teller.exit(passage);
  }

  async withdraw({ net, ep }: Passage): Promise<void> {
    if (ep.services === undefined) return;
    await this.#teller.tell(net.id);
    if (this.#cnm.state.servicesOfNetwork(net.id).some(isPublished)) this.#teller.publishSoon();
  }

  peersChanged(id: NetworkId): void {
    const services = this.#cnm.state.servicesOfNetwork(id);
    if (services.length === 0) return;
    this.#teller.tellSoon(id);
    if (services.some(isPublished)) this.#teller.publishSoon();
  }

  keeps(id: string): boolean {
    return this.#cnm.state.allServices().some((service) => tellingId(service.id) === id);
  }

  async audit(): Promise<void> {
    await this.#teller.audit();
  }
}

const isPublished = ({ ports }: ServiceRecord): boolean => ports.length > 0;

const inUse = (net: NetworkRecord, services: readonly string[]): CnmError =>
  new CnmError(
    'network_in_use',
    `error while removing network: network ${net.name} has services: ${services.slice(0, 10).join(', ')}: network service rm them first`,
  );
