/**
 * One question on its way through its upstreams: raw bytes under a fresh id, in order, each upstream once, the next one
 * early when one keeps silent. First good answer wins.
 */

import { randomInt } from 'node:crypto';
import type { UpstreamHealth } from './health.ts';
import type { DialEvents, Dialler, DnsProtocol, Upstream } from './upstream.ts';
import { RCODE, idOf, judgeReply, rcodeOf, withId, type Query } from './wire.ts';

/** Datagrams of strangers that one exchange puts up with. */
const MAX_STRANGERS = 64;

interface RaceParts {
  readonly query: Query;
  readonly protocol: DnsProtocol;
  readonly dialler: Dialler;
  readonly exchangeMs: number;
  /** Every open exchange of the sandbox, also those that outlive their race. */
  readonly exchanges: Set<Exchange>;
  readonly healthOf: (upstream: Upstream) => UpstreamHealth;
}

/** One upstream being asked. */
export interface Exchange {
  /** Closes its socket; repeatable. */
  close(): void;
}

interface Asked extends Exchange {
  /** Counts the upstream's silence, once. */
  countSilence(): void;
}

export class Race {
  readonly #parts: RaceParts;
  /** Exchanges whose end the race waits for. */
  readonly #running = new Set<Exchange>();
  readonly #probes = new Set<Exchange>();
  #waiting: Upstream[] = [];
  #patience: NodeJS.Timeout | undefined;
  #finish: (reply: Uint8Array | undefined) => void = () => {};
  #isOver = false;

  constructor(parts: RaceParts) {
    this.#parts = parts;
  }

  /** The first good reply with the asker's id, or undefined. Demoted upstreams come last, or beside the others when due for a try. */
  run(upstreams: readonly Upstream[]): Promise<Uint8Array | undefined> {
    return new Promise((resolve) => {
      this.#finish = resolve;
      const isDemoted = (upstream: Upstream): boolean => this.#health(upstream).isDemoted(this.#key(upstream));
      const trusted = upstreams.filter((upstream) => !isDemoted(upstream));
      const demoted = upstreams.filter(isDemoted);
      const probed =
        trusted.length === 0 ? [] : demoted.filter((upstream) => this.#health(upstream).takeProbe(this.#key(upstream)));
      this.#waiting = [...trusted, ...demoted.filter((upstream) => !probed.includes(upstream))];
      for (const upstream of probed) this.#ask(upstream, true);
      this.#next();
    });
  }

  /** Ends the race without an answer. */
  abandon(): void {
    this.#end(undefined);
  }

  #key(upstream: Upstream): string {
    return `${this.#parts.protocol} ${upstream.address} ${upstream.port ?? 53}`;
  }

  #health(upstream: Upstream): UpstreamHealth {
    return this.#parts.healthOf(upstream);
  }

  /** Asks the next upstream, or ends the race when none is left and none is being asked. */
  #next(): void {
    clearTimeout(this.#patience);
    if (this.#isOver) return;
    const upstream = this.#waiting.shift();
    if (upstream === undefined) {
      if (this.#running.size === 0) this.#end(undefined);
      return;
    }
    const exchange = this.#ask(upstream, false);
    if (this.#waiting.length === 0) return;
    this.#patience = setTimeout(
      () => {
        exchange.countSilence();
        this.#next();
      },
      this.#health(upstream).patienceMs(this.#key(upstream)),
    );
  }

  /** A probe goes on after the race, since its answer is news about the upstream, and its failure hurries nobody. */
  #ask(upstream: Upstream, isProbe: boolean): Asked {
    const { query, protocol, dialler, exchangeMs, exchanges } = this.#parts;
    const asked = withId(query.bytes, randomInt(0x10000));
    let socket: { close(): void } | undefined;
    let strangers = 0;
    let isClosed = false;
    let isSilenceCounted = false;
    const exchange: Asked = {
      close: () => {
        isClosed = true;
        clearTimeout(timer);
        this.#running.delete(exchange);
        exchanges.delete(exchange);
        socket?.close();
      },
      countSilence: () => {
        if (!isSilenceCounted) this.#health(upstream).silent(this.#key(upstream));
        isSilenceCounted = true;
      },
    };
    const lost = (): void => {
      if (isClosed) return;
      exchange.close();
      if (!isProbe || this.#running.size === 0) this.#next();
    };
    const timer = setTimeout(() => {
      exchange.countSilence();
      lost();
    }, exchangeMs);
    const events: DialEvents = {
      message: (bytes) => {
        if (isClosed) return;
        const verdict = judgeReply(bytes, asked, query.question);
        if (verdict === 'stranger' && ++strangers < MAX_STRANGERS) return;
        if (verdict !== 'answer') return lost();
        this.#health(upstream).answered(this.#key(upstream));
        if (rcodeOf(bytes) === RCODE.SERVFAIL || rcodeOf(bytes) === RCODE.REFUSED) return lost();
        exchange.close();
        this.#end(withId(bytes, idOf(query.bytes)));
      },
      failed: lost,
    };
    this.#running.add(exchange);
    if (isProbe) this.#probes.add(exchange);
    exchanges.add(exchange);
    try {
      socket = dialler.ask(upstream, protocol, asked, events);
    } catch {
      queueMicrotask(lost);
    }
    return exchange;
  }

  #end(reply: Uint8Array | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#patience);
    for (const exchange of this.#running) if (!this.#probes.has(exchange)) exchange.close();
    this.#finish(reply);
  }
}
