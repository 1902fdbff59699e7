/** Lines that are written in one go leave in one write, and wake their reader once. */

import type { Socket } from 'node:net';

/** Writes `line`; `soon` is called with what sends all that was written by then. */
export function writeTogether(socket: Socket, line: string, soon: (send: () => void) => void): void {
  if (socket.writableCorked === 0) {
    socket.cork();
    soon(() => socket.uncork());
  }
  socket.write(line);
}
