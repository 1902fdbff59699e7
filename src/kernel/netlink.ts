/**
 * Requests, acknowledged batches and dumps over a netlink socket of our own. The netlink package gives the message
 * bodies only (link.ts, route.ts, neighbour.ts): its sockets tell neither the kernel's words for an error nor whether a
 * dump was interrupted, and abort the process when their buffer overflows.
 */

import { setImmediate as nextTick } from 'node:timers/promises';
import { KernelError } from '../base/index.ts';
import type { Netns } from './contract.ts';
import { closeOffThread } from './closer.ts';
import { netnsOfSocket } from './cookie.ts';
import * as libc from './libc.ts';
import { frame, NLMSG_DONE, NLMSG_ERROR, refusal, splitMessages, type Message, type Received, type Refusal } from './messages.ts';

/** Reads one entry of a list; undefined leaves it out. */
type Parse<T> = (body: Buffer) => T | undefined;

/** Whether a refusal is a failure. */
type Counts = (refused: Refusal) => boolean;

const all: Counts = () => true;

const behind = (counts: Counts, messages: number): Counts =>
  messages === 0 ? counts : (refused) => counts({ ...refused, at: messages + refused.at });

/** What a NetlinkSocket talks through. */
export interface Channel {
  send(data: Buffer): void;
  /** The same on a pool thread. */
  sendOffThread(data: Buffer): Promise<void>;
  /** Length of the message, 0 when none waits. A message longer than `into` is cut. */
  receive(into: Buffer): number;
}

// linux/netlink.h
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NETLINK_ROUTE = 0;
export const NETLINK_SOCK_DIAG = 4;
export const NETLINK_NETFILTER = 12;
const NLM_F_ACK = 4;
const NLM_F_ECHO = 8;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_DUMP = 0x300;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_RCVBUF = 8;

/** Messages sent before their acknowledgements are read: more could overflow the receive buffer. */
const MAX_IN_FLIGHT = 100;
const RECEIVE_BUFFER = 1 << 20;
/** A transaction of nf_tables is one datagram, and takes some 5 KiB a service with 20 members. A limit, and no memory. */
export const MAX_TRANSACTION_OCTETS = 16 << 20;
/** The kernel never makes a larger part of a dump. */
const MAX_MESSAGE = 1 << 16;
/** Tries of one dump that changes keep interrupting. */
const MAX_DUMP_TRIES = 10;
/** Datagrams of a long list between two turns of the event loop; one takes some 0.3 ms. */
const DATAGRAMS_A_TURN = 8;

// All receiving is synchronous, so that one buffer serves all sockets of a thread.
const incoming = Buffer.allocUnsafeSlow(MAX_MESSAGE);

class SocketChannel implements Channel {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  send(data: Buffer): void {
    if (libc.send(this.fd, data) !== data.length) throw new KernelError('send', 'netlink', 'EMSGSIZE');
  }

  sendOffThread(data: Buffer): Promise<void> {
    return libc.sendOffThread(this.fd, data);
  }

  receive(into: Buffer): number {
    return Math.max(0, libc.receive(this.fd, into, libc.MSG.dontwait | libc.MSG.trunc));
  }
}

