/** Resolvers of all sandboxes: their sockets, their views, and the one name table, in both threads. */

import { readFileSync } from 'node:fs';
import { CnmError, messageOf, type EndpointId, type Logger, type SandboxId } from '../base/index.ts';
import {
  newForwardShared,
  NameTable,
  Resolver,
  usableUpstreams,
  type Begun,
  type DialEvents,
  type ForwardShared,
  type Pace,
} from '../dns/index.ts';
import { libc, type Netns } from '../kernel/index.ts';
import type { NameRecord, PeerNames, SandboxWish } from './contract.ts';
import { awaitReply, dialler } from './dialler.ts';
import { FairTurns } from './fair.ts';
import type { FirstAsked, HandOver } from './handed.ts';
import type { KeptSockets } from './kept.ts';
import { Loop } from './loop.ts';
import { Peers } from './peers.ts';
import { SHARED_OF_ONE, SHARED_OF_ONE_WORDS, type View } from './reactor.ts';
import { MAX_ENDPOINTS, MAX_SANDBOXES, type Ports } from './protocol.ts';
import { Replies } from './replies.ts';
import { openResolverSockets, openWanted, type ResolverSockets } from './sockets.ts';
import { TcpService } from './tcp.ts';

/** Questions of all sandboxes together that are asked of upstreams at once, and that wait. Each holds a descriptor. */
const MAX_FORWARDS = 8192;
const MAX_WAITING_FORWARDS = 32_768;
/** The same of one sandbox, and at most a quarter of what all have. */
const MAX_OWN_FORWARDS = 1024;

/** At most a quarter of the descriptors that this process may have, so that sandboxes and holds find some. */
function forwardLimit(): number {
  const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return limit === undefined ? MAX_FORWARDS : Math.min(MAX_FORWARDS, Math.ceil(Number(limit) / 4));
}

/** What the loop needs to know of a wish. */
function viewOf({ view, upstreams }: SandboxWish): View {
  return { view, first: usableUpstreams(upstreams, view.forwardsFromHost)[0] };
}

/** One served sandbox. */
class Serving {
  wish: SandboxWish;
  readonly netns: Netns;
  readonly sockets: ResolverSockets;
  readonly resolver: Resolver;
  readonly tcp: TcpService;
  /** With the loop, as SHARED_OF_ONE says. */
  readonly shared: Int32Array;
  #isOpen = true;

  /** Takes over `netns` and `sockets`. */
  constructor(
    wish: SandboxWish,
    netns: Netns,
    sockets: ResolverSockets,
    resolver: Resolver,
    tcp: TcpService,
    shared: Int32Array,
  ) {
    this.wish = wish;
    this.netns = netns;
    this.sockets = sockets;
    this.resolver = resolver;
    this.tcp = tcp;
    this.shared = shared;
  }

  /** True when the open sockets are what `wish` asks for; ports of 0 ask for nothing. */
  fits({ netns, ports }: SandboxWish): boolean {
    const has = this.sockets.ports;
    return netns.identity === this.netns.identity && [0, has.udp].includes(ports.udp) && [0, has.tcp].includes(ports.tcp);
  }

