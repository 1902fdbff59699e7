/** A real DHCP server, dnsmasq, on a link of a namespace that the test has made. Ends with the test. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ServerOptions {
  /** Path of the namespace. */
  readonly netns: string;
  /** Link that it serves, with an address of the subnet. */
  readonly link: string;
  readonly leaseFile: string;
  /** First and last address, and the length of a lease. */
  readonly range: string;
  /** Further flags. */
  readonly flags?: readonly string[];
}

/** One line of its file of leases. */
export interface ServerLease {
  readonly mac: string;
  readonly address: string;
  readonly name: string;
  readonly clientId: string;
}

/** Longest wait for the server to be up, to end, or to have written something, milliseconds. */
const LIMIT_MS = 45_000;
/** For a file that is being written, milliseconds. */
const SETTLE_MS = 10;

const running = new Set<DhcpServer>();

export class DhcpServer {
  readonly #options: ServerOptions;
  readonly #child: ChildProcess;
  /** What it has said so far. */
  log = '';

  private constructor(options: ServerOptions) {
    this.#options = options;
    const { netns, link, range, leaseFile, flags = [] } = options;
    const words = [
      `--net=${netns}`,
      'dnsmasq',
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--pid-file=',
      '--user=root',
      '--port=0',
      `--interface=${link}`,
      '--bind-interfaces',
      '--except-interface=lo',
      '--no-ping',
      '--log-dhcp',
      '--log-facility=-',
      `--dhcp-leasefile=${leaseFile}`,
      `--dhcp-range=${range}`,
      ...flags,
    ];
    this.#child = spawn('nsenter', words, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.log += chunk.toString()));
    running.add(this);
  }

  /** Serves when it resolves. */
  static async start(options: ServerOptions): Promise<DhcpServer> {
    const server = new DhcpServer(options);
    await server.says(/sockets bound exclusively|DHCP, IP range/);
    return server;
  }

  /** Resolves when the pattern has been said so many times. */
  async says(pattern: RegExp, times = 1): Promise<void> {
    const all = new RegExp(pattern, 'g');
    const end = Date.now() + LIMIT_MS;
    while ((this.log.match(all)?.length ?? 0) < times) {
      if (Date.now() > end || this.#child.exitCode !== null)
        throw new Error(`the DHCP server did not say ${String(pattern)} ${times} times:\n${this.log}`);
      await sleep(20);
    }
  }

  /** As its file has them. */
  leases(): ServerLease[] {
    if (!existsSync(this.#options.leaseFile)) return [];
    return settled(this.#options.leaseFile)
      .split('\n')
      .flatMap((line) => {
        const [, mac = '', address = '', name = '', clientId = ''] = line.split(' ');
        return address === '' ? [] : [{ mac, address, name, clientId }];
      });
  }

  /** As if its machine had lost power: it says goodbye to nobody. */
  async kill(): Promise<void> {
    running.delete(this);
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }

  /** Kills it and starts another one with the same leases, or none. */
  async restart(change: Partial<ServerOptions> & { readonly forgets?: boolean } = {}): Promise<DhcpServer> {
    await this.kill();
    if (change.forgets === true) rmSync(this.#options.leaseFile, { force: true });
    return DhcpServer.start({ ...this.#options, ...change });
  }
}

/** What the file holds while it does not change: the server empties it with each change, and writes it anew. */
function settled(file: string): string {
  for (let before = readFileSync(file, 'utf8'), tries = LIMIT_MS / SETTLE_MS; tries > 0; tries--) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SETTLE_MS);
    const now = readFileSync(file, 'utf8');
    if (now === before) return now;
    before = now;
  }
  throw new Error(`${file} does not come to rest`);
}

/** For afterEach. */
export async function endServers(): Promise<void> {
  for (const server of running) await server.kill();
}
