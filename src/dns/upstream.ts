/** What an upstream is, and how one is dialled: the sockets are handed in. */

import type { Address } from '../base/index.ts';

export type DnsProtocol = 'udp' | 'tcp';

export interface Upstream {
  readonly address: Address;
  /** Default 53. */
  readonly port?: number;
  /** Namespace it is asked from: servers of the host's file from the host, `--dns` servers from the sandbox. */
  readonly at: 'host' | 'sandbox';
  /** Mark of the packets that ask it (SO_MARK), by which a packet filter knows them. Default none. */
  readonly mark?: number;
}

export interface DialEvents {
  /** One whole DNS message. May come again until close(). */
  message(bytes: Uint8Array): void;
  /** The exchange cannot succeed any more. Never before ask() has returned. */
  failed(error: Error): void;
}

/** An exchange with the first upstream of a question that somebody else has begun. Who takes it calls one of the two, resume() once at most. */
export interface Begun {
  /** Under which the upstream was asked. */
  readonly id: number;
  /** Milliseconds since. */
  readonly agoMs: number;
  /** Goes on listening, as Dialler.ask does. Undefined: the upstream had nothing that helps. */
  readonly resume: ((events: DialEvents) => { close(): void }) | undefined;
  /** Nobody wants its answer any more. Does nothing after resume(). */
  drop(): void;
}

/** Opens sockets in the right namespace. */
export interface Dialler {
  /** Sends `message` from a new socket with a random source port. The socket lives until close(), which is repeatable. */
  ask(upstream: Upstream, protocol: DnsProtocol, message: Uint8Array, events: DialEvents): { close(): void };
}
