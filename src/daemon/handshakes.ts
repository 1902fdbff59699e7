/** Room for who is about to show a certificate: of more connections than may be on their way to one, those go that come from where most do. */

import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { makePrefix, networkOf, tryAddress, unmapped } from '../base/index.ts';
import { MAX_HANDSHAKES } from './limits.ts';

/** As many as may wait in the kernel's queue, all of which may be accepted before it is seen who goes: Node's own choice for its length. */
const BURST = 512;
/** Of IPv6 addresses, who has one has all with the same first half. */
const OWNED_BITS = 64;

/**
 * Bounds the connections of a server whose handshake is not done, beside those that its bound has room for. The oldest one goes from where
 * most of them come, so that only who opens many waits for nothing.
 */
export function boundHandshakes(server: TlsServer): void {
  /** By where they come from, oldest first. */
  const origins = new Map<string, Map<string, Socket>>();
  let count = 0;
  let isDue = false;
  const forget = (origin: string, name: string): void => {
    const mates = origins.get(origin);
    if (mates?.delete(name) !== true) return;
    count--;
    if (mates.size === 0) origins.delete(origin);
  };
  const makeRoom = (): void => {
    isDue = false;
    while (count > MAX_HANDSHAKES) {
      const [origin, mates] = largest(origins);
      for (const [name, socket] of mates) {
        forget(origin, name);
        socket.destroy();
        break;
      }
    }
  };
  server.maxConnections += MAX_HANDSHAKES + BURST;
  server.on('connection', (socket: Socket) => {
    // It is gone again.
    if (socket.remoteAddress === undefined) return void socket.destroy();
    const origin = originOf(socket.remoteAddress);
    const name = nameOf(socket);
    const mates = origins.get(origin) ?? new Map<string, Socket>();
    origins.set(origin, mates);
    mates.set(name, socket);
    count++;
    socket.once('close', () => forget(origin, name));
    if (count <= MAX_HANDSHAKES || isDue) return;
    isDue = true;
    // What has been sent already is read before that: it may be the end of a handshake.
    setImmediate(makeRoom);
  });
  server.on('secureConnection', (socket: Socket) => {
    if (socket.remoteAddress !== undefined) forget(originOf(socket.remoteAddress), nameOf(socket));
  });
}

/** What no other open connection of the listener has. TLS makes a second socket of each, which has the same. */
const nameOf = ({ localAddress, remoteAddress, remotePort }: Socket): string => `${localAddress} ${remoteAddress} ${remotePort}`;

/** Whose address it is: an IPv4 address by itself, of IPv6 the network that one customer has. `text` is what Node says of a socket. */
export function originOf(text: string): string {
  const address = tryAddress(text.replace(/%.*$/, ''));
  if (address === undefined || !address.includes(':')) return text;
  return unmapped(address) ?? networkOf(makePrefix(address, OWNED_BITS));
}

/** There must be one. */
function largest<Members extends { readonly size: number }>(all: ReadonlyMap<string, Members>): readonly [string, Members] {
  let found: readonly [string, Members] | undefined;
  for (const entry of all) if (found === undefined || entry[1].size > found[1].size) found = entry;
  if (found === undefined) throw new Error('nobody is there');
  return found;
}
