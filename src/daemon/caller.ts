/** Who sent a request, by the kernel's word about the other end of the socket. */

import type { Socket } from 'node:net';
import type { Caller } from '../cnm/index.ts';
import { peerCredentials } from '../kernel/index.ts';

const ROOT = 0;

/** Whoever cannot be told is treated as one on another host, who may do the least. */
export function callerOf(socket: Socket): Caller {
  // Node has no public way to a socket's descriptor.
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: number } | null };
  if (socket.remoteAddress !== undefined || typeof handle?.fd !== 'number' || handle.fd < 0) return 'remote';
  const { uid } = peerCredentials(handle.fd);
  return uid === ROOT || uid === process.geteuid?.() ? 'trusted' : { uid };
}
