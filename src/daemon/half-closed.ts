/** Clients that end sending and go on reading, as `nc -N` does: they are there, and get their answer. */

import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { isPeerGone } from '../kernel/index.ts';

/** For a server on a unix socket: by TCP nobody can tell such a client from one that is gone. */
export function answerHalfClosed(server: Server): void {
  // Node's own flag, which its types lack: without it a connection on which the client has ended is ended, whatever is under way.
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on('connection', (socket: Socket) => {
    socket.once('end', () => {
      if (isGone(socket)) socket.destroy();
    });
  });
}

/** Ends a stream of answers when its client ends sending, now or later: nobody would notice any more when it goes. */
export function endWithSender(out: ServerResponse, socket: Socket): void {
  if (out.writableEnded) return;
  const end = (): void => void out.destroy();
  if (socket.readableEnded) return end();
  socket.once('end', end);
  out.once('close', () => socket.off('end', end));
}

function isGone(socket: Socket): boolean {
  // Node has no public way to a socket's descriptor.
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: number } | null };
  return typeof handle?.fd !== 'number' || handle.fd < 0 || isPeerGone(handle.fd);
}