  answer({ source, message, asked }: HandOver, replies: Replies, pace: Pace): void {
    const begun = asked === undefined ? undefined : begunAs(asked, replies, pace);
    this.resolver.ask(message, 'udp', (reply) => this.#reply(source, reply), begun);
  }

  #reply(source: Uint8Array, reply: Uint8Array | undefined): void {
    Atomics.sub(this.shared, SHARED_OF_ONE.pending, 1);
    if (reply === undefined || !this.#isOpen) return;
    try {
      libc.sendTo(this.sockets.udp, reply, source, libc.MSG.dontwait);
    } catch {
      // The asker is gone, or the reply does not fit a datagram.
    }
  }

  /** Closes everything. The loop must have let go of the UDP socket. */
  close(): void {
    this.#isOpen = false;
    libc.close(this.sockets.udp);
    this.tcp.close();
    this.resolver.close();
    this.netns[Symbol.dispose]();
  }
}

function begunAs({ socket, id, agoMs }: FirstAsked, replies: Replies, pace: Pace): Begun {
  let isOurs = socket >= 0;
  const resume = (events: DialEvents): { close(): void } => {
    isOurs = false;
    return awaitReply(socket, events, replies, pace);
  };
  const drop = (): void => {
    if (isOurs) libc.close(socket);
    isOurs = false;
  };
  return { id, agoMs, resume: isOurs ? resume : undefined, drop };
}

/** Known to the loop's events before the sandboxes are there. */
interface Shared {
  readonly byDescriptor: Map<number, Serving>;
  readonly turns: FairTurns<number>;
  readonly replies: Replies;
}

/** The turns of the sandbox with that UDP socket. */
const paceOf =
  (turns: FairTurns<number>, fd: number): Pace =>
  (go) =>
    turns.add(fd, go);

export class Sandboxes {
  readonly #log: Logger;
  readonly #kept: KeptSockets;
  readonly #loop: Loop;
  readonly #table = new NameTable();
  readonly #peers = new Peers();
  readonly #shared: ForwardShared;
  readonly #ownForwards: number;
  readonly #byId = new Map<SandboxId, Serving>();
  readonly #byDescriptor: Map<number, Serving>;
  /** By the sandbox's UDP descriptor. */
  readonly #turns: FairTurns<number>;
  readonly #replies: Replies;

  private constructor(log: Logger, kept: KeptSockets, loop: Loop, shared: Shared) {
    this.#log = log;
    this.#kept = kept;
    this.#loop = loop;
    this.#byDescriptor = shared.byDescriptor;
    this.#turns = shared.turns;
    this.#replies = shared.replies;
    const forwards = forwardLimit();
    this.#ownForwards = Math.min(MAX_OWN_FORWARDS, Math.ceil(forwards / 4));
    const changed = (upstream: string, isSilent: boolean): void =>
      log.warn(
        { upstream },
        isSilent ? 'keeper: an upstream does not answer and is asked last' : 'keeper: an upstream answers again',
      );
    this.#shared = newForwardShared(forwards, MAX_WAITING_FORWARDS, changed, (count) => (loop.silentUpstreams = count));
  }

  /** Starts the UDP loop from `workerFile`. `died` is called when it ends by itself. */
  static async start(log: Logger, kept: KeptSockets, workerFile: string, died: (error: Error) => void): Promise<Sandboxes> {
    const byDescriptor = new Map<number, Serving>();
    const turns = new FairTurns<number>();
    const questions = (handed: Iterable<HandOver>): void => {
      for (const question of handed) {
        const serving = byDescriptor.get(question.fd);
        if (serving !== undefined) turns.add(question.fd, () => serving.answer(question, replies, paceOf(turns, question.fd)));
        else if (question.asked !== undefined && question.asked.socket >= 0) libc.close(question.asked.socket);
      }
    };
    const replies = new Replies();
    const readable = (): void => {
      replies.read();
      loop.watchAgain(replies.descriptor);
    };
    const loop = await Loop.start(workerFile, { questions, readable, died });
    await loop.watch(replies.descriptor);
    return new Sandboxes(log, kept, loop, { byDescriptor, turns, replies });
  }

  get isEmpty(): boolean {
    return this.#byId.size === 0 && this.#table.size === 0;
  }

