/** Members of this host: they come, are found well or ill, drain, and go. */

import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { CnmError, type EndpointId, type ServiceId, messageOf, steadyOf, undoable } from '../../base/index.ts';
import { countInbound } from '../../kernel/index.ts';
import { type Cnm, refuseWhenClosing } from '../context.ts';
import { tryOpenSandboxNetns } from '../join.ts';
import type { EndpointRecord, Membership, SandboxRecord, ServiceRecord } from '../records.ts';
import { isGatewayEndpoint } from '../gateway-names.ts';
import { addressesOf, membershipOf } from './members.ts';
import type { Ingress } from './ingress.ts';
import type { Teller } from './teller.ts';

/** Pause between two looks at what a member that drains still has, milliseconds. */
const LOOK_MS = 250;
/** After a look that began then: what takes long is done less often, milliseconds. */
const pauseAfter = (begun: number): number => Math.max(LOOK_MS, 2 * (performance.now() - begun));
/** A member drains so long at least: until then another host may not have heard of it, milliseconds. */
const LEAST_MS = 1000;

export class Memberships {
  readonly #cnm: Cnm;
  readonly #teller: Teller;
  readonly #ingress: Ingress;
  readonly #closing = new AbortController();
  /** Members that go when they have drained, by endpoint and service. */
  readonly #going = new Map<string, Promise<void>>();

  constructor(cnm: Cnm, teller: Teller, ingress: Ingress) {
    this.#cnm = cnm;
    this.#teller = teller;
    this.#ingress = ingress;
  }

  /** Goes on with what was going when an earlier life of this daemon ended. */
  start(): void {
    for (const ep of this.#cnm.state.allEndpoints())
      for (const { service, leavesBy } of ep.services ?? []) if (leavesBy !== undefined) this.#goOn(ep.id, service);
  }

  stop(): void {
    this.#closing.abort();
  }

  /**
   * Makes a sandbox of this host a member, also again while it drains. Throws no_sandbox, not_connected, already_joined,
   * store_unreachable.
   */
  async add(service: ServiceRecord, term: string): Promise<void> {
    refuseWhenClosing(this.#cnm);
    const { ep, sandbox } = this.#find(service, term);
    const state = service.health === undefined && sandbox.exited !== true ? 'healthy' : 'starting';
    await undoable(async (undo) => {
      let before: Membership | undefined;
      undo.add('take membership back', async () => {
        const isBack = await this.#change(ep.id, service.id, {}, (now) => (now?.state === state ? before : now));
        if (isBack) await this.#teller.tell(service.network);
      });
      const isNew = await this.#change(ep.id, service.id, { isSure: true }, (now) => {
        before = now;
        if (now !== undefined && now.state !== 'draining')
          throw new CnmError('already_joined', `sandbox ${sandbox.name} is a member of service ${service.name} already`);
        return { service: service.id, state };
      });
      if (!isNew) throw this.#notConnected(service, sandbox);
      await this.#teller.tell(service.network);
    });
    if (service.ports.length > 0) this.#teller.publishSoon();
  }

  /** No new connections from now on; with `leavesBy` it goes when it has none left. When it resolves this host's clients know. */
  async drain(service: ServiceRecord, term: string, leavesBy?: number): Promise<EndpointId> {
    refuseWhenClosing(this.#cnm);
    const { ep, sandbox } = this.#find(service, term);
    const isMember = await this.#change(ep.id, service.id, {}, (now) => {
      if (now === undefined) throw noMember(service, sandbox);
      return { service: service.id, state: 'draining', ...(leavesBy !== undefined && { leavesBy }) };
    });
    if (!isMember && membershipOf(this.#cnm.state.endpointById(ep.id) ?? {}, service.id) === undefined)
      throw noMember(service, sandbox);
    await this.#teller.tell(service.network);
    if (service.ports.length > 0) this.#teller.publishSoon();
    if (leavesBy !== undefined) this.#goOn(ep.id, service.id);
    return ep.id;
  }

  /** Found by its check, or by the end or the start of its process. */
  async judge(endpoint: EndpointId, service: ServiceId, state: 'starting' | 'healthy' | 'unhealthy'): Promise<void> {
    if (this.#cnm.closing) return;
    const record = this.#cnm.state.serviceById(service);
    const isNews = await this.#change(endpoint, service, {}, (now) =>
      now === undefined || now.state === 'draining' ? now : { service, state },
    );
    if (!isNews || record === undefined) return;
    this.#teller.tellSoon(record.network);
    if (record.ports.length > 0) this.#teller.publishSoon();
  }

  /** The service is gone: nobody of this host is a member of it. */
  async forget(service: ServiceRecord): Promise<void> {
    for (const ep of this.#cnm.state.endpointsOfNetwork(service.network))
      if (membershipOf(ep, service.id) !== undefined) await this.#change(ep.id, service.id, {}, () => undefined);
  }

  /** Connections that a member of this host has, as far as this host can see; it ends with `signal` or at `until` at the latest. */
  async drained(service: ServiceRecord, endpoint: EndpointId, until: number, signal: AbortSignal): Promise<number> {
    const isLate = this.#passing(until);
    for (;;) {
      const begun = performance.now();
      const left = await this.#connectionsOf(endpoint, service.id);
      const isOver = isLate() || signal.aborted || this.#closing.signal.aborted;
      const isGone = membershipOf(this.#cnm.state.endpointById(endpoint) ?? {}, service.id)?.state !== 'draining';
      if (left === 0 || isOver || isGone) return left;
      await sleep(pauseAfter(begun), undefined, { ref: false });
    }
  }

  #find(service: ServiceRecord, term: string): { readonly ep: EndpointRecord; readonly sandbox: SandboxRecord } {
    const { state } = this.#cnm;
    const sandbox = state.sandbox(term);
    const net = state.networkById(service.network);
    const ep = state
      .endpointsOfSandbox(sandbox.id)
      .find((one) => one.network === service.network && one.phase === 'joined' && !isGatewayEndpoint(one, net));
    if (ep === undefined) throw this.#notConnected(service, sandbox);
    return { ep, sandbox };
  }

  #notConnected({ name, network }: ServiceRecord, sandbox: SandboxRecord): CnmError {
    const net = this.#cnm.state.networkById(network)?.name ?? network;
    return new CnmError(
      'not_connected',
      `sandbox ${sandbox.name} is not connected to network ${net} of service ${name}: network connect ${net} ${sandbox.name}`,
    );
  }

  /**
   * Answers whether something has changed. Where the cluster is away others are told later, or, with `isSure`, nothing is changed.
   * Connects of the sandbox write its endpoints too, hence its lock.
   */
  async #change(
    id: EndpointId,
    service: ServiceId,
    { isSure = false },
    next: (now: Membership | undefined) => Membership | undefined,
  ): Promise<boolean> {
    const { state, locks, shared } = this.#cnm;
    const home = state.endpointById(id)?.sandbox;
    if (home === undefined) return false;
    return locks.run(`sandbox:${home}`, async () => {
      const ep = state.endpointById(id);
      const net = ep && state.networkById(ep.network);
      if (ep?.phase !== 'joined' || net === undefined) return false;
      const now = membershipOf(ep, service);
      const after = next(now);
      if (isDeepStrictEqual(now, after)) return false;
      const others = (ep.services ?? []).filter((one) => one.service !== service);
      const services = after === undefined ? others : [...others, after];
      const { services: _before, ...rest } = ep;
      const record = services.length === 0 ? rest : { ...rest, services };
      const write = (): Promise<void> => state.commit({ endpoints: [record] });
      if (net.shared !== true || shared === undefined) await write();
      else if (isSure)
        await undoable(async (undo) => {
          undo.add('tell membership as it was', () => shared.endpoints.rewrite(net, ep));
          await shared.endpoints.write(net, record, true);
          await write();
        });
      else {
        await write();
        await shared.endpoints.rewrite(net, record);
      }
      return true;
    });
  }

