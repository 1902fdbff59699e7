/**
 * The UDP loop: one blocking thread over the resolver sockets of all sandboxes. It answers local names in place, and hands
 * every other question over. Tables arrive as orders between two rounds.
 */

import { isDeepStrictEqual } from 'node:util';
import type { EndpointId } from '../base/index.ts';
import {
  answerInPlace,
  answerLocally,
  errorReply,
  NameTable,
  newQuestion,
  RCODE,
  readCommonQuestion,
  type AnswerRecords,
  type NameRecord,
  type NameView,
  type Upstream,
} from '../dns/index.ts';
import { EpollSet, PacketRow, openNetns, type Netns } from '../kernel/index.ts';
import { FirstTries } from './first-tries.ts';
import { Handing } from './handed.ts';
import { LOOK_MS } from './left-heap.ts';
import { type Allowance, Contention, Quota } from './quota.ts';

/** What the main thread tells the loop of names. No question that is read after it was told is answered as before. */
export type Change =
  | { readonly op: 'names'; readonly endpoint: EndpointId; readonly record: NameRecord | null }
  /** Many of them at once. */
  | { readonly op: 'peers'; readonly changes: readonly (readonly [EndpointId, NameRecord | null])[] }
  | ({ readonly op: 'view'; readonly fd: number } & View);

/** How one sandbox sees the world. */
export interface View {
  readonly view: NameView;
  /** Its first upstream, which the loop asks itself. */
  readonly first: Upstream | undefined;
}

/** What both threads look at without asking each other: indices of a shared Int32Array. */
export const SHARED = {
  /** How many changes were told of. */
  told: 0,
  /** How many of the host's upstreams were silent when they were asked last. */
  silent: 1,
} as const;
export const SHARED_WORDS = 2;

/** The same of one sandbox. */
export const SHARED_OF_ONE = {
  /** Questions handed over and not answered yet. */
  pending: 0,
  /** How many of its own upstreams were silent when they were asked last. */
  silent: 1,
} as const;
export const SHARED_OF_ONE_WORDS = 2;

/** What the main thread tells the loop. Those that are no changes are acknowledged by their tickets when they are in force. */
export type Order =
  | Change
  /** `netns` is a descriptor of the sandbox's namespace, open until `close` is in force; `shared` as SHARED_OF_ONE says. */
  | ({ readonly op: 'open'; readonly fd: number; readonly netns: number; readonly shared: Int32Array } & View)
  | { readonly op: 'close'; readonly fd: number }
  /** Whether `fd` is readable is reported from now on, once, and again after each watchOnceMore. */
  | { readonly op: 'watch'; readonly fd: number }
  /** Does nothing: its ticket says that the loop goes round. */
  | { readonly op: 'beat' }
  | { readonly op: 'stop' };

export type Report =
  | { readonly kind: 'ready'; readonly wake: number; readonly epoll: number }
  /** The watched descriptor is readable. */
  | { readonly kind: 'readable' }
  | { readonly kind: 'done'; readonly tickets: readonly number[] }
  /** As handed.ts packs them. */
  | { readonly kind: 'questions'; readonly questions: ArrayBuffer };

/**
 * Milliseconds of this thread for each sandbox while others ask too. Time and not questions: a slow machine has no less room then for
 * whoever else wants a processor, the keeper's main thread among them.
 */
const SHARE: Allowance = { rate: 250, burst: 25 };
/** Questions of one sandbox that may wait at the main thread; the next one is refused. */
export const MAX_PENDING = 4096;
/** A sandbox with more of them there takes its turns there with all others, too. */
const FEW_PENDING = 16;
/**
 * Refusals of each sandbox; what would need more is dropped, as the kernel does with what finds the socket full. A client that asks
 * again as soon as it is refused would else take whole processors, its own and ours, and the scheduler lets all others wait for them.
 */
const REFUSALS: Allowance = { rate: 1000, burst: 1000 };
/** Packets read from one socket before the next one has its turn. */
const BATCH = 64;
/** A turn that took longer, milliseconds, makes the sandbox's next one half as large; a shorter one twice. */
const LONG_TURN_MS = 0.4;
const SMALLEST_BATCH = 4;
/** Of a turn that took longer, milliseconds, the rest was somebody else's: this thread had no processor, or collected memory. */
const LONGEST_TURN_MS = 4;
/** Longest packet worth reading; longer ones are cut and then refused as malformed. */
const SLOT_OCTETS = 2048;
/** Answers remembered, over all sandboxes; then all are forgotten. */
const MAX_CACHED = 65_536;
/** Safety net for a lost wake-up, milliseconds. */
const LONGEST_WAIT_MS = 5000;

/** Packets between two looks with which it counts as idle. */
const FEW_PACKETS = 500;

interface Cached {
  /** Octets of the question section. */
  readonly question: Uint8Array;
  readonly records: AnswerRecords;
}

interface Served {
  readonly fd: number;
  view: NameView;
  first: Upstream | undefined;
  firstTries: number;
  readonly netns: () => Netns;
  /** Of this thread; opened by `netns` where it is needed. */
  opened?: Netns;
  readonly shared: Int32Array;
  readonly cache: Map<number, Cached>;
  readonly quota: Quota;
  readonly refusals: Quota;
  /** Packets of its next turn: what is handed over takes several times as long as what is answered here. */
  batch: number;
}

