/**
 * A client, a host with two bridges, and endpoints on them, made with `ip` alone, so that only the firewall is on trial.
 *
 *   client 192.0.2.2 ── 192.0.2.1 host ─┬─ bra 10.1.0.1 ── a 10.1.0.2, c 10.1.0.3
 *                                       └─ brb 10.2.0.1 ── b 10.2.0.2
 * IPv6 alike: 2001:db8::2, ::1; fd01::1, ::2, ::3; fd02::1, ::2.
 */

import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, Socket, type Server } from 'node:net';
import { afterEach } from 'vitest';
import { parseAddress, type Address, type Prefix } from '../../src/base/index.ts';
import type { BridgeFamily, BridgeIntent, FirewallChange, Intent, PortRule } from '../../src/firewall/index.ts';
import { openTcpClient, openTcpListener, openUdpSocket, type Mark } from '../../src/kernel/index.ts';
import { hostAt, testHosts, type TestHost } from './support.ts';

type Place = 'client' | 'host' | 'a' | 'b' | 'c';
export type Lab = Readonly<Record<Place, TestHost>>;

const PLACES: readonly Place[] = ['client', 'host', 'a', 'b', 'c'];
const open: { close(): unknown }[] = [];

afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** Makes the lab; every place answers on TCP port 80 and UDP port 53 with its name and the peer's address. */
export async function makeLab(): Promise<Lab> {
  const hosts = await testHosts(PLACES.length);
  const lab = Object.fromEntries(PLACES.map((place, i) => [place, hostAt(hosts, i)])) as Record<Place, TestHost>;
  // No duplicate address detection: addresses are usable at once.
  const quick = 'sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0';
  await Promise.all(PLACES.map((place) => lab[place].exec('sh', ['-ec', quick])));
  const bridge = (name: string, n: number): string =>
    `ip link add ${name} type bridge; ip addr add 10.${n}.0.1/24 dev ${name}; ip addr add fd0${n}::1/64 dev ${name} nodad;
     ip link set ${name} up; sysctl -qw net.ipv4.conf.${name}.route_localnet=1`;
  const port = (place: Place, name: string): string =>
    `ip link add v${place} type veth peer name eth0 netns ${lab[place].path}; ip link set v${place} master ${name} up; bridge link set dev v${place} hairpin on`;
  await lab.host.exec('sh', [
    '-ec',
    `sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
     ip link add eth0 type veth peer name eth0 netns ${lab.client.path}
     ip addr add 192.0.2.1/24 dev eth0; ip addr add 2001:db8::1/64 dev eth0 nodad; ip link set eth0 up
     ${bridge('bra', 1)}
     ${bridge('brb', 2)}
     ${port('a', 'bra')}
     ${port('c', 'bra')}
     ${port('b', 'brb')}`,
  ]);
  const inside = (n: number, last: number): string =>
    `ip addr add 10.${n}.0.${last}/24 dev eth0; ip addr add fd0${n}::${last}/64 dev eth0 nodad; ip link set eth0 up
     ip route add default via 10.${n}.0.1; ip route add default via fd0${n}::1`;
  await Promise.all([
    lab.a.exec('sh', ['-ec', inside(1, 2)]),
    lab.c.exec('sh', ['-ec', inside(1, 3)]),
    lab.b.exec('sh', ['-ec', inside(2, 2)]),
    lab.client.exec('sh', [
      '-ec',
      `ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up
       ip route add 10.0.0.0/8 via 192.0.2.1; ip route add fd00::/8 via 2001:db8::1`,
    ]),
  ]);
  for (const place of PLACES) {
    serve(lab[place], place, 80);
    serveUdp(lab[place], place, 53);
  }
  return lab;
}

const plain = (address: string | undefined): string => (address ?? '').replace('::ffff:', '');

/** Answers TCP connections of both families with `NAME PEER`. */
export function serve(at: TestHost, name: string, port: number): void {
  const fd = at.host.run(() => openTcpListener({ address: parseAddress('::'), port, v6Only: false }));
  const server: Server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end(`${name} ${plain(socket.remoteAddress)}`);
  });
  server.listen({ fd });
  open.push(server);
}

export function serveUdp(at: TestHost, name: string, port: number): void {
  const fd = at.host.run(() => openUdpSocket({ address: parseAddress('0.0.0.0'), port }));
  const socket: UdpSocket = createSocket('udp4');
  socket.bind({ fd });
  socket.on('message', (_, from) => socket.send(`${name} ${from.address}`, from.port, from.address));
  open.push(socket);
}

/** Time after which a dropped packet counts as dropped, milliseconds. */
const DROPPED_MS = 600;
const ANSWERED_MS = 5000;

