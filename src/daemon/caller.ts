/** Who sent a request, by the kernel's word about the other end of the socket. */

import type { Socket } from 'node:net';
import type { Caller } from '../cnm/index.ts';
import { peerCredentials } from '../kernel/index.ts';
import { descriptorOf } from './descriptor.ts';

const ROOT = 0;

/** Whoever cannot be told is treated as one on another host, who may do the least. */
export function callerOf(socket: Socket): Caller {
  const fd = descriptorOf(socket);
  if (socket.remoteAddress !== undefined || fd === undefined) return 'remote';
  const { uid } = peerCredentials(fd);
  return uid === ROOT || uid === process.geteuid?.() ? 'trusted' : { uid };
}