function servedBy({ fd, view, first, netns, shared }: Extract<Order, { op: 'open' }>): Served {
  const served: Served = {
    fd,
    view,
    first,
    firstTries: 0,
    // A thread enters namespaces by objects of its own.
    netns: () => (served.opened ??= openNetns(`/proc/self/fd/${netns}`)),
    shared,
    cache: new Map(),
    quota: new Quota(SHARE),
    refusals: new Quota(REFUSALS),
    batch: BATCH,
  };
  return served;
}

export interface ReactorParts {
  /** As SHARED says. */
  readonly shared: Int32Array;
  readonly handOver: (questions: ArrayBuffer) => void;
  /** The watched descriptor is. */
  readonly readable: () => void;
  /** Applies what waits. */
  readonly takeOrders: () => void;
  /** Called when that may be acknowledged: nothing is done with a socket any more that was let go. */
  readonly goneRound: () => void;
}

export class Reactor {
  readonly #epoll = new EpollSet(256);
  readonly #row = new PacketRow(BATCH, SLOT_OCTETS);
  readonly #question = newQuestion();
  readonly #table = new NameTable();
  readonly #served = new Map<number, Served>();
  /** Overdrawn sandboxes: out of the epoll set until their quota covers them. What they send meanwhile, the kernel drops. */
  readonly #muted = new Set<Served>();
  readonly #contention = new Contention();
  readonly #handOver: (questions: ArrayBuffer) => void;
  readonly #readable: () => void;
  readonly #shared: Int32Array;
  readonly #firstTries: FirstTries<Served>;
  #seen = 0;
  readonly #takeOrders: () => void;
  readonly #goneRound: () => void;
  /** Since it was looked last whether something else is due. */
  #packets = 0;
  #lookAt = performance.now() + LOOK_MS;
  #watched = -1;
  readonly #questions = new Handing();
  #cached = 0;
  #isStopped = false;