function openSocket(netns: Netns, protocol: number): number {
  const fd = netns.run(() => libc.socket(libc.AF.netlink, libc.SOCK.raw, protocol));
  try {
    try {
      libc.setSocketOption(fd, libc.SOL.socket, SO_RCVBUFFORCE, RECEIVE_BUFFER);
      if (protocol === NETLINK_NETFILTER) libc.setSocketOption(fd, libc.SOL.socket, SO_SNDBUFFORCE, MAX_TRANSACTION_OCTETS);
    } catch {
      libc.setSocketOption(fd, libc.SOL.socket, SO_RCVBUF, RECEIVE_BUFFER);
    }
    libc.setSocketOption(fd, libc.SOL.netlink, NETLINK_EXT_ACK, 1);
    libc.setSocketOption(fd, libc.SOL.netlink, NETLINK_CAP_ACK, 1);
    libc.setSocketOption(fd, libc.SOL.netlink, NETLINK_GET_STRICT_CHK, 1);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/**
 * One conversation with the kernel, made for a namespace and independent of it later. Every call but those off the
 * thread is done when it returns: the kernel works inside `send`, and all answers wait when that ends.
 */
export class NetlinkSocket implements Disposable {
  readonly #channel: Channel;
  readonly #fd: number;
  readonly #close: (fd: number) => void;
  #sequence = 0;

  constructor(channel: Channel, fd = -1, close: (fd: number) => void = libc.close) {
    this.#channel = channel;
    this.#fd = fd;
    this.#close = close;
  }

  static open(netns: Netns, protocol: number): NetlinkSocket {
    const fd = openSocket(netns, protocol);
    // The kernel holds the close of an nfnetlink socket until what was deleted through nf_tables, by whomever, is out of use.
    const close = protocol === NETLINK_NETFILTER ? closeOffThread : libc.close;
    return new NetlinkSocket(new SocketChannel(fd), fd, close);
  }

  /** Netns.identity of the namespace that it was made for. */
  get netns(): string {
    return netnsOfSocket(this.#fd);
  }

  /** Sends messages as one; answers the first refusal that counts. Stops after the hundred that held it. */
  execute(messages: readonly Message[], counts: Counts = all): Refusal | undefined {
    for (let at = 0; at < messages.length; at += MAX_IN_FLIGHT) {
      const chunk = messages.slice(at, at + MAX_IN_FLIGHT);
      const first = this.#claim(chunk.length);
      this.#channel.send(frame(chunk, 0, first, NLM_F_ACK));
      const refused = this.#acknowledgements(first, chunk.length, behind(counts, at));
      if (refused !== undefined) return { ...refused, at: at + refused.at };
    }
    return undefined;
  }

  /** As execute, but the kernel works on a pool thread. One call at a time on a socket. */
  async executeOffThread(messages: readonly Message[], counts: Counts = all): Promise<Refusal | undefined> {
    for (let at = 0; at < messages.length; at += MAX_IN_FLIGHT) {
      const chunk = messages.slice(at, at + MAX_IN_FLIGHT);
      const first = this.#claim(chunk.length);
      await this.#channel.sendOffThread(frame(chunk, 0, first, NLM_F_ACK));
      const refused = this.#acknowledgements(first, chunk.length, behind(counts, at));
      if (refused !== undefined) return { ...refused, at: at + refused.at };
    }
    return undefined;
  }

  /**
   * Sends messages that are acknowledged only where their own flags say so, as nfnetlink transactions want; the first
   * refusal, also of messages that asked for no acknowledgement.
   */
  executeTransaction(messages: readonly Message[]): Refusal | undefined {
    const first = this.#claim(messages.length);
    this.#channel.send(frame(messages, 0, first));
    return this.#firstRefusal(first, messages.length);
  }

  /** As executeTransaction, on a pool thread. */
  async executeTransactionOffThread(messages: readonly Message[]): Promise<Refusal | undefined> {
    const first = this.#claim(messages.length);
    await this.#channel.sendOffThread(frame(messages, 0, first));
    return this.#firstRefusal(first, messages.length);
  }

  /** One change, told of as `parse` reads it where the kernel does that. */
  change<T>(message: Message, parse: (body: Buffer) => T): T | Refusal | undefined {
    const sequence = this.#claim(1);
    this.#channel.send(frame([message], NLM_F_ECHO, sequence, NLM_F_ACK));
    return this.#told(sequence, parse);
  }

  /** As change, on a pool thread. */
  async changeOffThread<T>(message: Message, parse: (body: Buffer) => T): Promise<T | Refusal | undefined> {
    const sequence = this.#claim(1);
    await this.#channel.sendOffThread(frame([message], NLM_F_ECHO, sequence, NLM_F_ACK));
    return this.#told(sequence, parse);
  }

  #told<T>(sequence: number, parse: (body: Buffer) => T): T | Refusal | undefined {
    let told: T | undefined;
    for (const answer of this.#waiting()) {
      if (answer.sequence !== sequence) continue;
      if (answer.type === NLMSG_ERROR) return refusal(answer, 0) ?? told;
      told = parse(answer.body);
    }
    return { at: 0, errno: 'ENOMSG', text: 'the kernel did not acknowledge the change' };
  }

  /** One request with one answer, read by `parse`. */
  request<T>(message: Message, parse: (body: Buffer) => T): T | Refusal {
    const sequence = this.#claim(1);
    this.#channel.send(frame([message], 0, sequence));
    return this.#answer(sequence, parse);
  }

  /** As request, on a pool thread. */
  async requestOffThread<T>(message: Message, parse: (body: Buffer) => T): Promise<T | Refusal> {
    const sequence = this.#claim(1);
    await this.#channel.sendOffThread(frame([message], 0, sequence));
    return this.#answer(sequence, parse);
  }

  #answer<T>(sequence: number, parse: (body: Buffer) => T): T | Refusal {
    for (const answer of this.#waiting()) {
      if (answer.sequence !== sequence) continue;
      if (answer.type !== NLMSG_ERROR) return parse(answer.body);
      const refused = refusal(answer, 0);
      if (refused !== undefined) return refused;
    }
    return { at: 0, errno: 'ENOMSG' };
  }

  /**
   * Everything the kernel lists for `message`; what `parse` answers undefined for is left out. A list that changes
   * interrupted is begun again, since it may lack or repeat entries; so `parse` must only read, and must not throw.
   * Throws KernelError, EINTR when changes do not let it finish; `what` is its subject.
   */
  dump<T>(message: Message, what: string, parse: Parse<T>): T[] {
    for (let tries = 0; tries < MAX_DUMP_TRIES; tries++) {
      const sequence = this.#claim(1);
      this.#channel.send(frame([message], NLM_F_DUMP, sequence));
      const steps = this.#listed(sequence, what, parse);
      for (let step = steps.next(); ; step = steps.next()) {
        if (step.done !== true) continue;
        if (step.value === undefined) break;
        return step.value;
      }
    }
    throw tooBusy(what);
  }

  /**
   * As dump, for long lists: the kernel begins on a pool thread, and the event loop turns now and then. Nothing else may use
   * the socket meanwhile.
   */
  async dumpInTurns<T>(message: Message, what: string, parse: Parse<T>): Promise<T[]> {
    for (let tries = 0; tries < MAX_DUMP_TRIES; tries++) {
      const sequence = this.#claim(1);
      await this.#channel.sendOffThread(frame([message], NLM_F_DUMP, sequence));
      const steps = this.#listed(sequence, what, parse);
      for (let count = 1; ; count++) {
        const step = steps.next();
        if (step.done !== true) {
          if (count % DATAGRAMS_A_TURN === 0) await nextTick();
          continue;
        }
        if (step.value === undefined) break;
        return step.value;
      }
    }
    throw tooBusy(what);
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) this.#close(this.#fd);
  }

  #claim(count: number): number {
    const first = (this.#sequence + 1) >>> 0;
    this.#sequence = (this.#sequence + count) >>> 0;
    return first;
  }

  /** Datagrams until none waits, each as its messages. */
  *#datagrams(): Generator<Generator<Received>> {
    for (;;) {
      const length = this.#channel.receive(incoming);
      if (length === 0) return;
      if (length > incoming.length) throw new KernelError('netlink', 'message', 'EMSGSIZE');
      yield splitMessages(incoming.subarray(0, length));
    }
  }

  /** Messages until none waits. */
  *#waiting(): Generator<Received> {
    for (const messages of this.#datagrams()) yield* messages;
  }

  #firstRefusal(first: number, count: number): Refusal | undefined {
    let refused: Refusal | undefined;
    for (const answer of this.#waiting()) {
      const at = (answer.sequence - first) >>> 0;
      if (answer.type === NLMSG_ERROR && at < count) refused ??= refusal(answer, at);
    }
    return refused;
  }

  /** The kernel answers refusals unasked, in order, and the last message in any case: what is not refused by then is done. */
  #acknowledgements(first: number, count: number, counts: Counts): Refusal | undefined {
    const last = count - 1;
    let refused: Refusal | undefined;
    for (const answer of this.#waiting()) {
      const at = (answer.sequence - first) >>> 0;
      // What an earlier, failed exchange left behind bears other numbers.
      if (at >= count || answer.type !== NLMSG_ERROR) continue;
      const one = refusal(answer, at);
      if (one !== undefined && counts(one)) refused ??= one;
      if (at === last) return refused;
    }
    return refused ?? { at: last, errno: 'ENOMSG', text: 'the kernel did not acknowledge the last message' };
  }

  /** The answer to one dump, a datagram a step; undefined when it was interrupted. */
  *#listed<T>(sequence: number, what: string, parse: Parse<T>): Generator<void, T[] | undefined> {
    const found: T[] = [];
    let interrupted = false;
    let ended = false;
    // Read to the end whatever happens: an unfinished dump makes the kernel refuse the next one on this socket.
    for (const messages of this.#datagrams()) {
      for (const answer of messages) {
        if (answer.sequence !== sequence || ended) continue;
        interrupted ||= (answer.flags & NLM_F_DUMP_INTR) !== 0;
        if (answer.type === NLMSG_ERROR || answer.type === NLMSG_DONE) {
          const refused = refusal(answer, 0);
          if (refused !== undefined) throw new KernelError('list', what, refused.errno, refused.text);
          ended = true;
        } else {
          const entry = parse(answer.body);
          if (entry !== undefined) found.push(entry);
        }
      }
      yield;
    }
    if (!ended) throw new KernelError('list', what, 'ENOMSG', 'the list has no end');
    return interrupted ? undefined : found;
  }
}

const tooBusy = (what: string): KernelError =>
  new KernelError('list', what, 'EINTR', `interrupted by changes ${MAX_DUMP_TRIES} times`);

export const isRefusal = (value: unknown): value is Refusal =>
  typeof value === 'object' && value !== null && 'errno' in value && 'at' in value;
