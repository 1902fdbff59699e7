/** Tells a service manager how the daemon is (sd_notify(3)): one datagram to the socket that it names. */

import * as libc from './libc.ts';

/**
 * Sends lines such as `READY=1` to `socketPath` (the value of NOTIFY_SOCKET; a leading @ means the abstract namespace).
 * Does nothing without a path; throws KernelError when the socket cannot be reached.
 */
export function notifyServiceManager(socketPath: string | undefined, lines: readonly string[]): void {
  if (socketPath === undefined || socketPath === '') return;
  const address = unixAddress(socketPath);
  const fd = libc.socket(libc.AF.unix, libc.SOCK.datagram | libc.SOCK.cloexec, 0);
  try {
    libc.sendTo(fd, Buffer.from(lines.join('\n')), address, libc.MSG.nosignal);
  } finally {
    libc.close(fd);
  }
}

/** struct sockaddr_un of a path, or of an abstract name behind an @. */
export function unixAddress(path: string): Buffer {
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`);
  return Buffer.concat([Buffer.from([libc.AF.unix, 0]), name]);
}
