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
import { libc, markSocket, openTcpClient, type Netns } from '../kernel/index.ts';
import type { Replies } from './replies.ts';
import { DNS_PORT, connectedUdp } from './upstream-socket.ts';
import { WaitingReplies } from './waiting.ts';

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
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  return awaitReply(fd, events, replies, pace);
}

/** Takes over `fd`, on which the reply to what was sent before is awaited. */
export function awaitReply(fd: number, events: DialEvents, replies: Replies, pace: Pace): { close(): void } {
  try {
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
