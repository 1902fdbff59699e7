/** Who is at the other end of a unix socket. */

import * as libc from './libc.ts';

const SO_PEERCRED = 17;

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
