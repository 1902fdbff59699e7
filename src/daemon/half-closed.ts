/** Clients that end sending and go on reading, as `nc -N` does: they are there, and get their answer. */

import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { isPeerGone } from '../kernel/index.ts';
import { descriptorOf } from './descriptor.ts';

/** For a server on a unix socket: by TCP nobody can tell such a client from one that is gone. */
export function answerHalfClosed(server: Server): void {
  // Node's own flag, which its types lack: without it a connection on which the client has ended is ended, whatever is under way.
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on('connection', (socket: Socket) => {
    socket.once('end', () => {
      const fd = descriptorOf(socket);
      if (fd === undefined || isPeerGone(fd)) socket.destroy();
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
