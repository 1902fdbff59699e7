/** A host of the lab: its place on the underlay, its daemon on folders of its own, and the command line tool against it. */

import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import type { Commands, Outcome } from './commands.ts';
import { DIST } from './places.ts';
import { Program } from './program.ts';
import { until } from './wait.ts';

/** Longest wait for a daemon to serve, and for an answer of it, milliseconds. */
const READY_MS = 30_000;
const ANSWER_MS = 240_000;

export interface HostSpec {
  readonly number: number;
  readonly namespace: string;
  readonly folder: string;
  readonly address: string;
  /** As `--cluster` takes it. */
  readonly cluster: string;
  readonly leaseSeconds: number;
}

/** Where else than on the host itself its daemon lives. */
export interface Lodge {
  /** Words before a command line, which lead there. */
  readonly enter: readonly string[];
  /** For what lives there until a reboot. */
  readonly folder: string;
  readonly flags: readonly string[];
}

export interface ApiAnswer<T> {
  readonly status: number;
  readonly json: T;
}

export class Host {
  readonly number: number;
  readonly name: string;
  readonly address: string;
  readonly namespace: string;
  readonly folder: string;
  readonly socket: string;
  readonly #spec: HostSpec;
  readonly #commands: Commands;
  #daemon: Program | undefined;
  #leaseSeconds: number | undefined;
  #lodge: Lodge | undefined;

  constructor(spec: HostSpec, commands: Commands) {
    this.#spec = spec;
    this.#commands = commands;
    this.number = spec.number;
    this.name = `host${spec.number}`;
    this.address = spec.address;
    this.namespace = spec.namespace;
    this.folder = spec.folder;
    this.socket = join(spec.folder, 'pb.sock');
    mkdirSync(spec.folder, { recursive: true });
  }

  get isServing(): boolean {
    return this.#daemon?.isRunning === true;
  }

  /** Starts the daemon and waits for its ready line. `leaseSeconds`: not that of the lab. */
  async start(leaseSeconds = this.#spec.leaseSeconds): Promise<void> {
    if (this.isServing) return;
    const at = (name: string): string => join(this.folder, name);
    rmSync(at('daemon.out'), { force: true });
    const flags = [
      `--host unix://${this.socket} --state-dir ${at('state')} --run-dir ${join(this.#lodge?.folder ?? this.folder, 'run')}`,
      ...(this.#lodge?.flags ?? [`--plugin-dir ${at('plugins')} --engine none`]),
      '--plugin-path none',
      `--cluster ${this.#spec.cluster} --node-name ${this.name} --advertise ${this.address}`,
      `--node-lease ${leaseSeconds}`,
    ].flatMap((line) => line.split(' '));
    const daemon = new Program({
      namespace: this.namespace,
      command: [...(this.#lodge?.enter ?? []), process.execPath, join(DIST, 'patchbayd.js'), ...flags],
      out: at('daemon.out'),
      log: at('daemon.log'),
      folder: this.folder,
    });
    this.#daemon = daemon;
    this.#leaseSeconds = leaseSeconds;
    const isReady = (): boolean =>
      existsSync(at('daemon.out')) && readFileSync(at('daemon.out'), 'utf8').includes('ready unix://');
    await until(
      `the daemon of ${this.name} serves`,
      () => {
        if (!daemon.isRunning) throw new Error(`the daemon of ${this.name} ended before it was ready:\n${daemon.words()}`);
        return isReady();
      },
      READY_MS,
      this.#commands.signal,
    );
  }

  /** From its next start on the daemon lives there. Inverse: undefined, as before. */
  live(lodge: Lodge | undefined): void {
    this.#lodge = lodge;
  }

  /** Stops a daemon that was started with another lease than the lab's. */
  async stopStrange(): Promise<void> {
    if (this.isServing && this.#leaseSeconds !== this.#spec.leaseSeconds) await this.stop();
  }

  /** SIGTERM; the daemon must end with 0. */
  async stop(): Promise<void> {
    const code = await this.#daemon?.end('SIGTERM');
    if (code !== 0) throw new Error(`the daemon of ${this.name} ended with ${code}:\n${this.#daemon?.words()}`);
  }

  async kill(): Promise<void> {
    await this.#daemon?.end('SIGKILL');
  }

  /** `network ARGS`; rejects only when the lab closes. */
  async cli(...args: string[]): Promise<Outcome> {
    return await this.#commands.run(process.execPath, [join(DIST, 'network.js'), '--host', `unix://${this.socket}`, ...args]);
  }

  /** `network ARGS`, which must succeed; answers stdout. */
  async ok(...args: string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await this.cli(...args);
    if (exitCode !== 0) throw new Error(`${this.name}: network ${args.join(' ')} ended with ${exitCode}: ${stderr}`);
    return stdout;
  }

  /** A program in the host's namespace. */
  async exec(command: string, ...args: string[]): Promise<Outcome> {
    return await this.#commands.run('nsenter', [`--net=/run/netns/${this.namespace}`, command, ...args]);
  }

  /** A program in a namespace that the host has pinned: of a sandbox by its id, of an overlay network by `overlay-<id>`. */
  async inside(pin: string, command: string, ...args: string[]): Promise<Outcome> {
    return await this.#commands.run('nsenter', [`--net=${join(this.folder, 'run/netns', pin)}`, command, ...args]);
  }

  /** Names of pinned namespaces. */
  pins(): string[] {
    return namesIn(join(this.folder, 'run/netns'));
  }

  /** The same of a daemon that lives elsewhere. */
  lodged(): string[] {
    return this.#lodge === undefined ? [] : namesIn(join(this.#lodge.folder, 'run/netns'));
  }

  /** One request to the daemon. */
  api<T = unknown>(method: string, path: string, body?: unknown): Promise<ApiAnswer<T>> {
    this.#commands.signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const text = body === undefined ? '' : JSON.stringify(body);
      const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) };
      const wish = { socketPath: this.socket, method, path, headers, timeout: ANSWER_MS, signal: this.#commands.signal };
      const req = request(wish, (res) => {
        let answer = '';
        res.on('data', (chunk: Buffer) => (answer += chunk.toString()));
        res.on('end', () =>
          resolve({ status: res.statusCode ?? 0, json: (/^[[{]/.test(answer) ? JSON.parse(answer) : answer) as T }),
        );
      });
      req.on('timeout', () => req.destroy(new Error(`${this.name} does not answer ${method} ${path}`)));
      req.on('error', reject);
      req.end(text);
    });
  }

  /** One request, which must succeed. */
  async must<T = unknown>(method: string, path: string, body?: unknown): Promise<T> {
    const { status, json } = await this.api<T>(method, path, body);
    if (status >= 300) throw new Error(`${this.name}: ${method} ${path} answered ${status}: ${JSON.stringify(json)}`);
    return json;
  }
}

const namesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);
