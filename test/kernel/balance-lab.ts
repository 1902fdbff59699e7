/**
 * A wire with a client and members of a service on it, made with `ip` alone, so that only the balancer is on trial.
 *
 *   switch ─┬─ client 10.5.0.2   fd05::2
 *           ├─ m1     10.5.0.11  fd05::11
 *           └─ m2     10.5.0.12  fd05::12 …
 *
 * Every place answers on TCP port 80 and UDP port 53 with its name and the peer's address; TCP port 7 answers each line so.
 */

import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import { type Address, parseAddress } from '../../src/base/index.ts';
import type { BalancedMember, BalancedService } from '../../src/balance/index.ts';
import { openTcpClient, openTcpListener } from '../../src/kernel/index.ts';
import { serve, serveUdp } from './firewall-lab.ts';
import { afterTest } from './keeper-lab.ts';
import { hostAt, type TestHost, testHosts } from './support.ts';

export const VIP = '10.5.0.100';
export const VIP6 = 'fd05::100';
const ECHO_PORT = 7;

export interface BalanceLab {
  readonly wire: TestHost;
  readonly client: TestHost;
  /** By number from 1. */
  member(number: number): TestHost;
}

export const memberAddress = (number: number): string => `10.5.0.${10 + number}`;

/** A client and `count` members. */
export async function balanceLab(count: number): Promise<BalanceLab> {
  const hosts = await testHosts(count + 2);
  const [wire, client] = [hostAt(hosts, 0), hostAt(hosts, 1)];
  const member = (number: number): TestHost => hostAt(hosts, number + 1);
  const places = [client, ...Array.from({ length: count }, (_, i) => member(i + 1))];
  const port = (place: TestHost, i: number): string =>
    `ip link add v${i} type veth peer name eth0 netns ${place.path}; ip link set v${i} master br0 up`;
  await wire.exec('sh', ['-ec', ['ip link add br0 type bridge; ip link set br0 up', ...places.map(port)].join('\n')]);
  const plugIn = async (place: TestHost, i: number): Promise<void> => {
    const last = i === 0 ? 2 : 10 + i;
    await place.exec('sh', [
      '-ec',
      `sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0
       ip addr add 10.5.0.${last}/24 dev eth0; ip addr add fd05::${last}/64 dev eth0 nodad; ip link set eth0 up`,
    ]);
    const name = i === 0 ? 'client' : `m${i}`;
    serve(place, name, 80);
    serveUdp(place, name, 53);
    serveLines(place, name);
  };
  await Promise.all(places.map(plugIn));
  return { wire, client, member };
}

/** Answers each line on TCP port 7 with `NAME PEER`. */
export function serveLines(at: TestHost, name: string): void {
  const fd = at.host.run(() => openTcpListener({ address: parseAddress('::'), port: ECHO_PORT, v6Only: false }));
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', () => {});
    socket.on('data', () => socket.write(`${name} ${(socket.remoteAddress ?? '').replace('::ffff:', '')}\n`));
  });
  server.listen({ fd });
  afterTest(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
}

/** A connection that stays. */
export class Talk {
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => {});
  }

  static async open(from: TestHost, address: string, port = ECHO_PORT): Promise<Talk> {
    const target = parseAddress(address);
    const socket = new Socket({ fd: from.host.run(() => openTcpClient(target.includes(':') ? 6 : 4)) });
    afterTest(() => void socket.destroy());
    socket.connect({ host: target, port });
    await once(socket, 'connect');
    return new Talk(socket);
  }

  /** What the other side answers to a line: `NAME PEER`. Throws when the connection breaks. */
  async say(): Promise<string> {
    const answer = once(this.#socket, 'data', { signal: AbortSignal.timeout(5000) });
    this.#socket.write('?\n');
    return String((await answer)[0]).trim();
  }

  async close(): Promise<void> {
    const closed = once(this.#socket, 'close');
    this.#socket.end();
    this.#socket.destroy();
    await closed;
  }
}

export const memberOf = (number: number, state: BalancedMember['state'] = 'serving'): BalancedMember => ({
  addresses: [memberAddress(number), `fd05::${10 + number}`] as Address[],
  state,
});

/** A service of members by number; `draining` ones too. */
export const serviceOf = (
  serving: readonly number[],
  draining: readonly number[] = [],
  rest: Partial<BalancedService> = {},
): BalancedService => ({
  id: 'a1'.repeat(32),
  vips: [VIP, VIP6] as Address[],
  members: [...serving.map((n) => memberOf(n)), ...draining.map((n) => memberOf(n, 'draining'))],
  ...rest,
});

/** A program of Node's. Opens so many connections to the virtual address, 50 at once, and prints how many each member took, by name. */
export const MANY = `
const { connect } = require('node:net');
const [address, port, total] = process.argv.slice(1);
const counts = {};
let left = Number(total);
const one = () => new Promise((done) => {
  const socket = connect({ host: address, port: Number(port) });
  let text = '';
  socket.on('data', (chunk) => (text += chunk));
  socket.on('error', (error) => (text = error.code));
  socket.on('close', () => { counts[text] = (counts[text] ?? 0) + 1; done(); });
});
const worker = async () => { while (left-- > 0) await one(); };
Promise.all(Array.from({ length: 50 }, worker)).then(() => console.log(JSON.stringify(counts)));
`;
