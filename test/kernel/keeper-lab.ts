/** A host with a real keeper, sandboxes on it, and upstream servers that say what they were asked. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createSocket } from 'node:dgram';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Packet, TCPServer, UDPServer } from 'dns2';
import packet, { type Decoded } from 'dns-packet';
import { afterEach } from 'vitest';
import { newSandboxId, type Address, type NetworkId, type SandboxId } from '../../src/base/index.ts';
import { openKeeper, type KeeperLink, type SandboxWish, type Upstream } from '../../src/keeper/index.ts';
import { openTcpClient, openTcpListener, openUdpSocket, type Netns } from '../../src/kernel/index.ts';
import { MEMORY, hostAt, testFolder, testHosts, type TestHost } from './support.ts';

const dist = process.env.PATCHBAY_DIST ?? new URL('../../dist', import.meta.url).pathname;

export const RESOLVER = '127.0.0.11' as Address;
export const NETWORK = 'a'.repeat(64) as NetworkId;

const closers: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** Runs after the test, last registered first. */
export const afterTest = (close: () => Promise<void> | void): void => void closers.push(close);

/** Tries until `probe` has a value. Throws after `limitMs`. */
export async function eventually<T>(
  probe: () => Promise<T | undefined> | T | undefined,
  what: string,
  limitMs = 10_000,
): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await sleep(10);
  }
}

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

export const parentOf = (pid: number): number => Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

export class Lab {
  readonly host: TestHost;
  readonly runDir: string;
  readonly #execPath: string;

  constructor(host: TestHost, runDir: string) {
    this.host = host;
    this.runDir = runDir;
    if (!existsSync(join(dist, 'keeper.js'))) {
      throw new Error(`${dist}/keeper.js is missing: run "node test/tools/build.mjs --no-types" first`);
    }
    mkdirSync(runDir, { recursive: true });
    // The keeper's host is the namespace that it is started in. Not among the files in memory, which may not be executed everywhere.
    this.#execPath = join(testFolder(), 'node-in-host');
    writeFileSync(this.#execPath, `#!/bin/sh\nexec nsenter --net='${host.path}' '${process.execPath}' "$@"\n`, { mode: 0o755 });
  }

  /** A further link; closed after the test, and its keeper ended. */
  async open(): Promise<KeeperLink> {
    const link = await openKeeper({ runDir: this.runDir, entry: join(dist, 'keeper.js'), execPath: this.#execPath });
    afterTest(async () => {
      const { pid } = link;
      await link.close();
      if (pid === undefined || !isAlive(pid)) return;
      process.kill(pid, 'SIGTERM');
      await eventually(() => (isAlive(pid) ? undefined : true), 'the keeper ends');
    });
    return link;
  }

  /** A sandbox with a resolver. */
  async sandbox(link: KeeperLink, over: Partial<SandboxWish> = {}): Promise<TestSandbox> {
    const inside = hostAt(await testHosts(1), 0);
    const wish: SandboxWish = {
      netns: { path: inside.path, identity: inside.host.identity },
      view: { networks: [{ id: NETWORK, name: 'mynet' }], forwardsFromHost: true },
      upstreams: [],
      ports: { udp: 0, tcp: 0 },
      ...over,
    };
    const id = newSandboxId();
    const ports = await link.sandbox(id, wish);
    return { id, inside, wish: { ...wish, ports }, ports };
  }
}

export interface TestSandbox {
  readonly id: SandboxId;
  readonly inside: TestHost;
  /** With the ports in use. */
  readonly wish: SandboxWish;
  readonly ports: { readonly udp: number; readonly tcp: number };
}

export async function keeperLab(): Promise<Lab> {
  return new Lab(hostAt(await testHosts(1), 0), testFolder(MEMORY));
}

export const names = (...list: string[]) => ({
  to: (...addresses: string[]) => ({ network: NETWORK, networkName: 'mynet', names: list, addresses: addresses as Address[] }),
});

/** What dig makes of it, on the resolver's own port: `+short` lines, or the status alone when there are none. */
export async function dig({ inside, ports }: TestSandbox, ...args: string[]): Promise<string[]> {
  const port = args.includes('+tcp') ? ports.tcp : ports.udp;
  const options = ['@127.0.0.11', '-p', String(port), '+tries=1', '+time=8', '+nosearch', '+noall', '+comments', '+answer'];
  const { stdout } = await inside.exec('dig', [...options, ...args], { reject: false });
  const lines = stdout.split('\n').filter((line) => line !== '' && !line.startsWith(';'));
  const status = /status: (\w+)/.exec(stdout)?.[1] ?? 'NO REPLY';
  return lines.length === 0 ? [status] : lines.map((line) => line.split(/\s+/).slice(4).join(' ')).sort();
}

/** One message by UDP from inside; undefined when no reply came in `waitMs`. */
export async function askRaw(netns: Netns, port: number, message: Uint8Array, waitMs = 500): Promise<Buffer | undefined> {
  const socket = createSocket('udp4');
  socket.bind({ fd: netns.run(() => openUdpSocket({ address: '127.0.0.1' as Address, port: 0 })) });
  try {
    return await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), waitMs);
      socket.on('message', (reply) => {
        clearTimeout(timer);
        resolve(reply);
      });
      socket.send(message, port, RESOLVER);
    });
  } finally {
    socket.close();
  }
}

