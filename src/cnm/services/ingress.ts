/**
 * The mesh: a service's published ports answer on every host, also on those without a member. A host has a sandbox for each
 * service that publishes: its host ports are those of any sandbox (held, translated, mended, found again by a start), and
 * inside it each leads on to the members (src/balance/gate.ts).
 */

import { CnmError, type SandboxId, messageOf, shortId, undoable } from '../../base/index.ts';
import {
  type Gate,
  type PublishedService,
  type BalancedMember,
  createGate,
  isCarried,
  TableMemory,
} from '../../balance/index.ts';
import type { PortBindingsInput } from '../../portmap/index.ts';
import type { Cnm } from '../context.ts';
import { openSandboxNetns, tryOpenSandboxNetns } from '../join.ts';
import type { NetworkRecord, SandboxRecord } from '../records.ts';
import { createSandbox, deleteSandbox } from '../sandboxes.ts';
import { INGRESS_SERVICE, INGRESS_WISH, ingressServiceOf } from './ingress-names.ts';

export class Ingress {
  readonly #cnm: Cnm;
  readonly #gate: Gate;
  readonly #troubles = new Map<string, string>();
  /** What is known of the inside of each sandbox. */
  readonly #insides = new Map<SandboxId, TableMemory>();
  /** The call before ends first. */
  #last: Promise<void> = Promise.resolve();

  constructor(cnm: Cnm) {
    this.#cnm = cnm;
    this.#gate = createGate(cnm.mark);
  }

  /**
   * Brings this host to exactly what is published: what is missing is made, what nobody publishes any more ends. Repeatable; what is
   * as wished stays as it is. What fails is logged, told by troubleOf, and tried again with the next call. Throws shutting_down.
   */
  apply(wanted: readonly PublishedService[]): Promise<void> {
    const mine = this.#last.then(() => this.#apply(wanted));
    this.#last = mine.catch(() => {});
    return mine;
  }

  /** Whether this host has anything of the mesh, wanted or not. */
  get isLeft(): boolean {
    return this.#sandboxes().length > 0;
  }

  /** Why ports of the service do not answer on this host; undefined when they do. */
  troubleOf(serviceId: string): string | undefined {
    return this.#troubles.get(serviceId);
  }

  /** Connections that still go through published ports of this host to the member. */
  async countFlows(serviceId: string, member: BalancedMember): Promise<number> {
    let count = 0;
    for (const sandbox of this.#sandboxes().filter((one) => ingressServiceOf(one) === serviceId)) {
      using netns = tryOpenSandboxNetns(sandbox);
      if (netns !== undefined) count += await this.#gate.countFlows(netns, member);
    }
    return count;
  }

  /** Those that are half removed too. */
  #sandboxes(): SandboxRecord[] {
    return this.#cnm.state.allSandboxes().filter((sandbox) => ingressServiceOf(sandbox) !== undefined);
  }

  async #apply(wanted: readonly PublishedService[]): Promise<void> {
    const publishing = wanted.filter(({ ports }) => ports.length > 0);
    const ids = new Set(publishing.map(({ service }) => service.id));
    for (const id of this.#troubles.keys()) if (!ids.has(id)) this.#troubles.delete(id);
    const kept = new Map<string, SandboxRecord>();
    // Ends come first: another service may want the same host port now.
    for (const sandbox of this.#sandboxes()) {
      const id = ingressServiceOf(sandbox) ?? '';
      const wish = publishing.find(({ service }) => service.id === id);
      if (wish !== undefined && !kept.has(id) && this.#isAsWished(sandbox, wish)) kept.set(id, sandbox);
      else await this.#guarded(id, () => this.#end(sandbox));
    }
    for (const wish of publishing) {
      const { id } = wish.service;
      if (await this.#guarded(id, () => this.#bring(wish, kept.get(id)))) this.#troubles.delete(id);
    }
  }

  /** Whether it went well; what fails concerns one service. */
  async #guarded(id: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      const trouble = messageOf(error);
      if (this.#troubles.get(id) !== trouble)
        this.#cnm.env.log.error(
          { service: id, err: error },
          'published ports of a service are not as they should be on this host',
        );
      this.#troubles.set(id, trouble);
      return false;
    }
  }

  async #bring(wish: PublishedService, there: SandboxRecord | undefined): Promise<void> {
    const lacking = wish.ports.find((port) => !isCarried(port));
    if (lacking !== undefined) {
      const port = `${lacking.published}/${lacking.protocol}`;
      throw new CnmError('not_supported_here', `port ${port} cannot be published: TCP and UDP can`);
    }
    await undoable(async (undo) => {
      const sandbox = there ?? (await this.#create(wish));
      if (there === undefined) undo.add('end the ingress', () => this.#end(sandbox));
      using netns = openSandboxNetns(sandbox);
      const memory = this.#insides.get(sandbox.id) ?? new TableMemory();
      this.#insides.set(sandbox.id, memory);
      await this.#gate.apply(netns, [wish], memory);
    });
  }

  async #create(wish: PublishedService): Promise<SandboxRecord> {
    const net = this.#cnm.state.network(wish.network);
    if (net.internal) throw new CnmError('not_supported_here', `network ${net.name} is internal: nothing is published from it`);
    const { record, warnings } = await createSandbox(this.#cnm, {
      name: `ingress_${shortId(wish.service.id)}`,
      networks: [[net.id, {}]],
      portBindings: bindingsOf(wish),
      labels: { [INGRESS_SERVICE]: wish.service.id, [INGRESS_WISH]: wishText(wish, net) },
    });
    for (const warning of warnings) this.#cnm.env.log.warn({ service: wish.service.id }, warning);
    return record;
  }

  #end({ id }: SandboxRecord): Promise<void> {
    this.#insides.delete(id);
    return this.#cnm.locks.run(`sandbox:${id}`, () => deleteSandbox(this.#cnm, id));
  }

  #isAsWished(sandbox: SandboxRecord, wish: PublishedService): boolean {
    if (sandbox.phase !== 'ready') return false;
    const net = this.#cnm.state.networks().find(({ id, name }) => id === wish.network || name === wish.network);
    return net !== undefined && sandbox.labels[INGRESS_WISH] === wishText(wish, net);
  }
}

/** The sandbox has the ports under the numbers that hosts have: two of them may lead to the same port of members. */
const bindingsOf = ({ ports }: PublishedService): PortBindingsInput =>
  Object.fromEntries(
    ports.map(({ protocol, published }) => [`${published}/${protocol}`, [{ HostIp: '', HostPort: String(published) }]]),
  );

/** Whatever a sandbox cannot be changed in: another one is made where it differs. */
const wishText = ({ ports }: PublishedService, net: NetworkRecord): string =>
  [net.id, ...ports.map(({ protocol, published }) => `${published}/${protocol}`).toSorted()].join(' ');
