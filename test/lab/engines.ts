/**
 * Real engines on hosts of a lab. Each lives in a mount namespace of its own, since every engine of a machine looks for plugins in
 * the same folder, and the daemon of its host beside it, where it sees the namespaces of the engine's containers.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { LabEngine, type Ran } from '../engine/engine.ts';
import { endGroup } from './groups.ts';
import type { Host } from './host.ts';
import type { Lab } from './lab.ts';
import { endProcess } from './processes.ts';

const HOLD = `set -e
mount --rbind /sys/fs/cgroup "$1/cg"; mount -t sysfs sysfs /sys; mount --rbind "$1/cg" /sys/fs/cgroup; umount -l "$1/cg"
mount --make-rshared /; mkdir -p /run/docker /etc/docker; mount --bind "$1/docker" /run/docker; mount --bind "$1/etc" /etc/docker
echo held; exec sleep infinity`;

export class HostEngine {
  readonly host: Host;
  readonly engine: LabEngine;
  readonly #holder: ChildProcess;

  readonly #flags: readonly string[];

  private constructor(host: Host, engine: LabEngine, holder: ChildProcess, flags: readonly string[]) {
    this.host = host;
    this.engine = engine;
    this.#holder = holder;
    this.#flags = flags;
  }

  /** The engine serves and has the image `bb:1`, and the host's daemon serves it, when this resolves. */
  static async open(host: Host, flags: readonly string[]): Promise<HostEngine> {
    const folder = join(host.folder, 'e');
    for (const name of ['docker', 'etc', 'cg', 'x']) mkdirSync(join(folder, name), { recursive: true });
    const holder = spawn(
      'nsenter',
      [`--net=/run/netns/${host.namespace}`, 'unshare', '-m', '--propagation', 'slave', 'sh', '-c', HOLD, 'sh', folder],
      { stdio: ['ignore', 'pipe', 'inherit'], detached: true },
    );
    await new Promise<void>((resolve, reject) => {
      holder.stdout.once('data', () => resolve());
      holder.once('exit', (code) => reject(new Error(`the holder of the namespaces of ${host.name} ended with ${code}`)));
    });
    const inside = ['nsenter', `--mount=/proc/${holder.pid}/ns/mnt`, `--net=/run/netns/${host.namespace}`];
    const engine = new LabEngine('newest', {
      enter: (words) => ['nsenter', [...inside.slice(1), ...words]],
      folder,
      name: 'd',
      group: host.namespace,
      execRoot: { path: join(folder, 'x'), seen: join(folder, 'x') },
    });
    const made = new HostEngine(host, engine, holder, flags);
    try {
      await host.stop();
      const serving = ['--plugin-dir', join(folder, 'docker/plugins'), '--engine', `unix://${engine.socket}`];
      host.live({ enter: inside, folder, flags: serving });
      await host.start();
      await made.start();
      await engine.image();
      return made;
    } catch (error) {
      await made.close();
      throw error;
    }
  }

  start(): Promise<void> {
    return this.engine.start('--bridge', 'none', ...this.#flags);
  }

  docker(...args: readonly string[]): Promise<Ran> {
    return this.engine.docker(...args);
  }

  /** As docker, and the command must succeed. */
  ok(...args: readonly string[]): Promise<string> {
    return this.engine.ok(...args);
  }

  /** Containers, engine and daemon end; the daemon is to be started again on the host itself. */
  async close(): Promise<void> {
    await this.engine.close();
    await endGroup(this.host.namespace);
    if (this.host.isServing) await this.host.stop();
    this.host.live(undefined);
    if (this.#holder.pid !== undefined) endProcess(this.#holder.pid);
  }
}

/** Engines on the first hosts, each with these flags; every daemon knows every host when this resolves. */
export async function openEngines(lab: Lab, flags: readonly (readonly string[])[]): Promise<readonly HostEngine[]> {
  const opened: HostEngine[] = [];
  try {
    for (const [i, own] of flags.entries()) opened.push(await HostEngine.open(lab.host(i + 1), own));
    await lab.showsAll();
    return opened;
  } catch (error) {
    for (const one of opened) await one.close();
    throw error;
  }
}