  #goOn(endpoint: EndpointId, service: ServiceId): void {
    const key = `${endpoint}/${service}`;
    if (this.#going.has(key)) return;
    const going = this.#untilGone(endpoint, service)
      .catch((error: unknown) =>
        this.#cnm.env.log.error({ endpoint, service, error: messageOf(error) }, 'a member that drains could not be removed'),
      )
      .finally(() => this.#going.delete(key));
    this.#going.set(key, going);
  }

  async #untilGone(endpoint: EndpointId, service: ServiceId): Promise<void> {
    const { state } = this.#cnm;
    const begun = performance.now();
    let [known, isLate] = [-1, (): boolean => false];
    for (;;) {
      const lookBegun = performance.now();
      const leavesBy = membershipOf(state.endpointById(endpoint) ?? {}, service)?.leavesBy;
      if (leavesBy === undefined || this.#closing.signal.aborted) return;
      if (leavesBy !== known) [known, isLate] = [leavesBy, this.#passing(leavesBy)];
      if (isLate() || (performance.now() - begun >= LEAST_MS && (await this.#connectionsOf(endpoint, service)) === 0)) break;
      await sleep(pauseAfter(lookBegun), undefined, { signal: this.#closing.signal, ref: false }).catch(() => {});
    }
    await this.#change(endpoint, service, {}, (now) => (now?.leavesBy === undefined ? now : undefined));
    const record = state.serviceById(service);
    if (record === undefined) return;
    this.#teller.tellSoon(record.network);
    if (record.ports.length > 0) this.#teller.publishSoon();
  }

  /** Whether a time of day is over, as far off as it is now: whoever sets the clock meanwhile cuts no connections. */
  #passing(until: number): () => boolean {
    const { env } = this.#cnm;
    const steady = steadyOf(env);
    const end = steady() + until - env.now();
    return () => steady() >= end;
  }

  /** Those at its own listeners, from wherever they come, and those that clients of this host have through a service. */
  async #connectionsOf(endpoint: EndpointId, service: ServiceId): Promise<number> {
    const { state } = this.#cnm;
    const ep = state.endpointById(endpoint);
    const home = ep?.sandbox === undefined ? undefined : state.sandboxById(ep.sandbox);
    if (ep === undefined || home === undefined) return 0;
    const addresses = addressesOf(ep);
    using inside = tryOpenSandboxNetns(home);
    const inbound = inside === undefined ? 0 : await countInbound(inside, addresses);
    if (inbound > 0) return inbound;
    let flows = await this.#ingress.countFlows(service, { addresses, state: 'draining' });
    for (const { sandbox } of state.endpointsOfNetwork(ep.network)) {
      const client = sandbox === undefined ? undefined : state.sandboxById(sandbox);
      using netns = client?.mode === 'own' ? tryOpenSandboxNetns(client) : undefined;
      if (netns !== undefined) flows += await this.#cnm.balancer.countFlows(netns, { addresses, state: 'draining' });
    }
    return flows;
  }
}

const noMember = (service: ServiceRecord, sandbox: SandboxRecord): CnmError =>
  new CnmError('no_member', `sandbox ${sandbox.name} is no member of service ${service.name}`);
