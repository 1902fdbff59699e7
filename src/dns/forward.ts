/**
 * Asks upstreams on behalf of one sandbox, within limits. The race for one question is race.ts; sockets come from the
 * dialler that is handed in.
 */

import { UpstreamHealth } from './health.ts';
import { Race, type Exchange } from './race.ts';
import { Slots, type Pace } from './slots.ts';
import type { Dialler, DnsProtocol, Upstream } from './upstream.ts';
import { RCODE, errorReply, type Query } from './wire.ts';

/** Upstreams that count; the rest of a longer list is not asked. */
const MAX_UPSTREAMS = 3;

export interface ForwardLimits {
  /** Time for one upstream from dialling to its answer, milliseconds. Default 4000. */
  readonly exchangeMs?: number;
  /** Questions being asked at once. Default 1024. */
  readonly concurrent?: number;
  /** Questions waiting for their turn. Default 3072. */
  readonly queued?: number;
  /** Longest wait for a turn, milliseconds; then REFUSED. Default 4000. */
  readonly queueMs?: number;
  /** When a question that waited is asked. Default: as soon as another one is answered. */
  readonly pace?: Pace;
}

/** What all sandboxes of one process share. */
export interface ForwardShared {
  /** Memory of silent servers of the host's file. */
  readonly hostHealth: UpstreamHealth;
  /** A ceiling over all sandboxes. */
  readonly slots: Slots;
}

/** `changed` hears when a server of the host's file falls silent or answers again: its protocol, address and port. */
export const newForwardShared = (
  concurrent: number,
  queued: number,
  changed?: (upstream: string, isDemoted: boolean) => void,
): ForwardShared => ({
  hostHealth: new UpstreamHealth(() => performance.now(), changed),
  slots: new Slots(concurrent, queued, 4000),
});

export class Forwarder {
  readonly #dialler: Dialler;
  readonly #shared: ForwardShared;
  readonly #ownHealth = new UpstreamHealth(() => performance.now());
  readonly #slots: Slots;
  readonly #exchangeMs: number;
  readonly #races = new Set<Race>();
  readonly #exchanges = new Set<Exchange>();
  #isClosed = false;

  constructor(dialler: Dialler, shared: ForwardShared, limits: ForwardLimits = {}) {
    this.#dialler = dialler;
    this.#shared = shared;
    this.#slots = new Slots(limits.concurrent ?? 1024, limits.queued ?? 3072, limits.queueMs ?? 4000, limits.pace);
    this.#exchangeMs = limits.exchangeMs ?? 4000;
  }

  /** Sockets open to upstreams. */
  get openSockets(): number {
    return this.#exchanges.size;
  }

  /** The reply with the asker's id: an upstream's own bytes, SERVFAIL when none answered, REFUSED under overload. Never rejects. */
  async forward(query: Query, protocol: DnsProtocol, upstreams: readonly Upstream[], fromHost: boolean): Promise<Uint8Array> {
    const usable = upstreams.slice(0, MAX_UPSTREAMS).filter(({ at }) => at === 'sandbox' || fromHost);
    if (usable.length === 0) return errorReply(query.bytes, RCODE.SERVFAIL);
    if (!(await this.#slots.take())) return errorReply(query.bytes, RCODE.REFUSED);
    try {
      if (!(await this.#shared.slots.take())) return errorReply(query.bytes, RCODE.REFUSED);
      try {
        return (await this.#race(query, protocol, usable)) ?? errorReply(query.bytes, RCODE.SERVFAIL);
      } finally {
        this.#shared.slots.release();
      }
    } finally {
      this.#slots.release();
    }
  }

  /** Closes every socket and opens none any more; open questions are answered SERVFAIL, waiting ones REFUSED. */
  close(): void {
    this.#isClosed = true;
    this.#slots.clear();
    for (const race of this.#races) race.abandon();
    for (const exchange of this.#exchanges) exchange.close();
  }

  async #race(query: Query, protocol: DnsProtocol, upstreams: readonly Upstream[]): Promise<Uint8Array | undefined> {
    if (this.#isClosed) return undefined;
    const race = new Race({
      query,
      protocol,
      dialler: this.#dialler,
      exchangeMs: this.#exchangeMs,
      exchanges: this.#exchanges,
      healthOf: ({ at }) => (at === 'host' ? this.#shared.hostHealth : this.#ownHealth),
    });
    this.#races.add(race);
    try {
      return await race.run(upstreams);
    } finally {
      this.#races.delete(race);
    }
  }
}
