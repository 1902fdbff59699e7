/** Which namespace a socket was made in. */

import { readFileSync } from 'node:fs';
import * as libc from './libc.ts';

// linux/socket.h, since Linux 5.14
const SO_NETNS_COOKIE = 71;

let bootId: string | undefined;

/** Netns.identity of the namespace that a socket was made in. */
export function netnsOfSocket(fd: number): string {
  bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return `${bootId}:${libc.getSocketOption(fd, libc.SOL.socket, SO_NETNS_COOKIE, 8).readBigUInt64LE().toString(16)}`;
}
