/**
 * A machine in a namespace: a daemon on its own folders, the CLI against it, and a second namespace as the outside world.
 * Everything carries the run's prefix and is removed, also on failure.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { WIRE, makeWire } from './wire.ts';

export const DIST = process.env['PATCHBAY_DIST'] ?? new URL('../../dist/', import.meta.url).pathname;
const UPSTREAM = join(DIST, '../test/e2e/upstream.mjs');

export { WIRE } from './wire.ts';

/** For expect.poll: what the daemon logs before it answers may be read after its answer. */
export const LOG = { timeout: 5000 } as const;

export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

const outcome = (result: { stdout?: unknown; stderr?: unknown; exitCode?: number | undefined }): Outcome => ({
  stdout: String(result.stdout ?? ''),
  stderr: String(result.stderr ?? ''),
  exitCode: result.exitCode ?? -1,
});

export interface LabOptions {
  /** Further flags of the daemon. */
  readonly flags?: readonly string[];
  /** Node binary for daemon and CLI. */
  readonly node?: string;
  /** Another lab whose machine this daemon lives on too. */
  readonly in?: Lab;
  /** Further environment of the daemon, and of programs on the machine. */
  readonly env?: Readonly<Record<string, string>>;
  /** Folder of the built programs. */
  readonly dist?: string;
  /** Commands run on the machine before the daemon starts. */
  readonly before?: readonly (readonly [string, ...string[]])[];
}

