/**
 * Asks upstreams on behalf of one sandbox, within limits. The race for one question is race.ts; sockets come from the
 * dialler that is handed in.
 */

import { Exchanges } from './exchanges.ts';
import { UpstreamHealth } from './health.ts';
import { Race, type RaceParts } from './race.ts';
import { Slots, type Pace } from './slots.ts';
import type { Begun, Dialler, DnsProtocol, Upstream } from './upstream.ts';
import { RCODE, errorReply, type Query } from './wire.ts';

/** Hears the reply. */
export type Done = (reply: Uint8Array) => void;

/** Upstreams that count; the rest of a longer list is not asked. */
const MAX_UPSTREAMS = 3;

/** Those of a sandbox that may be asked, in order. `fromHost`: whether the host's own are among them. */
export const usableUpstreams = (upstreams: readonly Upstream[], fromHost: boolean): readonly Upstream[] =>
  upstreams.slice(0, MAX_UPSTREAMS).filter(({ at }) => at === 'sandbox' || fromHost);

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
  /** Hears how many of the sandbox's own upstreams were silent when they were asked last. */
  readonly counted?: (silent: number) => void;
}

/** What all sandboxes of one process share. */
export interface ForwardShared {
  /** Memory of silent servers of the host's file. */
  readonly hostHealth: UpstreamHealth;
  /** A ceiling over all sandboxes. */
  readonly slots: Slots;
}

/**
 * `changed` hears when a server of the host's file falls silent or answers again: its protocol, address and port; `counted` hears how many
 * of them were silent when they were asked last.
 */
export const newForwardShared = (
  concurrent: number,
  queued: number,
  changed?: (upstream: string, isDemoted: boolean) => void,
  counted?: (silent: number) => void,
): ForwardShared => ({
  hostHealth: new UpstreamHealth(() => performance.now(), changed, counted),
  slots: new Slots(concurrent, queued, 4000),
});

export class Forwarder {
  readonly #parts: RaceParts;
  readonly #shared: ForwardShared;
  readonly #slots: Slots;
  readonly #exchanges: Exchanges;
  readonly #races = new Set<Race>();
  #isClosed = false;

  constructor(dialler: Dialler, shared: ForwardShared, limits: ForwardLimits = {}) {
    const ownHealth = new UpstreamHealth(() => performance.now(), undefined, limits.counted);
    this.#exchanges = new Exchanges(limits.exchangeMs ?? 4000);
    this.#shared = shared;
    this.#slots = new Slots(limits.concurrent ?? 1024, limits.queued ?? 3072, limits.queueMs ?? 4000, limits.pace);
    this.#parts = {
      dialler,
      exchanges: this.#exchanges,
      healthOf: ({ at }) => (at === 'host' ? shared.hostHealth : ownHealth),
    };
  }

  /** Sockets open to upstreams. */
  get openSockets(): number {
    return this.#exchanges.size;
  }

  /**
   * Calls `done` once, now or later, with the reply under the asker's id: an upstream's own bytes, SERVFAIL when none answered, REFUSED
   * under overload. Never throws. `begun`: the first usable upstream has been asked already.
   */
  forward(
    query: Query,
    protocol: DnsProtocol,
    upstreams: readonly Upstream[],
    fromHost: boolean,
    done: Done,
    begun?: Begun,
  ): void {
    const turnAway = (rcode: number): void => {
      begun?.drop();
      done(errorReply(query.bytes, rcode));
    };
    const usable = usableUpstreams(upstreams, fromHost);
    if (usable.length === 0) return turnAway(RCODE.SERVFAIL);
    const { slots } = this.#shared;
    this.#slots.take((isGranted) => {
      if (!isGranted) return turnAway(RCODE.REFUSED);
      slots.take((isShared) => {
        if (isShared) return this.#race(query, protocol, usable, done, begun);
        this.#slots.release();
        turnAway(RCODE.REFUSED);
      });
    });
  }

  /** Closes every socket and opens none any more; open questions are answered SERVFAIL, waiting ones REFUSED. */
  close(): void {
    this.#isClosed = true;
    this.#slots.clear();
    for (const race of this.#races) race.abandon();
    this.#exchanges.closeAll();
  }

  #race(query: Query, protocol: DnsProtocol, upstreams: readonly Upstream[], done: Done, begun: Begun | undefined): void {
    const finish = (reply: Uint8Array | undefined): void => {
      this.#races.delete(race);
      this.#shared.slots.release();
      this.#slots.release();
      done(reply ?? errorReply(query.bytes, RCODE.SERVFAIL));
    };
    const race = new Race(this.#parts, query, protocol, finish);
    this.#races.add(race);
    // Not at once: its slot goes to the next one that waits, and that one's to the next, each inside the other.
    if (!this.#isClosed) return race.run(upstreams, begun);
    begun?.drop();
    queueMicrotask(() => race.abandon());
  }
}
