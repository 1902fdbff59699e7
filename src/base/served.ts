/** Unix sockets: whether somebody serves one, since its file may be what a dead process left, and one that is listening already. */

import { statSync } from 'node:fs';
import { type Server, connect } from 'node:net';
import { CnmError, errnoOf } from './errors.ts';

/** sun_path holds 108 octets with its end (linux/un.h). */
const MAX_SOCKET_PATH = 107;

/** The kernel's interface cuts a longer path, and the socket would be somewhere else. Throws bad_config, naming the flag that it comes from. */
export function checkSocketPath(flag: string, path: string): void {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH)
    throw new CnmError('bad_config', `${flag}: the socket path ${path} is longer than ${MAX_SOCKET_PATH} octets`);
}

/** A process that accepts nothing within a second serves nobody. */
export function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.setTimeout(1000, () => socket.destroy(new Error('no answer')));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // EAGAIN: its queue is full, hence somebody listens.
    socket.once('error', (error) => resolve(errnoOf(error) === 'EAGAIN'));
  });
}

/** Whether something lies there that is no socket: nobody has left that behind, and it is not ours to take away. */
export const isNoSocket = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isSocket() === false;

/** Serves on a socket that somebody made and listens on; it is the server's then. */
export function listenOnDescriptor(server: Server, fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ fd }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
