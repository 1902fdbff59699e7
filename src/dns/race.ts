/**
 * One question on its way through its upstreams: raw bytes under a fresh id, in order, each upstream once, the next one
 * early when one keeps silent. First good answer wins. A thousand of these may be under way for one sandbox, so that what they
 * hold meanwhile is kept small: it is what a collection of memory has to walk.
 */

import { randomInt } from 'node:crypto';
import type { Exchange, Exchanges } from './exchanges.ts';
import type { UpstreamHealth } from './health.ts';
import { judgeReply } from './reply.ts';
import type { Begun, DialEvents, Dialler, DnsProtocol, Upstream } from './upstream.ts';
import { RCODE, idOf, rcodeOf, withId, type Query } from './wire.ts';

/** Messages that are no reply to its question that one exchange puts up with. */
export const MAX_STRANGERS = 64;

/** What all races of a sandbox share. */
export interface RaceParts {
  readonly dialler: Dialler;
  /** Every open exchange of the sandbox, also those that outlive their race. */
  readonly exchanges: Exchanges;
  readonly healthOf: (upstream: Upstream) => UpstreamHealth;
}

/** The reply with the asker's id, or undefined: none had a good one. */
export type Finish = (reply: Uint8Array | undefined) => void;

const keys = new WeakMap<Upstream, Record<DnsProtocol, string>>();

/** What an upstream's health is remembered by. */
function keyOf(upstream: Upstream, protocol: DnsProtocol): string {
  let both = keys.get(upstream);
  if (both === undefined) {
    const { address, port = 53 } = upstream;
    both = { udp: `udp ${address} ${port}`, tcp: `tcp ${address} ${port}` };
    keys.set(upstream, both);
  }
  return both[protocol];
}

export class Race {
  readonly parts: RaceParts;
  readonly query: Query;
  readonly protocol: DnsProtocol;
  readonly #finish: Finish;
  /** Those that were asked. */
  readonly #asked: Asked[] = [];
  /** In the order of asking. */
  #upstreams: readonly Upstream[] = [];
  /** How many of them were asked. */
  #next = 0;
  #patience: NodeJS.Timeout | undefined;
  #isOver = false;

  /** `finish` is called once, never before run() has begun. */
  constructor(parts: RaceParts, query: Query, protocol: DnsProtocol, finish: Finish) {
    this.parts = parts;
    this.query = query;
    this.protocol = protocol;
    this.#finish = finish;
  }

