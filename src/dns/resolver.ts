/** Answers the questions of one sandbox: judge, local names, upstreams. Sockets and their life are the keeper's. */

import { type ChainParts, chain } from './chain.ts';
import { Forwarder, type ForwardLimits, type ForwardShared } from './forward.ts';
import type { Begun, Dialler, DnsProtocol, Upstream } from './upstream.ts';
import type { NameTable, NameView } from './names.ts';
import { RCODE, decodeQuery, errorReply } from './wire.ts';

export interface ResolverSettings {
  readonly view: NameView;
  readonly upstreams: readonly Upstream[];
}

/** Hears the reply, or undefined when there shall be none. */
type Heard = (reply: Uint8Array | undefined) => void;

export class Resolver {
  #parts: ChainParts;

  constructor(table: NameTable, settings: ResolverSettings, dialler: Dialler, shared: ForwardShared, limits?: ForwardLimits) {
    this.#parts = { ...settings, table, forwarder: new Forwarder(dialler, shared, limits) };
  }

  get settings(): ResolverSettings {
    return this.#parts;
  }

  /** Takes effect with the next question. */
  update({ view, upstreams }: ResolverSettings): void {
    this.#parts = { ...this.#parts, view, upstreams };
  }

  /**
   * Calls `heard` once, now or later. Never throws. A promise for each question would be what most memory goes to in a flood. `begun`: its
   * first upstream has been asked already.
   */
  ask(message: Uint8Array, protocol: DnsProtocol, heard: Heard, begun?: Begun): void {
    const decoded = decodeQuery(message);
    if (decoded.kind !== 'query') begun?.drop();
    if (decoded.kind === 'ignored') return heard(undefined);
    if (decoded.kind === 'refused') return heard(decoded.reply);
    try {
      for (const handler of chain) if (handler(this.#parts, decoded.query, protocol, heard, begun)) return;
    } catch {
      // Falls to SERVFAIL: an asker must not wait for its time limit because of our fault.
    }
    begun?.drop();
    heard(errorReply(message, RCODE.SERVFAIL));
  }

  /** The same as a promise, which never rejects. */
  answer(message: Uint8Array, protocol: DnsProtocol): Promise<Uint8Array | undefined> {
    return new Promise((resolve) => this.ask(message, protocol, resolve));
  }

  /** Closes all sockets to upstreams. */
  close(): void {
    this.#parts.forwarder.close();
  }
}
