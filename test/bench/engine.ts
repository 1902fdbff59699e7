/** A real engine in a namespace of the run's own, with its own /sys and /run/docker, to be measured beside us. */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { Client } from './client.ts';
import type { Peers } from './peer-packages.ts';

const START_MS = 30_000;
const STOP_MS = 20_000;

const START = `set -e
mount --rbind /sys/fs/cgroup "$1/cg"; mount -t sysfs sysfs /sys; mount --rbind "$1/cg" /sys/fs/cgroup; umount -l "$1/cg"
mkdir -p /run/docker /etc/docker; mount --bind "$1/run" /run/docker; mount --bind "$1/etc" /etc/docker
shift; exec "$@"`;

export class Engine {
  readonly folder = mkdtempSync('/tmp/pbe-');
  readonly netns = `pbe-${randomBytes(3).toString('hex')}`;
  readonly client: Client;
  readonly #peers: Peers;
  #process: ChildProcess | undefined;

  private constructor(peers: Peers) {
    this.#peers = peers;
    this.client = new Client(this.socket);
  }

  get socket(): string {
    return join(this.folder, 'docker.sock');
  }

  static async open(peers: Peers): Promise<Engine> {
    const engine = new Engine(peers);
    try {
      await engine.#start();
      await engine.#image();
      return engine;
    } catch (error) {
      await engine.close();
      throw error;
    }
  }

  async #start(): Promise<void> {
    for (const name of ['run', 'etc', 'cg']) mkdirSync(join(this.folder, name));
    await execa('ip', ['netns', 'add', this.netns]);
    await execa('nsenter', [`--net=/run/netns/${this.netns}`, 'ip', 'link', 'set', 'lo', 'up']);
    const flags = ['--data-root', join(this.folder, 'data'), '-p', join(this.folder, 'pid'), '-H', `unix://${this.socket}`];
    const rest = ['--storage-driver', 'vfs', '--userland-proxy=false', '--init-path', join(this.#peers.bin, 'tini-static')];
    const dockerd = [join(this.#peers.sbin, 'dockerd'), ...flags, ...rest];
    const inside = ['unshare', '-m', '--propagation', 'slave', 'sh', '-c', START, 'sh', this.folder, ...dockerd];
    const env = { ...process.env, PATH: `${this.#peers.sbin}:${this.#peers.bin}:${process.env['PATH']}` };
    this.#process = spawn('nsenter', [`--net=/run/netns/${this.netns}`, ...inside], { env, stdio: 'ignore', detached: true });
    const deadline = performance.now() + START_MS;
    while (!(await this.client.call('GET', '/_ping').then(Boolean, () => false))) {
      if (performance.now() > deadline) throw new Error('the engine did not start');
      await sleep(50);
    }
  }

  /** One image with a static busybox. */
  async #image(): Promise<void> {
    const root = join(this.folder, 'image');
    mkdirSync(join(root, 'bin'), { recursive: true });
    const busybox = (await execa('sh', ['-c', 'command -v busybox'])).stdout;
    await execa('cp', [busybox, join(root, 'bin/busybox')]);
    for (const name of ['sh', 'sleep']) await execa('ln', ['-s', 'busybox', join(root, 'bin', name)]);
    writeFileSync(join(root, 'made'), '');
    await execa('sh', ['-c', 'tar -C "$1" -c . | docker -H "unix://$2" import - bb:1', 'sh', root, this.socket]);
  }

  docker(...args: string[]): Promise<{ stdout: string }> {
    return execa('docker', ['-H', `unix://${this.socket}`, ...args]);
  }

  async version(): Promise<string> {
    return ((await this.client.call('GET', '/version')) as { Version: string }).Version;
  }

  async pidOf(container: string): Promise<number> {
    return ((await this.client.call('GET', `/containers/${container}/json`)) as { State: { Pid: number } }).State.Pid;
  }

  async close(): Promise<void> {
    const pid = this.#process?.pid;
    if (pid !== undefined && this.#process?.exitCode === null) {
      await execa('sh', ['-c', 'docker -H "unix://$1" ps -aq | xargs -r docker -H "unix://$1" rm -f', 'sh', this.socket], {
        reject: false,
      });
      const ended = new Promise((resolve) => this.#process?.once('exit', resolve));
      process.kill(pid, 'SIGTERM');
      await Promise.race([ended, sleep(STOP_MS, undefined, { ref: false })]);
    }
    this.client.close();
    await execa('ip', ['netns', 'del', this.netns], { reject: false });
    rmSync(this.folder, { recursive: true, force: true });
  }
}