/** What a TCP server says: `NAME PEER`; or `refused`, or `nothing` when no answer comes. */
export function ask(from: TestHost, address: string, port: number, limitMs = ANSWERED_MS): Promise<string> {
  const target = parseAddress(address);
  const fd = from.host.run(() => openTcpClient(target.includes(':') ? 6 : 4));
  const socket = new Socket({ fd });
  return new Promise((resolve) => {
    let text = '';
    const done = (answer: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done('nothing'), limitMs);
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('end', () => done(text));
    socket.on('error', (error: NodeJS.ErrnoException) => done(error.code === 'ECONNREFUSED' ? 'refused' : `${error.code}`));
    socket.connect({ host: target, port });
  });
}

/** For what is expected to be dropped: waits less. */
export const probe = (from: TestHost, address: string, port: number): Promise<string> => ask(from, address, port, DROPPED_MS);

/** Like ask, over UDP and IPv4. */
export function askUdp(from: TestHost, address: string, port: number): Promise<string> {
  const socket = createSocket('udp4');
  socket.bind({ fd: from.host.run(() => openUdpSocket({ address: parseAddress('0.0.0.0'), port: 0 })) });
  return new Promise((resolve) => {
    const done = (answer: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => done('nothing'), ANSWERED_MS);
    socket.on('message', (message) => done(message.toString()));
    socket.send('?', port, address);
  });
}

/** An owner's mark of which only the tag matters here. */
export const markOf = (tag: string): Mark => ({ instanceId: tag.repeat(4), tag, liveGroup: 1, deadGroup: 2 });

const familyOf4 = (n: number, rest: Partial<BridgeFamily> = {}): BridgeFamily => ({
  subnet: `10.${n}.0.0/24` as Prefix,
  gateway: `10.${n}.0.1` as Address,
  mode: 'nat',
  masquerade: true,
  ...rest,
});

const familyOf6 = (n: number, rest: Partial<BridgeFamily> = {}): BridgeFamily => ({
  subnet: `fd0${n}::/64` as Prefix,
  gateway: `fd0${n}::1` as Address,
  mode: 'nat',
  masquerade: true,
  ...rest,
});

export interface NetworkWish extends Partial<Omit<BridgeIntent, 'kind' | 'bridge' | 'v4' | 'v6'>> {
  /** Applies to both families. */
  readonly both?: Partial<BridgeFamily>;
  readonly v4?: Partial<BridgeFamily>;
  readonly v6?: Partial<BridgeFamily>;
}

/** Network `a` or `b` of the lab. */
export function network(
  letter: 'a' | 'b',
  { both = {}, v4 = {}, v6 = {}, ...rest }: NetworkWish = {},
): { owner: string; intent: Intent } {
  const n = letter === 'a' ? 1 : 2;
  return {
    owner: letter.repeat(64),
    intent: {
      kind: 'bridge',
      bridge: `br${letter}`,
      internal: false,
      icc: true,
      trustedInterfaces: [],
      ...rest,
      v4: familyOf4(n, { ...both, ...v4 }),
      v6: familyOf6(n, { ...both, ...v6 }),
    },
  };
}

const ADDRESSES = { a: ['10.1.0.2', 'fd01::2'], c: ['10.1.0.3', 'fd01::3'], b: ['10.2.0.2', 'fd02::2'] } as const;

/** Host port → port 80 of the endpoint, on all addresses of both families. */
export function publish(
  place: 'a' | 'b' | 'c',
  hostPort: number,
  rest: Partial<PortRule> = {},
): { owner: string; intent: Intent } {
  const [v4, v6] = ADDRESSES[place];
  const rule = (address: string, hostAddress: string): PortRule => ({
    protocol: 'tcp',
    hostAddress: hostAddress as Address,
    hostPort,
    address: address as Address,
    port: 80,
    mode: 'nat',
    ...rest,
  });
  return {
    owner: `e${place}`.repeat(32),
    intent: { kind: 'ports', bridge: place === 'b' ? 'brb' : 'bra', rules: [rule(v4, '0.0.0.0'), rule(v6, '::')] },
  };
}

/** IPv4 rules of one endpoint as given. */
export function publishRules(place: 'a' | 'b' | 'c', rules: readonly Partial<PortRule>[]): { owner: string; intent: Intent } {
  const base = {
    protocol: 'tcp',
    hostAddress: '0.0.0.0' as Address,
    hostPort: 8080,
    address: ADDRESSES[place][0] as Address,
    port: 80,
    mode: 'nat',
  } as const;
  return {
    owner: `e${place}`.repeat(32),
    intent: { kind: 'ports', bridge: place === 'b' ? 'brb' : 'bra', rules: rules.map((rule) => ({ ...base, ...rule })) },
  };
}

export const withdraw = ({ owner }: { owner: string }): FirewallChange => ({ owner, intent: null });
