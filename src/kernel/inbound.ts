/** Connections that others have made to listeners in a namespace, by the kernel's own table of TCP sockets (linux/inet_diag.h). */

import { readFileSync } from 'node:fs';
import { type Address, addressFromBytes, errnoOf } from '../base/index.ts';
import type { Netns } from './contract.ts';
import { NETLINK_SOCK_DIAG, NetlinkSocket } from './netlink.ts';
import { familyNumber } from './route.ts';
import { offThread } from './turnstile.ts';

/** States of include/net/tcp_states.h: a handshake that is under way, one that is through, one end that has closed. */
const OPEN_STATES: ReadonlySet<number> = new Set([1, 3, 4, 5, 8]);
const LISTEN = 10;
const WANTED_STATES = [LISTEN, ...OPEN_STATES].reduce((mask, state) => mask | (1 << state), 0);

const SOCK_DIAG_BY_FAMILY = 20;
const TCP = 6;
/** struct inet_diag_req_v2, whose last 48 octets name one socket; all are asked for. */
const REQUEST_OCTETS = 56;
/** struct inet_diag_msg. */
const ANSWER = { state: 1, port: 4, address: 8, end: 24 } as const;

interface Row {
  readonly address: Address;
  readonly port: number;
  /** A number of include/net/tcp_states.h. */
  readonly state: number;
}

/**
 * TCP connections to one of `addresses`, at ports that somebody in the namespace listens at. Of UDP the kernel knows none. The kernel
 * leaves out what is over, and works off this thread; one that cannot be asked so has its table read as text.
 */
export async function countInbound(netns: Netns, addresses: readonly Address[]): Promise<number> {
  const rows = (await askSockets(netns)) ?? readSockets(netns);
  const listened = new Set(rows.flatMap(({ state, port }) => (state === LISTEN ? port : [])));
  return rows.filter(({ address, port, state }) => OPEN_STATES.has(state) && listened.has(port) && addresses.includes(address))
    .length;
}

/** Undefined where the kernel lacks tcp_diag. */
export async function askSockets(netns: Netns): Promise<Row[] | undefined> {
  try {
    return await offThread.pass(async () => {
      using socket = NetlinkSocket.open(netns, NETLINK_SOCK_DIAG);
      const rows: Row[][] = [];
      for (const family of [4, 6] as const) {
        const body = Buffer.alloc(REQUEST_OCTETS);
        body.set([familyNumber(family), TCP]);
        body.writeUInt32LE(WANTED_STATES, 4);
        rows.push(await socket.dumpInTurns({ type: SOCK_DIAG_BY_FAMILY, body }, 'sockets', parseSocket));
      }
      return rows.flat();
    });
  } catch (error) {
    if (LACKING.includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

/** Nobody handles the protocol, the family or the question. */
const LACKING = ['ENOENT', 'EPROTONOSUPPORT', 'EOPNOTSUPP'];

/** Undefined for what is too short to be a socket. */
function parseSocket(body: Buffer): Row | undefined {
  if (body.length < ANSWER.end) return undefined;
  const isIpv4 = body[0] === familyNumber(4);
  return {
    address: addressIn(body.subarray(ANSWER.address, ANSWER.address + (isIpv4 ? 4 : 16))),
    port: body.readUInt16BE(ANSWER.port),
    state: body[ANSWER.state] ?? 0,
  };
}

/** The same by text, all sockets of it, on this thread. */
export const readSockets = (netns: Netns): Row[] => netns.run(() => ['tcp', 'tcp6'].map(readTable)).flatMap(parseSocketTable);

/** The thread's own: /proc/net would be the main thread's. A kernel without IPv6 has one table. */
function readTable(name: string): string {
  try {
    return readFileSync(`/proc/thread-self/net/${name}`, 'latin1');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}

/** Rows of /proc/net/tcp or tcp6: addresses are words of the machine's byte order (little-endian here). */
export function parseSocketTable(text: string): Row[] {
  return text.split('\n').flatMap((line) => {
    const [, hex = '', port = '', state = ''] =
      /^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ ([0-9A-F]{2}) /.exec(line) ?? [];
    if (hex === '') return [];
    const words = hex.match(/.{8}/g) ?? [];
    const bytes = Buffer.concat(words.map((word) => Buffer.from(word, 'hex').reverse()));
    return [{ address: addressIn(bytes), port: Number.parseInt(port, 16), state: Number.parseInt(state, 16) }];
  });
}

/** IPv4 in IPv6 is IPv4. */
const addressIn = (bytes: Buffer): Address =>
  addressFromBytes(bytes.length === 16 && bytes.subarray(0, 12).equals(MAPPED) ? bytes.subarray(12) : bytes);

/** ::ffff:0:0/96 */
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex');
