/** The descriptor of a connection, which Node has no public way to. */

import type { Socket } from 'node:net';

/** Undefined once the socket is closed. */
export function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: number } | null };
  return typeof handle?.fd === 'number' && handle.fd >= 0 ? handle.fd : undefined;
}
