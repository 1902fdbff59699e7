/** Connections that others have made to listeners in a namespace, by the kernel's own table of TCP sockets. */

import { readFileSync } from 'node:fs';
import { type Address, addressFromBytes, errnoOf } from '../base/index.ts';
import type { Netns } from './contract.ts';

/** States of include/net/tcp_states.h: a handshake that is under way, one that is through, one end that has closed. */
const OPEN_STATES = new Set(['01', '03', '04', '05', '08']);
const LISTEN = '0A';

interface Row {
  readonly address: Address;
  readonly port: number;
  readonly state: string;
}

/** TCP connections to one of `addresses`, at ports that somebody in the namespace listens at. Of UDP the kernel knows none. */
export function countInbound(netns: Netns, addresses: readonly Address[]): number {
  const rows = netns.run(() => ['tcp', 'tcp6'].map(readTable)).flatMap(parseSocketTable);
  const listened = new Set(rows.flatMap(({ state, port }) => (state === LISTEN ? port : [])));
  return rows.filter(({ address, port, state }) => OPEN_STATES.has(state) && listened.has(port) && addresses.includes(address))
    .length;
}

/** The thread's own: /proc/net would be the main thread's. A kernel without IPv6 has one table. */
function readTable(name: string): string {
  try {
    return readFileSync(`/proc/thread-self/net/${name}`, 'latin1');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}

/** Rows of /proc/net/tcp or tcp6: addresses are words of the machine's byte order (little-endian here), IPv4 in IPv6 is IPv4. */
export function parseSocketTable(text: string): Row[] {
  return text.split('\n').flatMap((line) => {
    const [, hex = '', port = '', state = ''] =
      /^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ ([0-9A-F]{2}) /.exec(line) ?? [];
    if (hex === '') return [];
    const words = hex.match(/.{8}/g) ?? [];
    const bytes = Buffer.concat(words.map((word) => Buffer.from(word, 'hex').reverse()));
    const isMapped = bytes.length === 16 && bytes.subarray(0, 12).equals(MAPPED);
    return [{ address: addressFromBytes(isMapped ? bytes.subarray(12) : bytes), port: Number.parseInt(port, 16), state }];
  });
}

/** ::ffff:0:0/96 */
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex');
