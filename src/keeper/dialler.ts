/** Sockets to upstreams, made in the host's namespace or in the sandbox's. */

import { Socket } from 'node:net';
import { familyOf } from '../base/index.ts';
import {
  MAX_TCP_ANSWER_OCTETS,
  MessageReader,
  framed,
  type DialEvents,
  type Dialler,
  type DnsProtocol,
  type Pace,
  type Upstream,
} from '../dns/index.ts';
import { encodeSocketAddress, libc, markSocket, openTcpClient, type Netns } from '../kernel/index.ts';
import type { Replies } from './replies.ts';
import { WaitingReplies } from './waiting.ts';

const DNS_PORT = 53;

/**
 * A dialler for one sandbox; the host's namespace is the one this thread lives in. Replies by UDP take the sandbox's turns:
 * a slow upstream sends many at once.
 */
export function dialler(sandbox: Netns, replies: Replies, pace: Pace): Dialler {
  return {
    ask(upstream: Upstream, protocol: DnsProtocol, message: Uint8Array, events: DialEvents) {
      const open = (): number => (protocol === 'udp' ? connectedUdp(upstream) : tcpClient(upstream));
      const fd = upstream.at === 'host' ? open() : sandbox.run(open);
      return protocol === 'udp' ? askUdp(fd, message, events, replies, pace) : askTcp(fd, upstream, message, events);
    },
  };
}

/** Connected, so that the kernel drops what comes from elsewhere and tells when nobody listens there. */
function connectedUdp({ address, port = DNS_PORT, mark }: Upstream): number {
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

function tcpClient({ address, mark }: Upstream): number {
  const fd = openTcpClient(familyOf(address));
  try {
    if (mark !== undefined) markSocket(fd, mark);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

function askUdp(fd: number, message: Uint8Array, events: DialEvents, replies: Replies, pace: Pace): { close(): void } {
  try {
    libc.send(fd, message);
    return new UdpExchange(fd, events, replies, pace);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

class UdpExchange implements DialEvents {
  readonly #events: DialEvents;
  readonly #waiting: WaitingReplies;
  readonly #watched: { close(): void };
  #isOpen = true;

  constructor(fd: number, events: DialEvents, replies: Replies, pace: Pace) {
    this.#events = events;
    this.#waiting = new WaitingReplies(pace);
    this.#watched = replies.watch(fd, this);
  }

  message(bytes: Uint8Array): void {
    this.#inTurn(bytes.length, () => this.#events.message(bytes));
  }

  failed(error: Error): void {
    this.#inTurn(0, () => this.#events.failed(error));
  }

  close(): void {
    this.#isOpen = false;
    this.#watched.close();
  }

  #inTurn(octets: number, work: () => void): void {
    this.#waiting.add(octets, () => {
      if (this.#isOpen) work();
    });
  }
}

function askTcp(fd: number, { address, port = DNS_PORT }: Upstream, message: Uint8Array, events: DialEvents): { close(): void } {
  const socket = new Socket({ fd });
  const reader = new MessageReader(MAX_TCP_ANSWER_OCTETS);
  let isOpen = true;
  const failed = (error: Error): void => {
    if (isOpen) events.failed(error);
  };
  socket.on('error', failed);
  socket.on('close', () => failed(new Error('the upstream closed the connection')));
  socket.on('data', (chunk) => {
    for (const reply of reader.push(chunk) ?? []) if (isOpen) events.message(reply);
  });
  socket.connect({ host: address, port });
  socket.write(framed(message));
  return {
    close: () => {
      isOpen = false;
      socket.destroy();
    },
  };
}
