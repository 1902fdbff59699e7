/** One real engine in the namespaces of a lab: its programs, its folders, its client. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { type Generation, enginePrograms } from './packages.ts';

/** An engine on emulated processors takes half a minute, and more beside others. */
const START_MS = 400_000;
const STOP_MS = 60_000;
const APPLETS = 'sh sleep ip ping wget nc httpd cat nslookup true kill echo mkdir timeout'.split(' ');

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Place {
  /** Command line that runs the words in the lab's namespaces. */
  readonly enter: (words: readonly string[]) => [string, string[]];
  /** Holds all that the engine writes, in a folder of its own. */
  readonly folder: string;
  /** Engines of one lab have different ones. */
  readonly name: string;
  /** Parent of its control groups. */
  readonly group: string;
  /** What the engine has while it runs: its path for the engine, and where that is on the machine. */
  readonly execRoot: { readonly path: string; readonly seen: string };
}

export class LabEngine {
  readonly #programs: readonly string[];
  readonly #place: Place;
  readonly folder: string;
  #process: ChildProcess | undefined;

  constructor(generation: Generation, place: Place) {
    this.#programs = enginePrograms(generation);
    this.#place = place;
    this.folder = join(place.folder, place.name);
    mkdirSync(this.folder);
  }

  /** The engine's own programs first, its client too. Its containerd leaves stacks in the folder for what is temporary. */
  get #env(): NodeJS.ProcessEnv {
    return { ...process.env, TMPDIR: this.folder, PATH: `${this.#programs.join(':')}:${process.env['PATH']}` };
  }

  get socket(): string {
    return join(this.folder, 'docker.sock');
  }

  /** The end of what it wrote so far. */
  get log(): string {
    const path = join(this.folder, 'log');
    return existsSync(path) ? readFileSync(path, 'utf8').slice(-4000) : '';
  }

  /** Serves when it resolves. An engine gives its containerd some seconds, which emulated processors may exceed: then it is started anew. */
  async start(...flags: readonly string[]): Promise<void> {
    const deadline = performance.now() + START_MS;
    while (!(await this.#begin(flags, deadline))) await sleep(1000);
  }

  /** Whether it serves; false where it gave up on its containerd. */
  async #begin(flags: readonly string[], deadline: number): Promise<boolean> {
    const folders = [
      '--data-root',
      join(this.folder, 'data'),
      '--exec-root',
      this.#place.execRoot.path,
      '-p',
      join(this.folder, 'pid'),
    ];
    const rest = ['--storage-driver', 'vfs', '--userland-proxy=false', '--cgroup-parent', `/${this.#place.group}`, ...flags];
    const words = ['dockerd', ...folders, '-H', `unix://${this.socket}`, ...rest];
    const [command, args] = this.#place.enter(['sh', '-c', 'exec "$@" >>"$0" 2>&1', join(this.folder, 'log'), ...words]);
    const engine = spawn(command, args, { env: this.#env, stdio: 'ignore', detached: true });
    this.#process = engine;
    // Not by the client: it costs more than the engine's start where processors are slow.
    const ping = ['-sf', '-m', '5', '--unix-socket', this.socket, 'http://x/_ping'];
    while ((await execa('curl', ping, { reject: false })).exitCode !== 0) {
      const isLate = performance.now() > deadline;
      if (!isLate && engine.exitCode !== null && /timeout waiting for containerd/.test(this.log.slice(-2000))) return false;
      if (isLate || engine.exitCode !== null) throw new Error(`the engine did not start:\n${this.log}`);
      await sleep(50);
    }
    return true;
  }

  async stop(): Promise<void> {
    await ended(this.#process, 'SIGTERM');
    this.#process = undefined;
  }

  /** kill -9 of the engine and of its containerd, which would refuse to share its folder with the next one. */
  async kill(): Promise<void> {
    await ended(this.#process, 'SIGKILL');
    this.#process = undefined;
    const pid = Number(readFileSync(join(this.#place.execRoot.seen, 'containerd/containerd.pid'), 'utf8'));
    process.kill(pid, 'SIGKILL');
    while (existsSync(`/proc/${pid}`)) await sleep(20);
    rmSync(join(this.folder, 'pid'), { force: true });
  }

  async docker(...args: readonly string[]): Promise<Ran> {
    const options = { reject: false, timeout: 120_000, env: this.#env } as const;
    const found = await execa('docker', ['-H', `unix://${this.socket}`, ...args], options);
    return { code: found.exitCode ?? -1, stdout: found.stdout, stderr: found.stderr };
  }

  /** As docker, and the command must succeed. */
  async ok(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.docker(...args);
    if (code !== 0) throw new Error(`docker ${args.join(' ')} ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** Makes the image `bb:1`, a static busybox. */
  async image(): Promise<void> {
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

  /** All containers and networks that tests made go. */
  async clear(): Promise<void> {
    const all = (await this.ok('ps', '-aq')).split('\n').filter(Boolean);
    if (all.length > 0) await this.ok('rm', '-f', ...all);
    const nets = (await this.ok('network', 'ls', '-q', '--filter', 'type=custom')).split('\n').filter(Boolean);
    if (nets.length > 0) await this.ok('network', 'rm', ...nets);
  }

  async close(): Promise<void> {
    if (this.#process?.exitCode === null)
      await execa('sh', ['-c', 'docker -H "unix://$1" ps -aq | xargs -r docker -H "unix://$1" rm -f', 'sh', this.socket], {
        reject: false,
      });
    await ended(this.#process, 'SIGTERM').catch(() => undefined);
  }
}

/** Sends the signal and waits for the end. */
export async function ended(child: ChildProcess | undefined, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const done = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  process.kill(child.pid, signal);
  const isLate = await Promise.race([done.then(() => false), sleep(STOP_MS, true, { ref: false })]);
  if (isLate) throw new Error(`process ${child.pid} did not end within ${STOP_MS} ms`);
}
