/** Tells a service manager how the daemon is (sd_notify(3)): one datagram to the socket that it names. */

import * as libc from './libc.ts';

/**
 * Sends lines such as `READY=1` to `socketPath` (the value of NOTIFY_SOCKET; a leading @ means the abstract namespace).
 * Does nothing without a path; throws KernelError when the socket cannot be reached.
 */
export function notifyServiceManager(socketPath: string | undefined, lines: readonly string[]): void {
  if (socketPath === undefined || socketPath === '') return;
  const name = Buffer.from(socketPath.startsWith('@') ? `\0${socketPath.slice(1)}` : `${socketPath}\0`);
  const address = Buffer.concat([Buffer.from([libc.AF.unix, 0]), name]);
  const fd = libc.socket(libc.AF.unix, libc.SOCK.datagram | libc.SOCK.cloexec, 0);
  try {
    libc.sendTo(fd, Buffer.from(lines.join('\n')), address, libc.MSG.nosignal);
  } finally {
    libc.close(fd);
  }
}
