/** The two sockets of a sandbox's resolver, on 127.0.0.11 inside its namespace. */

import { CnmError, RESOLVER_ADDRESS, messageOf } from '../base/index.ts';
import { libc, localPort, openNetns, openTcpListener, openUdpSocket, type Netns } from '../kernel/index.ts';
import type { NetnsRef } from './contract.ts';
import type { KeptSockets } from './kept.ts';
import type { Ports } from './protocol.ts';

export interface ResolverSockets {
  readonly udp: number;
  readonly tcp: number;
  readonly ports: Ports;
}

/** Opens the namespace and makes sure that it is the one that was meant. Throws bad_netns. */
export function openWanted({ path, identity }: NetnsRef): Netns {
  const netns = openNetns(path);
  if (netns.identity === identity) return netns;
  netns[Symbol.dispose]();
  throw new CnmError('bad_netns', `${path} is no longer the namespace it was`);
}

/**
 * Bound and, for TCP, listening; a port of 0 is chosen by the kernel. Those of an earlier life of the keeper are taken up
 * with what waits in them. Throws resolver_unavailable, then nothing is open.
 */
export function openResolverSockets(netns: Netns, ports: Ports, kept: KeptSockets): ResolverSockets {
  try {
    const sockets = takeBoth(netns, ports, kept) ?? netns.run(() => openBoth(ports));
    kept.keep(sockets.udp);
    kept.keep(sockets.tcp);
    return sockets;
  } catch (error) {
    throw new CnmError('resolver_unavailable', `cannot open the resolver in ${netns.path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function takeBoth({ identity }: Netns, ports: Ports, kept: KeptSockets): ResolverSockets | undefined {
  if (ports.udp === 0 || ports.tcp === 0) return undefined;
  const take = (protocol: 'udp' | 'tcp'): number | undefined =>
    kept.take({ protocol, address: RESOLVER_ADDRESS, port: ports[protocol], netns: identity });
  const [udp, tcp] = [take('udp'), take('tcp')];
  if (udp !== undefined && tcp !== undefined) return { udp, tcp, ports };
  if (udp !== undefined) kept.close(udp);
  if (tcp !== undefined) kept.close(tcp);
  return undefined;
}

const SO_RCVBUFFORCE = 33;
/** Room for a burst of some 2,000 questions; the default holds 270. Memory is used only by what waits. */
const RECEIVE_BUFFER_OCTETS = 1024 * 1024;

/** Bounds the search for a TCP port other than the UDP one. */
const PORT_TRIES = 8;

function openBoth(ports: Ports): ResolverSockets {
  const udp = openUdpSocket({ address: RESOLVER_ADDRESS, port: ports.udp });
  try {
    libc.setSocketOption(udp, libc.SOL.socket, SO_RCVBUFFORCE, RECEIVE_BUFFER_OCTETS);
    for (let tries = 1; ; tries++) {
      const tcp = openTcpListener({ address: RESOLVER_ADDRESS, port: ports.tcp, backlog: 128 });
      const found = { udp: localPort(udp), tcp: localPort(tcp) };
      // Different on purpose: a redirect rule that names the wrong protocol must fail at once, not half work.
      if (found.udp !== found.tcp || tries === PORT_TRIES || ports.tcp !== 0) return { udp, tcp, ports: found };
      libc.close(tcp);
    }
  } catch (error) {
    libc.close(udp);
    throw error;
  }
}
