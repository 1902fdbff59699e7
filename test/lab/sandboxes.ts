/** Sandboxes of the lab, each with a prober in it. */

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type SandboxAnswer, shortId } from '../../src/base/index.ts';
import type { Commands } from './commands.ts';
import type { Host } from './host.ts';
import { PROGRAMS } from './places.ts';
import { Prober } from './prober.ts';
import { until } from './wait.ts';

const GONE_MS = 30_000;

export interface BoxSpec {
  /** First network; others as `--network` takes them. */
  readonly network: string;
  readonly flags?: readonly string[];
}

export class Box {
  readonly host: Host;
  readonly name: string;
  readonly network: string;
  /** Of its namespace. */
  readonly pin: string;
  readonly probe: Prober;
  /** On its first network; empty where it has none. */
  readonly v4: string;
  readonly v6: string;
  readonly mac: string;

  constructor(host: Host, name: string, network: string, probe: Prober, answer: SandboxAnswer) {
    this.host = host;
    this.name = name;
    this.network = network;
    this.probe = probe;
    this.pin = shortId(answer.Id);
    const endpoint = answer.Networks[network];
    this.v4 = endpoint?.IPAddress ?? '';
    this.v6 = endpoint?.GlobalIPv6Address ?? '';
    this.mac = endpoint?.MacAddress ?? '';
  }

  /** Its addresses on its first network. */
  get addresses(): string[] {
    return [this.v4, this.v6].filter((address) => address !== '');
  }

  async remove(): Promise<void> {
    this.probe.close();
    await this.host.ok('sandbox', 'rm', '-f', this.name);
  }
}

export class Sandboxes {
  readonly #folder: string;
  readonly #commands: Commands;
  readonly #probers: Prober[] = [];
  #count = 0;

  constructor(folder: string, commands: Commands) {
    this.#folder = join(folder, 'probers');
    this.#commands = commands;
  }

  /** A sandbox with a prober on a host; resolves when the prober answers. */
  async start(host: Host, name: string, { network, flags = [] }: BoxSpec): Promise<Box> {
    mkdirSync(this.#folder, { recursive: true });
    const path = join(this.#folder, `${++this.#count}.sock`);
    rmSync(path, { force: true });
    const program = [process.execPath, join(PROGRAMS, 'prober.mjs'), path, name];
    await host.ok('run', '-d', '--name', name, '--network', network, ...flags, '--', ...program);
    const probe = await Prober.connect(path);
    this.#probers.push(probe);
    return new Box(host, name, network, probe, await host.must<SandboxAnswer>('GET', `/sandboxes/${name}`));
  }

  /** Every sandbox of these hosts. */
  async removeAll(hosts: readonly Host[]): Promise<void> {
    this.close();
    const remove = async (host: Host): Promise<number> => {
      const all = await host.must<readonly SandboxAnswer[]>('GET', '/sandboxes?all=1');
      for (const { Id } of all) await host.api('DELETE', `/sandboxes/${Id}?force=1`);
      return all.length;
    };
    const isClean = async (): Promise<boolean> => (await Promise.all(hosts.map(remove))).every((count) => count === 0);
    await until('no sandbox is left', isClean, GONE_MS, this.#commands.signal);
  }

  close(): void {
    for (const probe of this.#probers.splice(0)) probe.close();
  }
}
