/**
 * Clients with a mixed load, and the ledger of what the daemon has acknowledged to each. What was under way when the daemon
 * died is unknown; everything else must be as the ledger says.
 */

import type { NetworkJson, SandboxAnswer } from '../../src/base/index.ts';
import type { Lab } from '../e2e/lab.ts';
import { ask } from './client.ts';

/** Network that all clients use and nobody removes. */
export const COMMON = 'common';

const MAX_NETWORKS = 3;
const MAX_SANDBOXES = 4;
/** Host ports of a client begin at a multiple of this. */
const PORTS_EACH = 500;
const FIRST_PORT = 20_000;

/** undefined: unknown. */
type Known = boolean | undefined;

interface KnownSandbox {
  there: Known;
  readonly port: string;
  readonly networks: Map<string, Known>;
}

const count = (known: Iterable<Known>): number => [...known].filter((there) => there !== false).length;
const pick = <T>(list: readonly T[]): T | undefined => list[Math.floor(Math.random() * list.length)];

export class Client {
  readonly #lab: Lab;
  readonly #me: number;
  readonly #networks = new Map<string, Known>();
  readonly #sandboxes = new Map<string, KnownSandbox>();
  #serial = 0;
  #isLost = false;
  /** Requests that were answered, by status. */
  readonly answers = new Map<number, number>();
  /** Bodies of answers that say that something unexpected happened. */
  readonly surprises: string[] = [];

  constructor(lab: Lab, me: number) {
    this.#lab = lab;
    this.#me = me;
  }

  /** True when the last request was not answered. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** One random operation. Refusals for want of a keeper are accepted: then nothing has changed. */
  async step(): Promise<void> {
    const sandbox = pick([...this.#sandboxes].filter(([, known]) => known.there !== false).map(([name]) => name));
    const network = pick([...this.#networks].filter(([, known]) => known !== false).map(([name]) => name));
    const dice = Math.random();
    if (network === undefined || (dice < 0.15 && count(this.#networks.values()) < MAX_NETWORKS)) await this.#createNetwork();
    else if (dice < 0.25) await this.#removeNetwork(network);
    else if (
      sandbox === undefined ||
      (dice < 0.5 && count([...this.#sandboxes.values()].map((known) => known.there)) < MAX_SANDBOXES)
    )
      await this.#createSandbox(network);
    else if (dice < 0.65) await this.#removeSandbox(sandbox);
    else await this.#toggle(sandbox, network);
  }

  async #ask(method: string, path: string, body?: unknown): Promise<number> {
    const { status, text } = await ask(this.#lab, method, path, body);
    this.#isLost = status === 0;
    this.answers.set(status, (this.answers.get(status) ?? 0) + 1);
    if (/"code":"(internal|syscall_failed|firewall_failed)"/.test(text)) this.surprises.push(`${method} ${path}: ${text}`);
    return status;
  }

  async #createNetwork(): Promise<void> {
    const Name = `net${this.#me}-${this.#serial++}`;
    this.#networks.set(Name, undefined);
    const status = await this.#ask('POST', '/networks/create', {
      Name,
      EnableIPv6: Math.random() < 0.3,
      // Its sandboxes are led outside, and published, by the gateway bridge.
      Driver: Math.random() < 0.3 ? 'overlay' : 'bridge',
    });
    if (status === 201) this.#networks.set(Name, true);
    else if (status !== 0) this.#networks.delete(Name);
  }

  async #removeNetwork(name: string): Promise<void> {
    const before = this.#networks.get(name);
    this.#networks.set(name, undefined);
    const status = await this.#ask('DELETE', `/networks/${name}`);
    if (status === 204 || status === 404) this.#networks.set(name, false);
    else if (status === 403) this.#networks.set(name, before);
  }

  async #createSandbox(network: string): Promise<void> {
    const serial = this.#serial++;
    const Name = `box${this.#me}-${serial}`;
    const port = String(FIRST_PORT + this.#me * PORTS_EACH + (serial % PORTS_EACH));
    const known: KnownSandbox = { there: undefined, port, networks: new Map([[network, true]]) };
    this.#sandboxes.set(Name, known);
    const status = await this.#ask('POST', '/sandboxes/create', {
      Name,
      Networks: { [network]: {} },
      PortBindings: { '80/tcp': [{ HostPort: port }] },
    });
    if (status === 201) known.there = true;
    else if (status !== 0) this.#sandboxes.delete(Name);
  }

  async #removeSandbox(name: string): Promise<void> {
    const known = this.#sandboxes.get(name);
    if (known === undefined) return;
    known.there = undefined;
    const status = await this.#ask('DELETE', `/sandboxes/${name}`);
    if (status === 204 || status === 404) known.there = false;
  }

  async #toggle(name: string, network: string): Promise<void> {
    const known = this.#sandboxes.get(name);
    if (known === undefined) return;
    const target = Math.random() < 0.5 ? COMMON : network;
    const before = known.networks.get(target) ?? false;
    known.networks.set(target, undefined);
    const status = await this.#ask('POST', `/networks/${target}/${before ? 'disconnect' : 'connect'}`, { Container: name });
    if (status === 200) known.networks.set(target, !before);
    // A disconnect that failed may have gone half the way: deleting never undoes.
    else if (status !== 0 && !before) known.networks.set(target, before);
  }

  /** Forgets what the ledger says: somebody else removed it all. */
  forget(): void {
    this.#networks.clear();
    this.#sandboxes.clear();
  }

  /** Sandboxes that are on a network and are not published. */
  portless(sandboxes: readonly SandboxAnswer[]): string[] {
    return sandboxes
      .filter(({ Name, Networks, Ports }) => {
        const known = this.#sandboxes.get(Name);
        return known !== undefined && Object.keys(Networks).length > 0 && !hasPort(Ports, known.port);
      })
      .map(({ Name }) => `${Name} has not its port ${this.#sandboxes.get(Name)?.port}`);
  }

  /** What is not as the ledger says; afterwards the ledger is what is. */
  settle(networks: readonly NetworkJson[], sandboxes: readonly SandboxAnswer[]): string[] {
    this.#isLost = false;
    const wrong: string[] = [];
    const check = (what: string, known: Known, is: boolean): void => {
      if (known !== undefined && known !== is) wrong.push(`${what} ${is ? 'is there' : 'is missing'}`);
    };
    for (const [name, known] of this.#networks) {
      const is = networks.some((net) => net.Name === name);
      check(name, known, is);
      if (is) this.#networks.set(name, true);
      else this.#networks.delete(name);
    }
    for (const [name, known] of this.#sandboxes) {
      const found = sandboxes.find((box) => box.Name === name);
      check(name, known.there, found !== undefined);
      if (found === undefined) {
        this.#sandboxes.delete(name);
        continue;
      }
      known.there = true;
      for (const [network, joined] of known.networks) {
        const is = found.Networks[network] !== undefined;
        check(`${name} on ${network}`, joined, is);
        known.networks.set(network, is);
      }
    }
    return [...wrong, ...this.portless(sandboxes)];
  }
}

const hasPort = (ports: SandboxAnswer['Ports'], port: string): boolean =>
  (ports['80/tcp'] ?? []).some((binding) => binding.HostPort === port);

/** Lets the clients run until `until` has settled; then each ends the operation that it is in. */
export async function runClients(clients: readonly Client[], until: Promise<unknown>): Promise<void> {
  let isOver = false;
  void until.finally(() => (isOver = true)).catch(() => {});
  await Promise.all(
    clients.map(async (client) => {
      // A client whose daemon has died waits for the next one.
      while (!isOver && !client.isLost) await client.step();
    }),
  );
  await until;
}