export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), 'pbt-'));
  readonly prefix = `pbt-${randomBytes(3).toString('hex')}`;
  readonly host: string;
  readonly outside: string;
  readonly socket = join(this.folder, 'pb.sock');
  readonly stateDir = join(this.folder, 'state');
  /** In memory, as /run is. */
  readonly runDir = mkdtempSync('/dev/shm/pbt-');
  readonly node: string;
  readonly #flags: readonly string[];
  readonly #dist: string;
  readonly #isGuest: boolean;
  readonly #env: Readonly<Record<string, string>>;
  readonly #upstreams: ChildProcess[] = [];
  daemon: ChildProcess | undefined;
  /** What the daemon wrote to stderr so far. */
  log = '';

  private constructor(options: LabOptions) {
    this.#flags = options.flags ?? [];
    this.#dist = options.dist ?? DIST;
    this.node = options.node ?? process.execPath;
    this.#env = options.env ?? {};
    this.#isGuest = options.in !== undefined;
    this.host = options.in?.host ?? `${this.prefix}-host`;
    this.outside = options.in?.outside ?? `${this.prefix}-out`;
  }

  /** Namespaces, wire and a serving daemon. Call close(). */
  static async open(options: LabOptions = {}): Promise<Lab> {
    const lab = new Lab(options);
    try {
      if (options.in === undefined) {
        await makeWire(lab.host, lab.outside);
        await lab.serveNames();
      }
      for (const [command, ...args] of options.before ?? [])
        await execa('nsenter', [`--net=/run/netns/${lab.host}`, command, ...args]);
      await lab.start();
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** A name server of the outside world at an address that it has: host.example is 203.0.113.7, all else does not exist. */
  async serveNames(address: string = WIRE.outside, delayMs = 0): Promise<void> {
    const args = [`--net=/run/netns/${this.outside}`, process.execPath, UPSTREAM, address, String(delayMs)];
    const child = spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#upstreams.push(child);
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', (code) => reject(new Error(`the name server ended with ${code}`)));
    });
  }

  /** Starts the daemon and waits for its ready line. */
  async start(extra: readonly string[] = []): Promise<void> {
    const folders = [
      '--host',
      `unix://${this.socket}`,
      '--state-dir',
      this.stateDir,
      '--run-dir',
      this.runDir,
      '--plugin-dir',
      join(this.folder, 'plugins'),
      '--plugin-path',
      join(this.folder, 'foreign'),
      '--engine',
      'none',
    ];
    const flags = [...folders, '--dns', WIRE.outside, ...this.#flags, ...extra];
    const args = [`--net=/run/netns/${this.host}`, this.node, join(this.#dist, 'patchbayd.js'), ...flags];
    const child = spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...this.#env } });
    this.daemon = child;
    child.stderr.on('data', (chunk: Buffer) => (this.log += chunk.toString()));
    await new Promise<void>((resolve, reject) => {
      let text = '';
      child.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.includes('ready unix://')) resolve();
      });
      child.once('exit', (code) => reject(new Error(`the daemon ended with ${code} before it was ready:\n${this.log}`)));
      child.once('error', reject);
    });
  }

  /** Ends the daemon; SIGTERM must end it with 0. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.daemon;
    this.daemon = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
    child.kill(signal);
    const code = await ended;
    if (signal === 'SIGTERM' && code !== 0) throw new Error(`the daemon ended with ${code}:\n${this.log}`);
  }

  /** `network ARGS`; never rejects. */
  async cli(...args: string[]): Promise<Outcome> {
    return outcome(
      await execa(this.node, [join(DIST, 'network.js'), '--host', `unix://${this.socket}`, ...args], {
        reject: false,
        stdin: 'ignore',
      }),
    );
  }

  /** `network ARGS`, which must succeed; answers stdout without the last newline. */
  async ok(...args: string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await this.cli(...args);
    if (exitCode !== 0) throw new Error(`network ${args.join(' ')} ended with ${exitCode}: ${stderr}`);
    return stdout;
  }

  /** A program in one of the two namespaces. */
  async in(where: 'host' | 'outside', command: string, ...args: string[]): Promise<Outcome> {
    return outcome(
      await execa('nsenter', [`--net=/run/netns/${this[where]}`, command, ...args], {
        reject: false,
        stdin: 'ignore',
        ...(where === 'host' && { env: this.#env }),
      }),
    );
  }

  /** One request to the daemon. */
  async api<T = unknown>(method: string, path: string, body?: unknown): Promise<{ status: number; json: T }> {
    const data = body === undefined ? [] : ['-H', 'Content-Type: application/json', '-d', JSON.stringify(body)];
    const { stdout } = await execa('curl', [
      '-s',
      '-X',
      method,
      '--unix-socket',
      this.socket,
      '-w',
      '\n%{http_code}',
      ...data,
      `http://x${path}`,
    ]);
    const at = stdout.lastIndexOf('\n');
    const text = stdout.slice(0, at).trim();
    return { status: Number(stdout.slice(at + 1)), json: (text === '' ? undefined : JSON.parse(text)) as T };
  }

  /** What is ours in the kernel and on disk; empty when all is taken back. */
  async leftovers(): Promise<string[]> {
    const left: string[] = [];
    // By their own names: those of namespaces on the same line are by chance.
    const links = async (): Promise<string[]> =>
      (await this.in('host', 'ip', '-o', 'link')).stdout.split('\n').filter((line) => /^\d+: \S*(?:veth|dead|br-)/.test(line));
    await waitUntil(async () => (await links()).length === 0, 20_000).catch(() => {});
    left.push(...(await links()).map((line) => `link: ${line}`));
    for (const tool of ['iptables-save', 'ip6tables-save']) {
      const rules = (await this.in('host', tool)).stdout.split('\n').filter((line) => /veth|br-|dport/.test(line));
      left.push(...rules.map((rule) => `${tool}: ${rule}`));
    }
    for (const folder of ['netns', 'sandboxes', 'keeper/sandboxes', 'keeper/names', 'keeper/holds']) {
      const path = join(this.runDir, folder);
      if (existsSync(path)) left.push(...readdirSync(path).map((name) => `file: ${folder}/${name}`));
    }
    left.push(...mountsUnder(this.runDir).map((mount) => `mount: ${mount}`));
    return left;
  }

  /**
   * The machine goes down hard and comes up: namespaces and all that was in memory are new, the disk is as it was. Changes of the last
   * moment, which are in memory only, have got there before.
   */
  async reboot(): Promise<void> {
    const journals = ['journal-0', 'journal-1'].map((name) => join(this.runDir, name));
    await waitUntil(async () => journals.every((path) => !existsSync(path) || statSync(path).size === 0), 5000);
    await this.stop('SIGKILL');
    await this.#endAll();
    for (const name of readdirSync(this.runDir)) rmSync(join(this.runDir, name), { recursive: true, force: true });
    await makeWire(this.host, this.outside);
    await this.serveNames();
    await this.start();
  }

  /** Ends everything that the run made. */
  async close(): Promise<void> {
    try {
      if (this.daemon !== undefined) {
        const sandboxes = (await this.cli('sandbox', 'ls', '-q')).stdout.split('\n').filter(Boolean);
        if (sandboxes.length > 0) await this.cli('sandbox', 'rm', '-f', ...sandboxes);
        await this.stop('SIGTERM').catch(() => {});
      }
    } finally {
      await this.#sweep();
    }
  }

  async #sweep(): Promise<void> {
    await this.#endAll();
    for (const folder of [this.folder, this.runDir]) rmSync(folder, { recursive: true, force: true });
  }

  /** Processes, mounts and namespaces. */
  async #endAll(): Promise<void> {
    for (const upstream of this.#upstreams.splice(0)) upstream.kill('SIGKILL');
    for (const pid of this.#keeperPids()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Ended by itself.
      }
    }
    for (const mount of mountsUnder(this.runDir)) await execa('umount', ['-l', mount], { reject: false });
    if (!this.#isGuest)
      for (const name of [this.host, this.outside]) await execa('ip', ['netns', 'del', name], { reject: false });
  }

  /** The keeper and its supervisor, once both run. */
  async keeperProcesses(): Promise<{ keeper: number; supervisor: number }> {
    let found: { keeper: number; supervisor: number } | undefined;
    await waitUntil(() => {
      const named = this.#keeperPids().map((pid) => [pid, commandLine(pid)] as const);
      const supervisor = named.find(([, words]) => words.includes('patchbay-keeper-supervisor'))?.[0];
      const keeper = named.find(
        ([, words]) => words.includes('--run-dir') && words.some((word) => word.endsWith('keeper.js')),
      )?.[0];
      if (supervisor !== undefined && keeper !== undefined && keeper !== supervisor) found = { keeper, supervisor };
      return found !== undefined;
    }, KEEPER_MS);
    if (found === undefined) throw new Error('no keeper');
    return found;
  }

  /** Supervisor and keeper of this run, found by the run directory on their command line. */
  #keeperPids(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => commandLine(pid).some((word) => word.includes(this.runDir)))
      .filter((pid) => pid !== process.pid);
  }
}

/** Longest wait for a keeper and its supervisor to run, milliseconds: a new start is held back for 5 s at most. */
const KEEPER_MS = 20_000;

/** Empty when the process is gone. */
function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

export const mountsUnder = (folder: string): string[] =>
  readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((target) => target.startsWith(`${folder}/`));

/** Looks every 20 ms; throws after `limitMs`. */
export async function waitUntil(isTrue: () => Promise<boolean> | boolean, limitMs: number): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await isTrue())) {
    if (Date.now() > end) throw new Error(`not true within ${limitMs} ms`);
    await sleep(20);
  }
}
