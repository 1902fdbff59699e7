/** A real etcd cluster on unix sockets, each member in a namespace of its own, removed with everything it wrote. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Where the set-up unpacks it. */
const ETCD = '/var/cache/patchbay-test/etcd/usr/bin/etcd';
const START_MS = 20_000;
/** Larger commits than etcd takes by itself, as the stores' contract wants; without them its own limits hold. */
const ROOMY = ['--max-txn-ops', '20000', '--max-request-bytes', String(16 * 1024 * 1024)];

export class EtcdCluster {
  readonly #folder = mkdtempSync('/tmp/pbe-');
  readonly #members: (ChildProcess | undefined)[];
  readonly #flags: readonly string[];

  private constructor(size: number, flags: readonly string[]) {
    this.#members = Array.from({ length: size }, () => undefined);
    this.#flags = flags;
  }

  static async start(size: number, flags: readonly string[] = ROOMY): Promise<EtcdCluster> {
    const cluster = new EtcdCluster(size, flags);
    try {
      await cluster.startAll();
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /** As `--cluster` takes it. */
  address(prefix: string): string {
    return `etcd://${this.#members.map((_, i) => this.#socket(i)).join(',')},prefix=${prefix}`;
  }

  async startAll(): Promise<void> {
    for (let i = 0; i < this.#members.length; i++) this.begin(i);
    await Promise.all(this.#members.map((_, i) => this.listens(i)));
  }

  /** Starts a member that is not running. */
  begin(index: number): void {
    const name = `m${index}`;
    rmSync(this.#socket(index), { force: true });
    rmSync(join(this.#folder, `${name}:2`), { force: true });
    const all = this.#members.map((_, i) => `m${i}=unix://m${i}:2`).join(',');
    const flags = [
      `--name ${name} --data-dir d${index} --initial-cluster ${all} --unsafe-no-fsync --log-level error`,
      `--listen-client-urls unix://${name}:1 --advertise-client-urls unix://${name}:1`,
      `--listen-peer-urls unix://${name}:2 --initial-advertise-peer-urls unix://${name}:2`,
      '--heartbeat-interval 50 --election-timeout 500',
    ].flatMap((line) => line.split(' '));
    const log = openSync(join(this.#folder, 'log'), 'a');
    // In a namespace of its own: not even by mistake does it listen anywhere else.
    this.#members[index] = spawn('unshare', ['--net', ETCD, ...flags, ...this.#flags], {
      cwd: this.#folder,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
  }

  async kill(index: number, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const member = this.#members[index];
    if (member === undefined) return;
    const gone = new Promise<void>((resolve) => member.once('exit', () => resolve()));
    if (member.exitCode === null && member.signalCode === null) member.kill(signal);
    else return;
    await gone;
    this.#members[index] = undefined;
  }

  async killAll(): Promise<void> {
    await Promise.all(this.#members.map((_, i) => this.kill(i)));
  }

  /** All records and history are gone. */
  forget(): void {
    for (let i = 0; i < this.#members.length; i++) rmSync(join(this.#folder, `d${i}`), { recursive: true, force: true });
  }

  freeze(index: number): void {
    this.#members[index]?.kill('SIGSTOP');
  }

  thaw(index: number): void {
    this.#members[index]?.kill('SIGCONT');
  }

  async close(): Promise<void> {
    await this.killAll();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Waits until a member that was begun takes clients. */
  async listens(index: number): Promise<void> {
    const deadline = performance.now() + START_MS;
    while (!existsSync(this.#socket(index))) {
      const isDead = this.#members[index]?.exitCode !== null;
      if (isDead || performance.now() > deadline)
        throw new Error(
          `member ${index} of etcd does not listen:\n${readFileSync(join(this.#folder, 'log'), 'utf8').slice(-2000)}`,
        );
      await sleep(20);
    }
  }

  #socket(index: number): string {
    return join(this.#folder, `m${index}:1`);
  }
}
