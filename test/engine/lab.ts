/**
 * A machine in a namespace with real engines on it and our daemon as their plugin. They live in a mount namespace of the lab's
 * own, since every engine of a machine looks for plugins in the same folder.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { DIST } from '../e2e/lab.ts';
import { makeWire } from '../e2e/wire.ts';
import { LabEngine, type Ran, ended } from './engine.ts';
import type { Generation } from './packages.ts';

export { WIRE } from '../e2e/wire.ts';

const HOLD = `set -e
mount --rbind /sys/fs/cgroup "$1/cg"; mount -t sysfs sysfs /sys; mount --rbind "$1/cg" /sys/fs/cgroup; umount -l "$1/cg"
mount --make-rshared /; mkdir -p /run/docker /etc/docker; mount --bind "$1/run" /run/docker; mount --bind "$1/etc" /etc/docker
echo held; exec sleep infinity`;

export class EngineLab {
  readonly folder = mkdtempSync('/tmp/pbt-');
  readonly runDir = mkdtempSync('/dev/shm/pbt-');
  readonly host = `pbt-${randomBytes(3).toString('hex')}-eng`;
  readonly outside = `${this.host}-out`;
  readonly #engines: LabEngine[] = [];
  #holder: ChildProcess | undefined;
  #plugin: ChildProcess | undefined;
  /** What the plugin wrote to stderr so far. */
  log = '';

  /** Engines and plugin serve, and the image `bb:1` is there, when it resolves. */
  static open(...generations: readonly Generation[]): Promise<EngineLab> {
    return EngineLab.#open(generations, (lab) => lab.startPlugin(), []);
  }

  /** The same without a plugin. */
  static alone(generation: Generation, ...flags: readonly string[]): Promise<EngineLab> {
    return EngineLab.#open([generation], async () => {}, flags);
  }

  static async #open(
    generations: readonly Generation[],
    begin: (lab: EngineLab) => Promise<void>,
    flags: readonly string[],
  ): Promise<EngineLab> {
    const lab = new EngineLab();
    try {
      await lab.#hold();
      for (const [at, generation] of generations.entries())
        lab.#engines.push(
          new LabEngine(generation, {
            enter: (words) => lab.#enter(words),
            folder: lab.folder,
            name: `e${at}`,
            group: lab.host,
            // The first has the folder that engines have by themselves, which is the lab's own here.
            execRoot:
              at === 0
                ? { path: '/var/run/docker', seen: join(lab.folder, 'run') }
                : { path: join(lab.folder, `x${at}`), seen: join(lab.folder, `x${at}`) },
          }),
        );
      await begin(lab);
      for (const engine of lab.#engines) {
        await engine.start(...(engine === lab.engine ? flags : ['--bridge', 'none']));
        await engine.image();
      }
      return lab;
    } catch (error) {
      await lab.close();
      throw new Error('the lab did not come up', { cause: error });
    }
  }

  /** The first, which most tests have alone. */
  get engine(): LabEngine {
    return this.engineAt(0);
  }

  engineAt(index: number): LabEngine {
    const engine = this.#engines[index];
    if (engine === undefined) throw new Error(`the lab has no engine ${index}`);
    return engine;
  }

  async #hold(): Promise<void> {
    for (const name of ['run', 'etc', 'cg']) mkdirSync(join(this.folder, name));
    await makeWire(this.host, this.outside);
    const inside = ['unshare', '-m', '--propagation', 'slave', 'sh', '-c', HOLD, 'sh', this.folder];
    const holder = spawn('nsenter', [`--net=/run/netns/${this.host}`, ...inside], {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    this.#holder = holder;
    await new Promise<void>((resolve, reject) => {
      holder.stdout.once('data', () => resolve());
      holder.once('exit', (code) => reject(new Error(`the holder of the namespaces ended with ${code}`)));
    });
  }

  /** Command line that runs the words in the lab's namespaces. */
  #enter(words: readonly string[]): [string, string[]] {
    const pid = this.#holder?.pid;
    if (pid === undefined) throw new Error('the lab is not open');
    return ['nsenter', [`--mount=/proc/${pid}/ns/mnt`, `--net=/run/netns/${this.host}`, ...words]];
  }

  startEngine = (...flags: readonly string[]): Promise<void> => this.engine.start(...flags);
  stopEngine = (): Promise<void> => this.engine.stop();
  killEngine = (): Promise<void> => this.engine.kill();
  docker = (...args: readonly string[]): Promise<Ran> => this.engine.docker(...args);

  /** As docker, and the command must succeed. */
  async ok(...args: readonly string[]): Promise<string> {
    try {
      return await this.engine.ok(...args);
    } catch (error) {
      throw new Error(`${String(error)}\n${this.log.slice(-2000)}`, { cause: error });
    }
  }

  async startPlugin(...flags: readonly string[]): Promise<void> {
    const folders = ['--host', `unix://${this.folder}/pb.sock`, '--state-dir', `${this.folder}/state`, '--run-dir', this.runDir];
    const words = [
      process.execPath,
      join(DIST, 'patchbayd.js'),
      ...folders,
      '--bridge',
      'none',
      ...this.#engines.flatMap(({ socket }) => ['--engine', `unix://${socket}`]),
      ...flags,
    ];
    const [command, args] = this.#enter(words);
    const plugin = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#plugin = plugin;
    plugin.stderr.on('data', (chunk: Buffer) => (this.log += chunk.toString()));
    await new Promise<void>((resolve, reject) => {
      plugin.stdout.once('data', () => resolve());
      plugin.once('exit', (code) => reject(new Error(`the plugin ended with ${code} before it was ready:\n${this.log}`)));
    });
  }

  async stopPlugin(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await ended(this.#plugin, signal);
    this.#plugin = undefined;
  }

  /** Runs a command on the machine, and it must succeed. */
  async on(...words: readonly string[]): Promise<string> {
    const [command, args] = this.#enter(words);
    return (await execa(command, args)).stdout;
  }

  /** Runs a command in the outside world. */
  async out(...words: readonly string[]): Promise<Ran> {
    const found = await execa('nsenter', [`--net=/run/netns/${this.outside}`, ...words], { reject: false, timeout: 30_000 });
    return { code: found.exitCode ?? -1, stdout: found.stdout, stderr: found.stderr };
  }

  /** Links and rules of ours that are on the machine and stay there; the kernel takes a moment to delete a link. */
  async leftovers(): Promise<string[]> {
    let found = await this.#ours();
    for (let i = 0; i < 100 && found.length > 0; i++) {
      await sleep(100);
      found = await this.#ours();
    }
    return found;
  }

  async #ours(): Promise<string[]> {
    const links = (JSON.parse(await this.on('ip', '-j', 'link')) as { ifname: string }[]).map(({ ifname }) => ifname);
    const rules = await this.on('sh', '-c', 'iptables-save; ip6tables-save');
    return [
      ...links.filter((name) => /^(br-|veth|peer|dead)/.test(name)),
      ...rules.split('\n').filter((line) => /^-A .*(br-|-d 10\.)/.test(line)),
    ];
  }

  async close(): Promise<void> {
    for (const engine of this.#engines) await engine.close();
    await ended(this.#plugin, 'SIGTERM').catch(() => undefined);
    if (this.#holder?.pid !== undefined) process.kill(-this.#holder.pid, 'SIGKILL');
    for (const name of [this.host, this.outside]) await execa('ip', ['netns', 'del', name], { reject: false });
    await execa('sh', ['-c', 'rmdir /sys/fs/cgroup/*/"$1"', 'sh', this.host], { reject: false });
    for (const folder of [this.folder, this.runDir]) {
      await execa('sh', ['-c', 'for pin in "$1"/netns/* "$1"/*/netns/*; do umount -l "$pin"; done', 'sh', folder], {
        reject: false,
      });
      rmSync(folder, { recursive: true, force: true });
    }
  }
}