/** A TCP connection from inside, connected. */
export function connectTcp(netns: Netns, port: number, address = RESOLVER): Promise<Socket> {
  const socket = new Socket({ fd: netns.run(() => openTcpClient(4)) });
  afterTest(() => void socket.destroy());
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket));
    socket.connect({ host: address, port });
  });
}

export const query = (name: string, type = 'A', id = 7): Buffer =>
  packet.encode({ type: 'query', id, flags: packet.RECURSION_DESIRED, questions: [{ type, name }] });

export const decode = (bytes: Uint8Array): Decoded => packet.decode(Buffer.from(bytes));

export interface TestUpstream {
  readonly upstream: Upstream;
  /** `protocol name type` of every question, in order. */
  readonly asked: string[];
}

type Answerer = (request: InstanceType<typeof Packet>) => InstanceType<typeof Packet> | undefined;

/** Answers every A with `address`. */
export const always =
  (address: string): Answerer =>
  (request) => {
    const response = Packet.createResponseFromRequest(request);
    const question = request.questions[0];
    if (question?.type === Packet.TYPE.A) {
      response.answers.push(new Packet.Resource({ name: question.name, type: question.type, class: 1, ttl: 30, address }));
    }
    return response;
  };

export const rcode =
  (code: number): Answerer =>
  (request) =>
    Packet.createErrorResponseFromRequest(request, code);

/** Some 3,000 octets of TXT. */
export const bulky: Answerer = (request) => {
  const response = Packet.createResponseFromRequest(request);
  const name = request.questions[0]?.name ?? '';
  for (let i = 0; i < 15; i++)
    response.answers.push(new Packet.Resource({ name, type: 16, class: 1, ttl: 30, data: `${i}`.padEnd(190, 'x') }));
  return response;
};

export const blackHole: Answerer = () => undefined;

/** A server on the dns2 package at `address`, port 53, by UDP and TCP, in `netns`. Closed after the test. */
export function serveUpstream(netns: Netns, at: Upstream['at'], address: string, answer: Answerer, port = 53): TestUpstream {
  const asked: string[] = [];
  const [udp, tcp] = netns.run((): [number, number] => {
    const spec = { address: address as Address, port };
    return [openUdpSocket(spec), openTcpListener(spec)];
  });
  const take =
    (protocol: string) => (request: InstanceType<typeof Packet>, send: (response: InstanceType<typeof Packet>) => unknown) => {
      const question = request.questions[0];
      asked.push(`${protocol} ${question?.name} ${Packet.typeName(question?.type ?? 0)}`);
      const response = answer(request);
      if (response !== undefined) send(response);
    };
  const udpServer = new UDPServer();
  udpServer.on('request', take('udp'));
  udpServer.bind({ fd: udp });
  const tcpServer = new TCPServer();
  tcpServer.on('request', take('tcp'));
  tcpServer.listen({ fd: tcp });
  afterTest(() => {
    udpServer.close();
    tcpServer.close();
  });
  return { upstream: { address: address as Address, at }, asked };
}
