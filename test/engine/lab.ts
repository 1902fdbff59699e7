/**
 * A machine in a namespace with a real engine on it and our daemon as its plugin. Both live in a mount namespace of the lab's
 * own, since every engine of a machine looks for plugins in the same folder.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { DIST } from '../e2e/lab.ts';
import { type Generation, enginePrograms } from './packages.ts';

const START_MS = 60_000;
const STOP_MS = 60_000;
const APPLETS = [
  'sh',
  'sleep',
  'ip',
  'ping',
  'wget',
  'nc',
  'httpd',
  'cat',
  'nslookup',
  'true',
  'kill',
  'echo',
  'mkdir',
  'timeout',
];

/** Addresses of the machine and of the outside world on the wire between them (RFC 5737, RFC 3849). */
export const WIRE = {
  host: '198.51.100.1',
  outside: '198.51.100.2',
  host6: '2001:db8:100::1',
  outside6: '2001:db8:100::2',
} as const;

const HOLD = `set -e
mount --rbind /sys/fs/cgroup "$1/cg"; mount -t sysfs sysfs /sys; mount --rbind "$1/cg" /sys/fs/cgroup; umount -l "$1/cg"
mkdir -p /run/docker /etc/docker; mount --bind "$1/run" /run/docker; mount --bind "$1/etc" /etc/docker
echo held; exec sleep infinity`;

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class EngineLab {
  readonly folder = mkdtempSync('/tmp/pbt-');
  readonly runDir = mkdtempSync('/dev/shm/pbt-');
  readonly host = `pbt-${randomBytes(3).toString('hex')}-eng`;
  readonly outside = `${this.host}-out`;
  readonly #programs: readonly string[];
  #holder: ChildProcess | undefined;
  #engine: ChildProcess | undefined;
  #plugin: ChildProcess | undefined;
  /** What the plugin wrote to stderr so far. */
  log = '';

  private constructor(programs: readonly string[]) {
    this.#programs = programs;
  }

  /** Engine and plugin serve, and the image `bb:1` is there, when it resolves. */
  static async open(generation: Generation): Promise<EngineLab> {
    const lab = new EngineLab(enginePrograms(generation));
    try {
      await lab.#hold();
      await lab.startPlugin();
      await lab.startEngine();
      await lab.#image();
      return lab;
    } catch (error) {
      const log = existsSync(join(lab.folder, 'engine.log')) ? readFileSync(join(lab.folder, 'engine.log'), 'utf8') : '';
      await lab.close();
      throw new Error(`the lab did not come up:\n${log.slice(-4000)}`, { cause: error });
    }
  }

  async #hold(): Promise<void> {
    for (const name of ['run', 'etc', 'cg']) mkdirSync(join(this.folder, name));
    const { host, outside } = this;
    for (const name of [host, outside]) {
      await execa('ip', ['netns', 'add', name]);
      await execa('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    }
    await execa('ip', ['-n', host, 'link', 'add', 'wire0', 'type', 'veth', 'peer', 'name', 'wire0', 'netns', outside]);
    for (const [name, v4, v6] of [
      [host, WIRE.host, WIRE.host6],
      [outside, WIRE.outside, WIRE.outside6],
    ] as const) {
      await execa('ip', ['-n', name, 'addr', 'add', `${v4}/24`, 'dev', 'wire0']);
      await execa('ip', ['-n', name, 'addr', 'add', `${v6}/64`, 'dev', 'wire0', 'nodad']);
      await execa('ip', ['-n', name, 'link', 'set', 'wire0', 'up']);
    }
    await execa('ip', ['-n', host, 'route', 'add', 'default', 'via', WIRE.outside]);
    const inside = ['unshare', '-m', '--propagation', 'slave', 'sh', '-c', HOLD, 'sh', this.folder];
    const holder = spawn('nsenter', [`--net=/run/netns/${host}`, ...inside], {
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

  /** The engine's own programs first, its client too. */
  get #env(): NodeJS.ProcessEnv {
    return { ...process.env, PATH: `${this.#programs.join(':')}:${process.env['PATH']}` };
  }

  get socket(): string {
    return join(this.folder, 'docker.sock');
  }

  async startEngine(...flags: readonly string[]): Promise<void> {
    const words = [
      'dockerd',
      '--data-root',
      join(this.folder, 'data'),
      '-p',
      join(this.folder, 'pid'),
      '-H',
      `unix://${this.socket}`,
    ];
    const rest = ['--storage-driver', 'vfs', '--userland-proxy=false', '--cgroup-parent', `/${this.host}`, ...flags];
    const log = join(this.folder, 'engine.log');
    const [command, args] = this.#enter(['sh', '-c', 'exec "$@" >>"$0" 2>&1', log, ...words, ...rest]);
    const engine = spawn(command, args, { env: this.#env, stdio: 'ignore', detached: true });
    this.#engine = engine;
    const deadline = performance.now() + START_MS;
    while ((await this.docker('version')).code !== 0) {
      if (engine.exitCode !== null || performance.now() > deadline) throw new Error('the engine did not start');
      await sleep(50);
    }
  }

  async stopEngine(): Promise<void> {
    await ended(this.#engine, 'SIGTERM');
    this.#engine = undefined;
  }

  /** kill -9 of the engine and of its containerd, which would refuse to share its folder with the next one. */
  async killEngine(): Promise<void> {
    await ended(this.#engine, 'SIGKILL');
    this.#engine = undefined;
    const pid = Number(readFileSync(join(this.folder, 'run/containerd/containerd.pid'), 'utf8'));
    process.kill(pid, 'SIGKILL');
    while (existsSync(`/proc/${pid}`)) await sleep(20);
    rmSync(join(this.folder, 'pid'), { force: true });
  }

  async startPlugin(...flags: readonly string[]): Promise<void> {
    const folders = ['--host', `unix://${this.folder}/pb.sock`, '--state-dir', `${this.folder}/state`, '--run-dir', this.runDir];
    const words = [
      process.execPath,
      join(DIST, 'patchbayd.js'),
      ...folders,
      '--bridge',
      'none',
      '--engine',
      `unix://${this.socket}`,
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

  async docker(...args: readonly string[]): Promise<Ran> {
    const options = { reject: false, timeout: 120_000, env: this.#env } as const;
    const found = await execa('docker', ['-H', `unix://${this.socket}`, ...args], options);
    return { code: found.exitCode ?? -1, stdout: found.stdout, stderr: found.stderr };
  }

  /** As docker, and the command must succeed. */
  async ok(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.docker(...args);
    if (code !== 0) throw new Error(`docker ${args.join(' ')} ended with ${code}: ${stderr}\n${this.log.slice(-2000)}`);
    return stdout;
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

  /** An image with a static busybox. */
  async #image(): Promise<void> {
    const root = join(this.folder, 'image');
    for (const name of ['bin', 'tmp', 'www']) mkdirSync(join(root, name), { recursive: true });
    const { stdout: busybox } = await execa('sh', ['-c', 'command -v busybox']);
    await execa('cp', [busybox, join(root, 'bin/busybox')]);
    for (const name of APPLETS) await execa('ln', ['-s', 'busybox', join(root, 'bin', name)]);
    writeFileSync(join(root, 'www/index.html'), 'served\n');
    await execa('sh', ['-c', 'tar -C "$1" -c . | docker -H "unix://$2" import - bb:1', 'sh', root, this.socket], {
      env: this.#env,
    });
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
    if (this.#engine?.exitCode === null)
      await execa('sh', ['-c', 'docker -H "unix://$1" ps -aq | xargs -r docker -H "unix://$1" rm -f', 'sh', this.socket], {
        reject: false,
      });
    await ended(this.#engine, 'SIGTERM').catch(() => undefined);
    await ended(this.#plugin, 'SIGTERM').catch(() => undefined);
    if (this.#holder?.pid !== undefined) process.kill(-this.#holder.pid, 'SIGKILL');
    for (const name of [this.host, this.outside]) await execa('ip', ['netns', 'del', name], { reject: false });
    await execa('sh', ['-c', 'rmdir /sys/fs/cgroup/*/"$1"', 'sh', this.host], { reject: false });
    for (const folder of [this.folder, this.runDir]) {
      await execa('sh', ['-c', 'for pin in "$1"/netns/*; do umount -l "$pin"; done', 'sh', folder], { reject: false });
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

async function ended(child: ChildProcess | undefined, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const done = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  process.kill(child.pid, signal);
  const isLate = await Promise.race([done.then(() => false), sleep(STOP_MS, true, { ref: false })]);
  if (isLate) throw new Error(`process ${child.pid} did not end within ${STOP_MS} ms`);
}
