/** Answers the questions of one sandbox: judge, local names, upstreams. Sockets and their life are the keeper's. */

import { chain } from './chain.ts';
import { Forwarder, type ForwardLimits, type ForwardShared } from './forward.ts';
import type { Dialler, DnsProtocol, Upstream } from './upstream.ts';
import type { NameTable, NameView } from './names.ts';
import { RCODE, decodeQuery, errorReply } from './wire.ts';

export interface ResolverSettings {
  readonly view: NameView;
  readonly upstreams: readonly Upstream[];
}

export class Resolver {
  readonly #table: NameTable;
  readonly #forwarder: Forwarder;
  #settings: ResolverSettings;

  constructor(table: NameTable, settings: ResolverSettings, dialler: Dialler, shared: ForwardShared, limits?: ForwardLimits) {
    this.#table = table;
    this.#settings = settings;
    this.#forwarder = new Forwarder(dialler, shared, limits);
  }

  get settings(): ResolverSettings {
    return this.#settings;
  }

  /** Takes effect with the next question. */
  update(settings: ResolverSettings): void {
    this.#settings = settings;
  }

  /** The reply to a message, or undefined when there shall be none. Never rejects. */
  async answer(message: Uint8Array, protocol: DnsProtocol): Promise<Uint8Array | undefined> {
    const decoded = decodeQuery(message);
    if (decoded.kind === 'ignored') return undefined;
    if (decoded.kind === 'refused') return decoded.reply;
    const parts = { ...this.#settings, table: this.#table, forwarder: this.#forwarder };
    try {
      for (const handler of chain) {
        const reply = await handler(parts, decoded.query, protocol);
        if (reply !== undefined) return reply;
      }
    } catch {
      // Falls to SERVFAIL: an asker must not wait for its time limit because of our fault.
    }
    return errorReply(message, RCODE.SERVFAIL);
  }

  /** Closes all sockets to upstreams. */
  close(): void {
    this.#forwarder.close();
  }
}
