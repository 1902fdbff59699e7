/**
 * Tells what is so of a network's services: names to the keeper, members to the clients of this host, published ports to the
 * ingress. Each telling is whole and harmless twice; what changes while one is under way is in the next one.
 */

import { setImmediate as nextTick } from 'node:timers/promises';
import {
  type EndpointId,
  type NetworkId,
  type SandboxId,
  type ServiceId,
  attemptAll,
  messageOf,
  shortId,
} from '../../base/index.ts';
import { type BalancedService, TableMemory } from '../../balance/index.ts';
import type { PeerNames } from '../../keeper/index.ts';
import { type Netns, Turnstile } from '../../kernel/index.ts';
import { type Cnm, servesNames } from '../context.ts';
import { tryOpenSandboxNetns } from '../join.ts';
import type { EndpointRecord, ServiceRecord } from '../records.ts';
import type { Passage } from './contract.ts';
import type { Ingress } from './ingress.ts';
import { type Member, type MembersByService, addressesOf, balancedOf, membersIn } from './members.ts';
import { TASKS } from './spec.ts';

/** Pause before what failed is told again, milliseconds. */
const RETRY_MS = 1000;
/** Clients that are looked after in one round of the mender; of more, each has its turn in a later one. */
const AUDITS_A_ROUND = 100;
/** Clients that are told at once: most of the time of one is the kernel's, for which fewer have a turn. */
const AT_ONCE = 8;

/** What the keeper calls a service. */
export const tellingId = (service: ServiceId): string => `service-${service}`;

/** What clients of a network are to balance; one look serves all clients of a telling. */
type Wishes = Map<NetworkId, readonly BalancedService[]>;

interface Pass {
  readonly now: Promise<void>;
  next?: Promise<void>;
}

export class Teller {
  readonly #cnm: Cnm;
  readonly #ingress: Ingress;
  readonly #passes = new Map<string, Pass>();
  /** What the keeper was told last of each service that there is. */
  readonly told = new Map<ServiceId, string>();
  /** Sandboxes whose namespaces have something of ours, and what is known of it. */
  readonly #clients = new Map<SandboxId, TableMemory>();
  readonly #places = new Turnstile(AT_ONCE);
  /** Endpoints that are on their way out, whatever their records say yet. */
  readonly #leaving = new Set<EndpointId>();
  readonly #retries = new Map<string, NodeJS.Timeout>();
  /** Why a service is not told to anybody, though there is one. */
  readonly troubles = new Map<ServiceId, string>();
  #nextAudit = 0;

  constructor(cnm: Cnm, ingress: Ingress) {
    this.#cnm = cnm;
    this.#ingress = ingress;
  }

  stop(): void {
    for (const timer of this.#retries.values()) clearTimeout(timer);
  }

  /** Resolves when keeper and clients know what is so now. Throws resolver_unavailable, and what the kernel refuses. */
  tell(network: NetworkId): Promise<void> {
    return this.#coalesced(network, () => this.#network(network));
  }

  /** The same without waiting: what fails is logged, and tried again. */
  tellSoon(network: NetworkId): void {
    this.#soon(network, () => this.tell(network));
  }

  /** Resolves when the ports of all services are published as far as they can be. Throws what the ingress throws. */
  publish(): Promise<void> {
    return this.#coalesced('', () => this.#publish());
  }

  publishSoon(): void {
    this.#soon('', () => this.publish());
  }

  #coalesced(key: string, work: () => Promise<void>): Promise<void> {
    const begin = (): Promise<void> => {
      const pass: Pass = {
        now: work().finally(() => {
          if (pass.next === undefined) this.#passes.delete(key);
        }),
      };
      this.#passes.set(key, pass);
      return pass.now;
    };
    const running = this.#passes.get(key);
    if (running === undefined) return begin();
    running.next ??= running.now.then(begin, begin);
    return running.next;
  }

