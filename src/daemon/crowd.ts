/** Room for newcomers: of more connections than a listener serves at once, those go that have been idle longest. */

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { MAX_CONNECTIONS } from './limits.ts';

/** Connections beyond the bound that may be open until it is seen who is idle. */
const BURST = 256;

interface State {
  /** Requests that are being read or answered. */
  requests: number;
  /** Octets that had come when the last of them was over: more of them are the beginning of another one. */
  octets: number;
}

/** Bounds the connections of a server. One that is in use is not closed: where all are, the newcomer is turned away. */
export function boundConnections(server: Server | TlsServer, arrival: 'connection' | 'secureConnection'): void {
  /** In the order in which they have become idle; who is in use is passed over. */
  const open = new Map<Socket, State>();
  let isDue = false;
  const idle = (most: number): Socket[] => {
    const found: Socket[] = [];
    for (const [socket, { requests, octets }] of open) {
      if (found.length >= most) break;
      if (requests === 0 && socket.bytesRead === octets) found.push(socket);
    }
    return found;
  };
  const makeRoom = (): void => {
    isDue = false;
    for (const socket of idle(open.size - MAX_CONNECTIONS)) {
      open.delete(socket);
      socket.destroy();
    }
  };
  server.maxConnections = MAX_CONNECTIONS + BURST;
  server.on(arrival, (socket: Socket) => {
    const surplus = open.size + 1 - MAX_CONNECTIONS;
    if (surplus > 0 && idle(surplus).length < surplus) return void socket.destroy();
    open.set(socket, { requests: 0, octets: socket.bytesRead });
    socket.once('close', () => open.delete(socket));
    if (surplus <= 0 || isDue) return;
    isDue = true;
    // What has been sent already is read before that: whoever sent it is not idle.
    setImmediate(makeRoom);
  });
  server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    const state = open.get(socket);
    if (state === undefined) return;
    state.requests++;
    response.once('close', () => {
      state.requests--;
      state.octets = socket.bytesRead;
      if (open.delete(socket)) open.set(socket, state);
    });
  });
}
