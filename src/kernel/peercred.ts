/** Who is at the other end of a unix socket. */

import * as libc from './libc.ts';

const SO_PEERCRED = 17;
const NOTHING = new Uint8Array();

interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** As the kernel noted them when the peer connected (unix(7)). Throws KernelError for what is no socket. */
export function peerCredentials(fd: number): PeerCredentials {
  const raw = libc.getSocketOption(fd, libc.SOL.socket, SO_PEERCRED, 12);
  return { pid: raw.readInt32LE(0), uid: raw.readUInt32LE(4), gid: raw.readUInt32LE(8) };
}

/**
 * True when the other end of a connected unix stream socket has gone, or takes nothing any more; false when it has only ended sending. An
 * empty write tells it, since the kernel looks whether any could be done before it looks for what to write (unix_stream_sendmsg).
 */
export function isPeerGone(fd: number): boolean {
  try {
    libc.send(fd, NOTHING);
    return false;
  } catch {
    return true;
  }
}
