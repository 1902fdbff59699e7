/** The UDP socket on which one upstream is asked, in the namespace of the calling thread. */

import { familyOf } from '../base/index.ts';
import type { Upstream } from '../dns/index.ts';
import { encodeSocketAddress, libc, markSocket } from '../kernel/index.ts';

export const DNS_PORT = 53;

/** Connected, so that the kernel drops what comes from elsewhere and tells when nobody listens there. */
export function connectedUdp({ address, port = DNS_PORT, mark }: Upstream): number {
  const fd = libc.socket(familyOf(address) === 6 ? libc.AF.inet6 : libc.AF.inet, libc.SOCK.datagram | libc.SOCK.nonblock, 0);
  try {
    if (mark !== undefined) markSocket(fd, mark);
    libc.connect(fd, encodeSocketAddress(address, port), `udp ${address}:${port}`);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}