  #soon(key: string, work: () => Promise<void>): void {
    if (this.#cnm.closing) return;
    work().catch((error: unknown) => {
      this.#cnm.env.log.error({ network: key, error: messageOf(error) }, 'services of a network could not be told');
      clearTimeout(this.#retries.get(key));
      this.#retries.set(key, setTimeout(() => this.#soon(key, work), RETRY_MS).unref());
    });
  }

  async #network(id: NetworkId): Promise<void> {
    const { state } = this.#cnm;
    const services = state.servicesOfNetwork(id);
    const net = state.networkById(id);
    // One look for both: whoever reads a name balances by what it says.
    const members = membersIn(this.#cnm, id);
    const names = ['names', () => this.#names(id, members)] as const;
    const clients = ['clients', () => this.#clientsIn(id, members)] as const;
    // Whoever has the name may use it at once; nobody is to have it when there is nothing behind it.
    const isGoing = net === undefined || services.some(({ phase }) => phase === 'deleting');
    await attemptAll(isGoing ? [names, clients] : [clients, names]);
  }

  async #clientsIn(id: NetworkId, members: MembersByService): Promise<void> {
    const wishes: Wishes = new Map([[id, this.#balancedIn(id, members)]]);
    const sandboxes = this.#sandboxesIn(id);
    const told = await Promise.allSettled(
      sandboxes.map((sandbox) => this.#places.pass(() => this.#balance(sandbox, { isSure: true, wishes }))),
    );
    await attemptAll(
      told.map((result, i) => [
        `sandbox ${shortId(sandboxes[i] ?? '')}`,
        () => {
          if (result.status === 'rejected') throw result.reason;
        },
      ]),
    );
  }

  /** Of this host, in the network or on their way in. */
  #sandboxesIn(id: NetworkId): SandboxId[] {
    return [...new Set(this.#cnm.state.endpointsOfNetwork(id).flatMap((ep) => (this.#isIn(ep) ? (ep.sandbox ?? []) : [])))];
  }

  #isIn({ id, phase }: EndpointRecord): boolean {
    return (phase === 'joined' || phase === 'joining') && !this.#leaving.has(id);
  }

  /** Makes the sandbox balance what its networks have. `isSure`: also where nothing is known to be there. */
  async #balance(id: SandboxId, { netns, isSure = false, wishes = new Map() }: Balancing = {}): Promise<void> {
    const { locks, state } = this.#cnm;
    await locks.run(`balance:${id}`, async () => {
      const sandbox = state.sandboxById(id);
      const wish = this.#wishOf(id, wishes);
      if (sandbox?.mode !== 'own' || (wish.length === 0 && !isSure && !this.#clients.has(id))) return;
      using opened = netns === undefined ? tryOpenSandboxNetns(sandbox) : undefined;
      const place = netns ?? opened;
      // Whoever removes a sandbox without a namespace has nothing to clear.
      if (place === undefined) return void this.#clients.delete(id);
      if (wish.length > 0) {
        const memory = this.#clients.get(id) ?? new TableMemory();
        this.#clients.set(id, memory);
        await this.#cnm.balancer.apply(place, wish, memory);
      } else {
        await this.#cnm.balancer.clear(place, this.#clients.get(id));
        this.#clients.delete(id);
      }
    });
  }

  #wishOf(id: SandboxId, wishes: Wishes): BalancedService[] {
    const networks = this.#cnm.state.endpointsOfSandbox(id).flatMap((ep) => (this.#isIn(ep) ? ep.network : []));
    // Of other networks than the telling's own what is so now: a telling of theirs may have been quicker.
    return networks.flatMap((network) => wishes.get(network) ?? this.#balancedIn(network));
  }

  #balancedIn(network: NetworkId, members = membersIn(this.#cnm, network)): readonly BalancedService[] {
    const services = this.#cnm.state.servicesOfNetwork(network).filter((one) => this.#isTold(one) && one.vips.length > 0);
    return services.map((service) => balancedOf(service, members.get(service.id)));
  }

  #isTold({ id, phase }: ServiceRecord): boolean {
    return phase === 'ready' && !this.troubles.has(id);
  }

  /** The endpoint's sandbox is in its network from now on, or about to be. */
  async enter({ net, ep, sandbox, netns }: Passage): Promise<void> {
    this.#leaving.delete(ep.id);
    if (this.#cnm.state.servicesOfNetwork(net.id).length === 0) return;
    await this.#balance(sandbox.id, netns === undefined ? {} : { netns });
    await this.#names(net.id);
  }

  async exit({ net, ep, sandbox: { id }, netns, isEnding }: Passage): Promise<void> {
    if (!this.#clients.has(id) && this.#cnm.state.servicesOfNetwork(net.id).length === 0) return;
    this.#leaving.add(ep.id);
    if (isEnding || netns === undefined) this.#clients.delete(id);
    else await this.#balance(id, { netns, isSure: true });
    if (this.#sandboxesIn(net.id).length === 0) this.tellSoon(net.id);
  }

  /** An endpoint whose record says that it is out is not on its way out any more. */
  forget(id: EndpointId | undefined): void {
    if (id !== undefined) this.#leaving.delete(id);
  }

  /** Undoes what is remembered of a service that is no more. */
  forgetService(id: ServiceId): void {
    this.told.delete(id);
    this.troubles.delete(id);
  }

  async #names(network: NetworkId, members = membersIn(this.#cnm, network)): Promise<void> {
    const { state, keeper } = this.#cnm;
    const services = state.servicesOfNetwork(network);
    const net = state.networkById(network);
    const isWanted = net !== undefined && servesNames(net) && this.#hasAskers(network);
    const works = services.map(async (service) => {
      const { id } = service;
      const names: PeerNames | null =
        net === undefined || !isWanted || !this.#isTold(service)
          ? null
          : { network, networkName: net.name, endpoints: [...ownNames(service), ...taskNames(service, members.get(id) ?? [])] };
      const text = JSON.stringify(names);
      if (text === this.told.get(id)) return;
      this.told.delete(id);
      await keeper.peers(tellingId(id), names);
      if (state.serviceById(id) !== undefined) this.told.set(id, text);
    });
    for (const result of await Promise.allSettled(works)) if (result.status === 'rejected') throw result.reason;
  }

  /** Whether anybody here asks for names of the network. Engines' containers are no clients of the balancer, but they do. */
  #hasAskers(network: NetworkId): boolean {
    if (this.#sandboxesIn(network).length > 0) return true;
    return (this.#cnm.lodgers?.endpointsOf(network) ?? []).some(({ phase }) => phase === 'joined');
  }

  async #publish(): Promise<void> {
    const { state } = this.#cnm;
    const looks = new Map<NetworkId, MembersByService>();
    const membersOf = (network: NetworkId): MembersByService => {
      const look = looks.get(network) ?? membersIn(this.#cnm, network);
      looks.set(network, look);
      return look;
    };
    const wanted = state
      .allServices()
      .filter((one) => this.#isTold(one) && one.ports.length > 0 && state.networkById(one.network)?.phase === 'ready')
      .map((service) => ({
        service: balancedOf(service, membersOf(service.network).get(service.id)),
        network: service.network,
        ports: service.ports,
      }));
    await this.#ingress.apply(wanted);
  }

  /** Clients whose rules others have taken have them again. */
  async audit(): Promise<void> {
    const ids = [...this.#clients.keys()];
    const first = this.#nextAudit < ids.length ? this.#nextAudit : 0;
    this.#nextAudit = first + AUDITS_A_ROUND;
    for (const id of ids.slice(first, first + AUDITS_A_ROUND)) {
      // Some 0.2 ms each, and more where it has changed, in which nothing else runs.
      await nextTick();
      await this.#balance(id);
    }
    // The network of a service may have come after it, and an end may have failed.
    if (this.#ingress.isLeft || this.#cnm.state.allServices().some(({ ports }) => ports.length > 0)) await this.publish();
  }
}

interface Balancing {
  readonly netns?: Netns;
  readonly isSure?: boolean;
  readonly wishes?: Wishes;
}

const namesOf = ({ name, aliases }: ServiceRecord): string[] => [name.toLowerCase(), ...aliases];

const ownNames = (service: ServiceRecord): PeerNames['endpoints'] =>
  service.vips.length === 0
    ? []
    : [
        {
          id: service.id as string as EndpointId,
          names: namesOf(service),
          addresses: service.vips.map(({ address }) => address),
        },
      ];

function taskNames(service: ServiceRecord, members: readonly Member[]): PeerNames['endpoints'] {
  const own = namesOf(service);
  const names = own.map((name) => `${TASKS}${name}`);
  return members
    .filter(({ state }) => state === 'healthy')
    .map((member) => ({
      id: `${shortId(service.id)}-${member.id}` as EndpointId,
      names: service.mode === 'vip' ? names : [...own, ...names],
      addresses: addressesOf(member),
      // Those are their owners' own.
      hasNoPointer: true,
    }));
}
