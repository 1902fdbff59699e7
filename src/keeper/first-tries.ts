/**
 * Questions that the UDP loop asks of an upstream itself: those of sandboxes that ask little. Two changes of thread less are what counts
 * while a neighbour floods. What is not answered at once, or not well, goes to the main thread with its socket, which goes on from there.
 */

import { randomInt } from 'node:crypto';
import { MAX_STRANGERS, RCODE, judgeReply, rcodeOf, withId, type Query, type Question, type Upstream } from '../dns/index.ts';
import { libc, type EpollSet, type Netns } from '../kernel/index.ts';
import type { FirstAsked } from './handed.ts';
import { connectedUdp } from './upstream-socket.ts';

/** Questions of one sandbox here at once; one that asks for more takes the turns of the main thread. */
const MAX_OWN = 16;
/** The same of all sandboxes. Each holds a descriptor. */
const MAX_ALL = 256;
/** After so many milliseconds the question is the main thread's. */
const HAND_OVER_MS = 100;
/** No datagram is longer. */
const LONGEST = 1 << 16;

/** Whose questions these are. */
export interface FirstAsker {
  /** Where it has its answers from. */
  readonly fd: number;
  /** Asked first. Undefined: there is none. */
  readonly first: Upstream | undefined;
  /** Where those of the sandbox are asked from. */
  readonly netns: () => Netns;
  /** Questions here. */
  firstTries: number;
}

/** Takes a question on: not asked, or with what became of the asking. */
export type TakeOn<Asker> = (asker: Asker, source: Uint8Array, message: Uint8Array, asked?: FirstAsked) => void;

interface Try<Asker> {
  readonly asker: Asker;
  readonly source: Uint8Array;
  readonly query: Query;
  readonly id: number;
  readonly since: number;
  strangers: number;
}

export class FirstTries<Asker extends FirstAsker> {
  readonly #epoll: EpollSet;
  readonly #takeOn: TakeOn<Asker>;
  /** By socket, oldest first. */
  readonly #tries = new Map<number, Try<Asker>>();
  readonly #incoming = Buffer.allocUnsafeSlow(LONGEST);

  constructor(epoll: EpollSet, takeOn: TakeOn<Asker>) {
    this.#epoll = epoll;
    this.#takeOn = takeOn;
  }

  /** True when it asks; else nothing was done. Copies what it keeps. */
  ask(asker: Asker, source: Uint8Array, message: Uint8Array, question: Readonly<Question>): boolean {
    if (asker.first === undefined || asker.firstTries >= MAX_OWN || this.#tries.size >= MAX_ALL) return false;
    const id = randomInt(0x10000);
    let fd = -1;
    try {
      const { first } = asker;
      fd = first.at === 'host' ? connectedUdp(first) : asker.netns().run(() => connectedUdp(first));
      libc.send(fd, withId(message, id));
      this.#epoll.add(fd);
    } catch {
      // The main thread knows what to do about one that cannot be asked.
      if (fd >= 0) libc.close(fd);
      return false;
    }
    const query = { bytes: new Uint8Array(message), question: { ...question } };
    this.#tries.set(fd, { asker, source: new Uint8Array(source), query, id, since: performance.now(), strangers: 0 });
    asker.firstTries++;
    return true;
  }

  /** Whose question is asked there, or undefined. */
  askerAt(socket: number): Asker | undefined {
    return this.#tries.get(socket)?.asker;
  }

  /** Reads one reply. */
  read(socket: number): void {
    const one = this.#tries.get(socket);
    if (one === undefined) return;
    let length: number;
    try {
      length = libc.receive(socket, this.#incoming, libc.MSG.dontwait);
    } catch {
      return this.#fail(socket, one);
    }
    // Nothing yet: what was told of is an older socket of the same number.
    if (length < 0) return;
    const reply = this.#incoming.subarray(0, length);
    const verdict = judgeReply(reply, one.id, one.query);
    if ((verdict === 'stranger' || verdict === 'another') && ++one.strangers < MAX_STRANGERS) return;
    if (verdict !== 'answer' || rcodeOf(reply) === RCODE.SERVFAIL || rcodeOf(reply) === RCODE.REFUSED)
      return this.#fail(socket, one);
    this.#let(socket, one);
    libc.close(socket);
    reply.set(one.query.bytes.subarray(0, 2));
    try {
      libc.sendTo(one.asker.fd, reply, one.source, libc.MSG.dontwait);
    } catch {
      // The asker is gone, or the reply does not fit a datagram.
    }
  }

  /** Milliseconds until passOverdue has something to do; Infinity where nothing waits. */
  dueMs(now: number): number {
    if (this.#tries.size === 0) return Infinity;
    for (const { since } of this.#tries.values()) return Math.max(0, Math.ceil(since + HAND_OVER_MS - now));
    return Infinity;
  }

  /** Hands over what has waited long enough. */
  passOverdue(now: number): void {
    for (const [socket, one] of this.#tries) {
      if (now - one.since < HAND_OVER_MS) return;
      this.#let(socket, one);
      this.#takeOn(one.asker, one.source, one.query.bytes, { socket, id: one.id, agoMs: Math.round(now - one.since) });
    }
  }

  /** The asker's upstreams are others now: its questions are handed over as if they had not been asked. */
  passAll(asker: Asker): void {
    this.#closeAll(asker, (one) => this.#takeOn(asker, one.source, one.query.bytes));
  }

  /** The asker is gone: nobody waits. */
  drop(asker: Asker): void {
    this.#closeAll(asker, () => {});
  }

  #closeAll(asker: Asker, then: (one: Try<Asker>) => void): void {
    if (asker.firstTries === 0) return;
    for (const [socket, one] of this.#tries) {
      if (one.asker !== asker) continue;
      this.#let(socket, one);
      libc.close(socket);
      then(one);
    }
  }

  #fail(socket: number, one: Try<Asker>): void {
    this.#let(socket, one);
    libc.close(socket);
    this.#takeOn(one.asker, one.source, one.query.bytes, { socket: -1, id: one.id, agoMs: 0 });
  }

  #let(socket: number, one: Try<Asker>): void {
    this.#tries.delete(socket);
    this.#epoll.remove(socket);
    one.asker.firstTries--;
  }
}