  constructor({ shared, handOver, readable, takeOrders, goneRound }: ReactorParts) {
    this.#shared = shared;
    this.#takeOrders = takeOrders;
    this.#goneRound = goneRound;
    this.#firstTries = new FirstTries(this.#epoll, (served, source, message, asked) => {
      Atomics.add(served.shared, SHARED_OF_ONE.pending, 1);
      this.#questions.add(served.fd, source, message, asked);
    });
    this.#handOver = handOver;
    this.#readable = readable;
  }

  /** Descriptor that wakes the loop (kernel `wake`). */
  get wakeDescriptor(): number {
    return this.#epoll.wakeDescriptor;
  }

  /** Descriptor of the loop's set (kernel `watchOnceMore`). */
  get epoll(): number {
    return this.#epoll.descriptor;
  }

  /**
   * Runs until a stop order, or until little has been asked for a while: then `isDue` is asked, and where it is, false is returned, for
   * the caller to do what is due and to run it again.
   */
  run(isDue: () => boolean): boolean {
    while (!this.#isStopped) {
      const now = performance.now();
      if (now >= this.#lookAt) {
        const isQuiet = this.#packets < FEW_PACKETS;
        this.#packets = 0;
        this.#lookAt = now + LOOK_MS;
        if (isQuiet && isDue()) return false;
      }
      this.round(LONGEST_WAIT_MS);
    }
    this.#epoll[Symbol.dispose]();
    return true;
  }

  /** Waits no longer than `longestMs` milliseconds for something to do, and does it. Not after a stop order. */
  round(longestMs: number): void {
    const wait = this.#muted.size > 0 ? 1 : longestMs;
    this.#epoll.wait(Math.min(wait, this.#firstTries.dueMs(performance.now())), (fd) => this.#serve(fd));
    this.#unmute();
    this.#firstTries.passOverdue(performance.now());
    if (!this.#questions.isEmpty) this.#handOver(this.#questions.take());
    this.#catchUp();
    this.#goneRound();
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  #catchUp(): void {
    // Before they are taken: one that is told of meanwhile is looked for once more.
    this.#seen = Atomics.load(this.#shared, SHARED.told);
    this.#takeOrders();
  }

  /** In force when it returns. */
  apply(order: Order): void {
    if (order.op === 'beat') return;
    if (order.op === 'watch') {
      this.#watched = order.fd;
      return this.#epoll.addOnce(order.fd);
    }
    this.forgetAnswers();
    switch (order.op) {
      case 'names':
        return this.#table.set(order.endpoint, order.record);
      case 'peers':
        return order.changes.forEach(([endpoint, record]) => this.#table.set(endpoint, record));
      case 'open':
        this.#served.set(order.fd, servedBy(order));
        return this.#epoll.add(order.fd);
      case 'view': {
        const served = this.#served.get(order.fd);
        if (served === undefined) return;
        served.view = order.view;
        if (!isDeepStrictEqual(served.first, order.first)) this.#firstTries.passAll(served);
        served.first = order.first;
        return;
      }
      case 'close':
        return this.#close(order.fd);
      case 'stop':
        this.#isStopped = true;
    }
  }

  #close(fd: number): void {
    const served = this.#served.get(fd);
    if (served === undefined) return;
    this.#served.delete(fd);
    this.#firstTries.drop(served);
    served.opened?.[Symbol.dispose]();
    if (!this.#muted.delete(served)) this.#epoll.remove(fd);
  }

  #serve(fd: number): void {
    if (fd === this.#watched) return this.#readable();
    const served = this.#served.get(fd);
    if (served === undefined) return this.#readFirst(fd);
    const row = this.#row;
    const start = performance.now();
    let count: number;
    try {
      count = row.receive(fd, served.batch);
    } catch {
      // An error that waits on the socket is gone once told. One that stays must not spin: it is left out for a moment.
      return this.#mute(served);
    }
    if (count > 0 && Atomics.load(this.#shared, SHARED.told) !== this.#seen) {
      this.#catchUp();
      // It was let go: nobody waits there.
      if (this.#served.get(fd) !== served) return;
    }
    for (let i = 0; i < count; i++) this.#answer(served, i, start);
    row.sendAnswers(fd);
    if (count === 0) return;
    this.#packets += count;
    this.#charge(served, start);
  }

  #readFirst(socket: number): void {
    const asker = this.#firstTries.askerAt(socket);
    if (asker === undefined) return;
    const start = performance.now();
    this.#firstTries.read(socket);
    const now = performance.now();
    if (this.#contention.note(asker.quota, now)) asker.quota.spend(Math.min(now - start, LONGEST_TURN_MS), now);
  }

  #charge(served: Served, start: number): void {
    const now = performance.now();
    served.batch = now - start > LONG_TURN_MS ? Math.max(SMALLEST_BATCH, served.batch >> 1) : Math.min(BATCH, served.batch << 1);
    if (!this.#contention.note(served.quota, now) || served.quota.spend(Math.min(now - start, LONGEST_TURN_MS), now)) return;
    this.#mute(served);
  }

  #mute(served: Served): void {
    this.#epoll.remove(served.fd);
    this.#muted.add(served);
  }

  #unmute(): void {
    if (this.#muted.size === 0) return;
    const now = performance.now();
    for (const served of this.#muted) {
      if (!served.quota.isCovered(now)) continue;
      this.#muted.delete(served);
      this.#epoll.add(served.fd);
    }
  }

  #answer(served: Served, i: number, now: number): void {
    const length = this.#row.length(i);
    const packet = this.#row.packet(i);
    const question = this.#question;
    if (readCommonQuestion(packet, 0, length, question)) {
      const records = this.#localRecords(served, packet);
      if (records !== undefined) {
        this.#row.answer(i, answerInPlace(packet, 0, question, records, question.udpLimit));
        return;
      }
      if (this.#asksItself(served) && this.#firstTries.ask(served, this.#row.source(i), packet.subarray(0, length), question))
        return;
    }
    if (Atomics.add(served.shared, SHARED_OF_ONE.pending, 1) < MAX_PENDING) {
      return this.#questions.add(served.fd, this.#row.source(i), packet.subarray(0, length));
    }
    Atomics.sub(served.shared, SHARED_OF_ONE.pending, 1);
    if (length < 12 || ((packet[2] ?? 0) & 0x80) !== 0) return;
    if (!served.refusals.isCovered(now)) return;
    served.refusals.spend(1, now);
    const refusal = errorReply(packet.subarray(0, length), RCODE.REFUSED);
    packet.set(refusal);
    this.#row.answer(i, refusal.length);
  }

  /** What the main thread knows better is its own: whom to ask when some upstream is silent, and whose turn it is. */
  #asksItself({ first, shared }: Served): boolean {
    const silent = first?.at === 'host' ? Atomics.load(this.#shared, SHARED.silent) : Atomics.load(shared, SHARED_OF_ONE.silent);
    return silent === 0 && Atomics.load(shared, SHARED_OF_ONE.pending) < FEW_PENDING;
  }

  #localRecords(served: Served, packet: Uint8Array): AnswerRecords | undefined {
    const question = this.#question;
    const cached = served.cache.get(question.hash);
    if (cached !== undefined && isSame(cached.question, packet, question.end)) return cached.records;
    const records = answerLocally(this.#table, served.view, packet, 0, question);
    if (records === undefined) return undefined;
    if (this.#cached >= MAX_CACHED) this.forgetAnswers();
    if (!served.cache.has(question.hash)) this.#cached++;
    served.cache.set(question.hash, { question: new Uint8Array(packet.subarray(12, question.end)), records });
    return records;
  }

  /** Those that come from the name table, and are made of it again. */
  forgetAnswers(): void {
    if (this.#cached === 0) return;
    for (const served of this.#served.values()) served.cache.clear();
    this.#cached = 0;
  }
}

function isSame(question: Uint8Array, packet: Uint8Array, end: number): boolean {
  if (question.length !== end - 12) return false;
  for (let i = 12; i < end; i++) if (question[i - 12] !== packet[i]) return false;
  return true;
}