  ids(): readonly SandboxId[] {
    return [...this.#byId.keys()];
  }

  /** Those of this host. */
  endpoints(): readonly EndpointId[] {
    return this.#table.endpoints().filter((id) => !this.#peers.has(id));
  }

  peers(): readonly string[] {
    return this.#peers.ids();
  }

  /** In force in both threads when it returns. */
  setPeers(id: string, names: PeerNames | null): void {
    if (this.#table.size + (names?.endpoints.length ?? 0) > MAX_ENDPOINTS)
      throw new CnmError('resolver_unavailable', `over ${MAX_ENDPOINTS} endpoints`);
    const changes = this.#peers.set(id, names);
    for (const [endpoint, record] of changes) this.#table.set(endpoint, record);
    this.#loop.change({ op: 'peers', changes });
  }

  /** In force in both threads when it returns. */
  setNames(endpoint: EndpointId, record: NameRecord | null): void {
    if (record !== null && this.#table.size >= MAX_ENDPOINTS)
      throw new CnmError('resolver_unavailable', `over ${MAX_ENDPOINTS} endpoints`);
    this.#table.set(endpoint, record);
    this.#loop.change({ op: 'names', endpoint, record });
  }

  /**
   * Serves the sandbox as wished and answers with its ports. Sockets that fit the wish stay open and untouched; calls for
   * one sandbox must not overlap. Throws bad_netns or resolver_unavailable; then the sandbox is not served.
   */
  async set(id: SandboxId, wish: SandboxWish): Promise<Ports> {
    const current = this.#byId.get(id);
    if (current?.fits(wish) === true) {
      current.wish = wish;
      current.resolver.update(wish);
      this.#loop.change({ op: 'view', fd: current.sockets.udp, ...viewOf(wish) });
      return current.sockets.ports;
    }
    await this.remove(id);
    if (this.#byId.size >= MAX_SANDBOXES) throw new CnmError('resolver_unavailable', `over ${MAX_SANDBOXES} sandboxes`);
    const serving = this.#open(wish);
    this.#byId.set(id, serving);
    this.#byDescriptor.set(serving.sockets.udp, serving);
    await this.#loop.order({
      op: 'open',
      fd: serving.sockets.udp,
      netns: serving.netns.fd,
      shared: serving.shared,
      ...viewOf(wish),
    });
    return serving.sockets.ports;
  }

  /** Closes everything that we hold in the sandbox's namespace. Accepts what is not there. */
  async remove(id: SandboxId): Promise<void> {
    const serving = this.#byId.get(id);
    if (serving === undefined) return;
    // What a service manager held on to would keep the namespace.
    this.#kept.release(serving.sockets.udp);
    this.#kept.release(serving.sockets.tcp);
    await this.#end(id, serving);
  }

  async #end(id: SandboxId, serving: Serving): Promise<void> {
    this.#byId.delete(id);
    // The loop lets go first, else it might read from another socket that got the same number.
    await this.#loop.order({ op: 'close', fd: serving.sockets.udp });
    this.#byDescriptor.delete(serving.sockets.udp);
    serving.close();
    this.#turns.forget(serving.sockets.udp);
  }

  /** Resolves when the UDP loop has gone round once. */
  beat(): Promise<void> {
    return this.#loop.order({ op: 'beat' });
  }

  /** For the end of the keeper: what a service manager keeps stays open. */
  async stop(): Promise<void> {
    for (const [id, serving] of this.#byId) await this.#end(id, serving);
    await this.#loop.stop();
    this.#replies[Symbol.dispose]();
  }

  #open(wish: SandboxWish): Serving {
    const netns = openWanted(wish.netns);
    try {
      const sockets = openResolverSockets(netns, wish.ports, this.#kept);
      const pace = paceOf(this.#turns, sockets.udp);
      const shared = new Int32Array(new SharedArrayBuffer(4 * SHARED_OF_ONE_WORDS));
      const resolver = new Resolver(this.#table, wish, dialler(netns, this.#replies, pace), this.#shared, {
        concurrent: this.#ownForwards,
        pace,
        counted: (silent) => Atomics.store(shared, SHARED_OF_ONE.silent, silent),
      });
      const tcp = new TcpService(
        sockets.tcp,
        (message) => new Promise((resolve) => pace(() => resolve(resolver.answer(message, 'tcp')))),
        (error) => this.#log.warn({ netns: netns.path, error: messageOf(error) }, 'keeper: resolver over TCP'),
      );
      return new Serving(wish, netns, sockets, resolver, tcp, shared);
    } catch (error) {
      netns[Symbol.dispose]();
      throw error;
    }
  }
}
