/** Several hosts on one underlay, each with a daemon, and the etcd that they share. Removed whole, also on failure. */

import { copyFileSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Commands } from './commands.ts';
import { Etcd } from './etcd.ts';
import { Host } from './host.ts';
import { Sandboxes } from './sandboxes.ts';
import { type Run, beginRun, endRun, sweepRuns } from './run.ts';
import { Underlay, type UnderlayFamily } from './underlay.ts';
import { until } from './wait.ts';

export interface LabOptions {
  readonly hosts: number;
  readonly underlay: UnderlayFamily;
  /** Silence after which a host is taken for dead. */
  readonly leaseSeconds: number;
}

export const MAX_HOSTS = 64;
/** Longest wait for all hosts to know each other, milliseconds. */
const KNOWN_MS = 30_000;

export class Lab {
  readonly run: Run;
  readonly options: LabOptions;
  readonly commands = new Commands();
  readonly underlay: Underlay;
  readonly etcd: Etcd;
  readonly hosts: readonly Host[];
  readonly sandboxes: Sandboxes;

  private constructor(options: LabOptions) {
    this.options = options;
    const names = Array.from({ length: options.hosts }, (_, i) => `host${i + 1}`);
    this.run = beginRun(['lan', ...Etcd.places(), ...names]);
    this.underlay = new Underlay(this.run, this.commands, options.underlay);
    this.etcd = new Etcd(this.run, this.underlay);
    this.hosts = names.map((name, i) => {
      const at = { folder: join(this.run.folder, name), namespace: this.run.namespaceOf(name) };
      const spec = { ...at, number: i + 1, address: this.underlay.addressOf(i + 1), cluster: this.etcd.address };
      return new Host({ ...spec, leaseSeconds: options.leaseSeconds }, this.commands);
    });
    this.sandboxes = new Sandboxes(this.run.folder, this.commands);
  }

  /** Everything up, and every host known to every host. `onMade` gets it as soon as there is something to close. */
  static async open(options: LabOptions, onMade: (lab: Lab) => void = () => {}): Promise<Lab> {
    await sweepRuns();
    const lab = new Lab(options);
    onMade(lab);
    try {
      await lab.underlay.make();
      for (const host of lab.hosts) await lab.underlay.addPlace(host.name, host.number);
      await lab.etcd.make();
      await lab.startAll();
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** Host by its number, 1 and up. */
  host(number: number): Host {
    const host = this.hosts[number - 1];
    if (host === undefined) throw new Error(`there is no host ${number}: they are 1 to ${this.hosts.length}`);
    return host;
  }

  /** Starts daemons that do not run, and waits until each host shows all others as ready. */
  async startAll(): Promise<void> {
    await Promise.all(this.hosts.map((host) => host.start()));
    await this.showsAll();
  }

  /** Waits until each host shows exactly these as ready; answers the milliseconds. */
  async showsReady(names: readonly string[], on: readonly Host[], limitMs: number): Promise<number> {
    const wanted = names.toSorted().join(' ');
    const ready = async (host: Host): Promise<string> => {
      const { status, json } = await host.api<readonly { Name: string; State: string }[]>('GET', '/cluster/nodes');
      if (status !== 200) return `status ${status}`;
      return json
        .filter(({ State }) => State === 'ready')
        .map(({ Name }) => Name)
        .toSorted()
        .join(' ');
    };
    const isSo = async (): Promise<boolean> => (await Promise.all(on.map(ready))).every((text) => text === wanted);
    return await until(`${on.map(({ name }) => name).join(' ')} show as ready: ${wanted}`, isSo, limitMs, this.commands.signal);
  }

  async showsAll(limitMs = KNOWN_MS): Promise<number> {
    return await this.showsReady(
      this.hosts.map(({ name }) => name),
      this.hosts,
      limitMs,
    );
  }

  /** As healAll(), and no sandbox, no network and no record of either is left anywhere. */
  async reset(): Promise<void> {
    await this.healAll();
    await this.sandboxes.removeAll(this.hosts);
    await removeNetworks(this.hosts, this.commands.signal);
    await this.#recordsAreGone();
  }

  /** All that was done to wire, etcd and daemons is taken back, and every host knows every host. */
  async healAll(): Promise<void> {
    for (const place of [...Etcd.places(), ...this.hosts.map(({ name }) => name)]) await this.underlay.heal(place);
    await this.etcd.startAll();
    await Promise.all(this.hosts.map((host) => host.stopStrange()));
    await this.startAll();
  }

  /** In etcd is nothing but who is there, and which networks were removed: no address, number or name is lost. */
  async #recordsAreGone(): Promise<void> {
    let left: readonly string[] = [];
    const isSo = async (): Promise<boolean> => {
      left = (await this.etcd.records()).filter(([key, value]) => !mayStay(key, value)).map((record) => record.join(' '));
      return left.length === 0;
    };
    await until('no record of a network is left in etcd', isSo, KNOWN_MS, this.commands.signal).catch((error: Error) => {
      throw new Error(`${error.message}: ${left.join(' ')}`);
    });
  }

  /** Copies all logs into a folder, which is made. */
  keepLogs(folder: string): void {
    mkdirSync(folder, { recursive: true });
    for (const { name, folder: from } of this.hosts) copyFileSync(join(from, 'daemon.log'), join(folder, `${name}.log`));
    for (const log of this.etcd.logs()) copyFileSync(log, join(folder, basename(log)));
  }

  /** Ends everything that the run made. Repeatable. */
  async close(): Promise<void> {
    this.sandboxes.close();
    await this.commands.close();
    await endRun(this.run.id);
  }
}

/** Records of hosts, that a network or a service was removed, and the list of pools when it is empty. */
const mayStay = (key: string, value: string): boolean =>
  /^(node|alive|network-gone|service-gone)\//.test(key) || (key === 'ipam/pools' && /"pools":\{\}/.test(value));

/** `docker_gwbridge` stays where it was made once. */
const BUILT_IN = new Set(['bridge', 'host', 'none', 'docker_gwbridge']);

/** Networks of the cluster go everywhere when one host removes them; what is gone already is no error. */
async function removeNetworks(hosts: readonly Host[], signal: AbortSignal): Promise<void> {
  const left = async (host: Host): Promise<string[]> =>
    (await host.must<readonly { Id: string; Name: string }[]>('GET', '/networks'))
      .filter(({ Name }) => !BUILT_IN.has(Name))
      .map(({ Id }) => Id);
  const isClean = async (): Promise<boolean> => {
    let count = 0;
    for (const host of hosts) {
      // A network that has a service stays.
      for (const { Id } of await host.must<readonly { Id: string }[]>('GET', '/network-services'))
        await host.api('DELETE', `/network-services/${Id}`);
      for (const id of await left(host)) {
        count++;
        await host.api('DELETE', `/networks/${id}`);
      }
    }
    return count === 0;
  };
  await until('no network is left', isClean, KNOWN_MS, signal);
}
