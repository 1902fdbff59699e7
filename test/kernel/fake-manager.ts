/**
 * A service manager as far as the keeper knows one: a socket for its notices (sd_notify(3)), a store for its descriptors, and
 * a new start, with those, whenever it ends.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { libc } from '../../src/kernel/index.ts';
import { unixAddress } from '../../src/kernel/notify.ts';
import { afterTest, eventually, isAlive } from './keeper-lab.ts';

const dist = process.env.PATCHBAY_DIST ?? new URL('../../dist', import.meta.url).pathname;
const MSG_CMSG_CLOEXEC = 0x40000000;
const TEXT_OCTETS = 1024;

/** Where its keeper lives. */
interface Place {
  readonly runDir: string;
  readonly host: { readonly path: string };
}

export class FakeManager {
  readonly path: string;
  /** Kept for the keeper, by name. */
  readonly store = new Map<string, number>();
  /** What it said besides, in order. */
  readonly notices: string[] = [];
  /** False: an end is not followed by a start. */
  restarts = true;
  readonly #lab: Place;
  readonly #env: Readonly<Record<string, string>>;
  readonly #socket: number;
  readonly #watch: { close(): void };
  readonly #header = libc.allocateForever(64);
  readonly #parts = libc.allocateForever(16 + 24 + TEXT_OCTETS);
  #child: ChildProcess | undefined;

  /** Ended after the test, and its keeper with it. `env`: further environment of the keeper. */
  constructor(lab: Place, env: Readonly<Record<string, string>> = {}) {
    this.#lab = lab;
    this.#env = env;
    this.path = join(lab.runDir, 'notify');
    this.#socket = libc.socket(libc.AF.unix, libc.SOCK.datagram | libc.SOCK.nonblock, 0);
    libc.bind(this.#socket, unixAddress(this.path), this.path);
    this.#watch = libc.watchReadable(this.#socket, () => this.#read());
    afterTest(() => this.#close());
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves when the keeper says that it is ready. */
  async start(): Promise<void> {
    const before = this.notices.length;
    this.#spawn();
    await eventually(() => (this.notices.slice(before).includes('READY=1') ? true : undefined), 'the keeper is ready', 30_000);
  }

  #spawn(): void {
    this.#read();
    const names = [...this.store.keys()];
    const listen = names.length === 0 ? {} : { LISTEN_FDS: String(names.length), LISTEN_FDNAMES: names.join(':') };
    const program = [process.execPath, join(dist, 'keeper.js'), '--run-dir', this.#lab.runDir];
    const child = spawn('nsenter', [`--net=${this.#lab.host.path}`, 'sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh', ...program], {
      stdio: ['ignore', 'ignore', 'ignore', ...this.store.values()],
      env: { PATH: process.env.PATH, NOTIFY_SOCKET: this.path, ...listen, ...this.#env },
    });
    this.#child = child;
    child.once('exit', () => {
      if (this.restarts && this.#child === child) this.#spawn();
    });
  }

  #read(): void {
    const { address, bytes } = this.#parts;
    const header = this.#header.bytes;
    for (;;) {
      bytes.fill(0);
      bytes.writeBigUInt64LE(address + 40n, 0);
      bytes.writeBigUInt64LE(BigInt(TEXT_OCTETS), 8);
      header.fill(0);
      header.writeBigUInt64LE(address, 16);
      header.writeBigUInt64LE(1n, 24);
      header.writeBigUInt64LE(address + 16n, 32);
      header.writeBigUInt64LE(24n, 40);
      if (libc.receiveMany(this.#socket, this.#header.address, 1, libc.MSG.dontwait | MSG_CMSG_CLOEXEC) !== 1) return;
      const lines = bytes.toString('utf8', 40, 40 + header.readUInt32LE(56)).split('\n');
      const fd = header.readBigUInt64LE(40) >= 20n ? bytes.readInt32LE(32) : undefined;
      this.#take(lines, fd);
    }
  }

  #take(lines: readonly string[], fd: number | undefined): void {
    const name = lines.find((line) => line.startsWith('FDNAME='))?.slice(7) ?? '';
    // As systemd does: without FDPOLL=0 a socket that is bound only counts as hung up.
    if (lines.includes('FDSTORE=1') && fd !== undefined && lines.includes('FDPOLL=0')) this.#replace(name, fd);
    else if (fd !== undefined) libc.close(fd);
    else if (lines.includes('FDSTOREREMOVE=1')) this.#replace(name, undefined);
    else this.notices.push(...lines);
  }

  #replace(name: string, fd: number | undefined): void {
    const old = this.store.get(name);
    if (old !== undefined) libc.close(old);
    if (fd === undefined) this.store.delete(name);
    else this.store.set(name, fd);
  }

  async #close(): Promise<void> {
    this.restarts = false;
    const pid = this.#child?.pid;
    if (pid !== undefined && isAlive(pid)) {
      process.kill(pid, 'SIGKILL');
      await eventually(() => (isAlive(pid) ? undefined : true), 'the keeper has ended');
    }
    this.#watch.close();
    libc.close(this.#socket);
    for (const name of this.store.keys()) this.#replace(name, undefined);
  }
}