  /** Demoted upstreams come last, or beside the others when due for a try. `begun`: the first of them has been asked already. */
  run(upstreams: readonly Upstream[], begun?: Begun): void {
    this.#upstreams = upstreams;
    if (begun !== undefined) return this.#goOn(begun);
    if (upstreams.some((upstream) => this.#isDemoted(upstream))) this.#putLast(upstreams);
    this.next();
  }

  /** Ends the race without an answer. */
  abandon(): void {
    this.end(undefined);
  }

  /** Asks the next upstream, or ends the race when none is left and none is being asked. */
  next(): void {
    clearTimeout(this.#patience);
    if (this.#isOver) return;
    const upstream = this.#upstreams[this.#next++];
    if (upstream === undefined) {
      if (!this.isAsking) this.end(undefined);
      return;
    }
    this.#beginPatience(upstream, this.#ask(upstream, false), 0);
  }

  #goOn(begun: Begun): void {
    const first = this.#upstreams[this.#next++];
    if (begun.resume === undefined || first === undefined) {
      begun.drop();
      return this.next();
    }
    const exchange = new Asked(this, first, false, begun.id);
    this.#asked.push(exchange);
    exchange.begin(begun.resume);
    this.#beginPatience(first, exchange, begun.agoMs);
  }

  #beginPatience(upstream: Upstream, exchange: Asked, agoMs: number): void {
    if (this.#next >= this.#upstreams.length) return;
    this.#patience = setTimeout(
      () => {
        exchange.countSilence();
        this.next();
      },
      Math.max(0, this.parts.healthOf(upstream).patienceMs(exchange.key) - agoMs),
    );
  }

  /** Whether the answer of one is waited for. */
  get isAsking(): boolean {
    return this.#asked.some(({ isClosed }) => !isClosed);
  }

  end(reply: Uint8Array | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#patience);
    // A probe goes on after the race, since its answer is news about the upstream.
    for (const exchange of this.#asked) if (!exchange.isProbe) exchange.close();
    this.#finish(reply);
  }

  #isDemoted(upstream: Upstream): boolean {
    return this.parts.healthOf(upstream).isDemoted(keyOf(upstream, this.protocol));
  }

  #putLast(upstreams: readonly Upstream[]): void {
    const trusted = upstreams.filter((upstream) => !this.#isDemoted(upstream));
    const demoted = upstreams.filter((upstream) => this.#isDemoted(upstream));
    const probed = trusted.length === 0 ? [] : demoted.filter((upstream) => this.#takeProbe(upstream));
    this.#upstreams = [...trusted, ...demoted.filter((upstream) => !probed.includes(upstream))];
    for (const upstream of probed) this.#ask(upstream, true);
  }

  #takeProbe(upstream: Upstream): boolean {
    return this.parts.healthOf(upstream).takeProbe(keyOf(upstream, this.protocol));
  }

  #ask(upstream: Upstream, isProbe: boolean): Asked {
    const exchange = new Asked(this, upstream, isProbe);
    this.#asked.push(exchange);
    exchange.begin();
    return exchange;
  }
}

class Asked implements Exchange, DialEvents {
  readonly dueMs: number;
  readonly key: string;
  /** Its failure hurries nobody. */
  readonly isProbe: boolean;
  isClosed = false;
  readonly #race: Race;
  readonly #upstream: Upstream;
  readonly #id: number;
  #socket: { close(): void } | undefined;
  #strangers = 0;
  #isSilenceCounted = false;

  constructor(race: Race, upstream: Upstream, isProbe: boolean, id = randomInt(0x10000)) {
    this.dueMs = race.parts.exchanges.due();
    this.key = keyOf(upstream, race.protocol);
    this.isProbe = isProbe;
    this.#race = race;
    this.#upstream = upstream;
    this.#id = id;
  }

  /** `resume`: it has been asked already. */
  begin(resume?: (events: DialEvents) => { close(): void }): void {
    const { parts, query, protocol } = this.#race;
    parts.exchanges.add(this);
    try {
      this.#socket = resume?.(this) ?? parts.dialler.ask(this.#upstream, protocol, withId(query.bytes, this.#id), this);
    } catch {
      queueMicrotask(() => this.failed());
    }
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#race.parts.exchanges.delete(this);
    this.#socket?.close();
  }

  /** Counts the upstream's silence, once. */
  countSilence(): void {
    if (!this.#isSilenceCounted) this.#race.parts.healthOf(this.#upstream).silent(this.key);
    this.#isSilenceCounted = true;
  }

  expire(): void {
    this.countSilence();
    this.failed();
  }

  failed(): void {
    if (this.isClosed) return;
    this.close();
    if (!this.isProbe || !this.#race.isAsking) this.#race.next();
  }

  message(bytes: Uint8Array): void {
    if (this.isClosed) return;
    const { query, parts, protocol } = this.#race;
    const verdict = judgeReply(bytes, this.#id, query);
    // A connection is the upstream's alone: what it says there of something else is no forgery but its failure.
    const isIgnored = verdict === 'stranger' || (verdict === 'another' && protocol === 'udp');
    if (isIgnored && ++this.#strangers < MAX_STRANGERS) return;
    if (verdict !== 'answer') return this.failed();
    parts.healthOf(this.#upstream).answered(this.key);
    if (rcodeOf(bytes) === RCODE.SERVFAIL || rcodeOf(bytes) === RCODE.REFUSED) return this.failed();
    this.close();
    this.#race.end(withId(bytes, idOf(query.bytes)));
  }
}
