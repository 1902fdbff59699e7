/**
 * The daemon's link to its keeper: tells each wish to the keeper, writes it to its file, and waits until it is live. Starts the
 * keeper when none answers, finds it again when it died, and tells it again what it missed.
 */

import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CnmError, KeyedLock, messageOf, silentLogger, type EndpointId, type Logger, type SandboxId } from '../base/index.ts';
import { ConnectionLost, KeeperConnection } from './connection.ts';
import type { HoldAnswer, HoldConflict, HoldRequest, KeeperLink, NameRecord, PeerNames, SandboxWish } from './contract.ts';
import { Silence, withDeadline } from './deadline.ts';
import { keeperPaths, makeFolders, readEntry, removeEntry, removeHalfWritten, writeEntry, type KeeperPaths } from './files.ts';
import { managedGrace } from './managed.ts';
import {
  keyOf,
  PROTOCOL_VERSION,
  type ChangeRequest,
  type Entry,
  type Hello,
  type Inventory,
  type Ports,
  type PutAnswer,
  type Table,
  type TableValues,
} from './protocol.ts';
import { isSupervisor, startSupervised } from './supervise.ts';
import { type Wish, wordOf } from './wish.ts';

/** Wait for a connection, and the least for the keeper's word, milliseconds. */
const ACK_MS = 1500;
/**
 * Silence, since its last word to anybody, after which a connected keeper is not waited for: on a busy or emulated machine it is only
 * slow. Shorter than the silence after which it is ended.
 */
const PATIENCE_MS = 6000;
/** Longest wait for the first connection, milliseconds: a machine that starts everything at once is slow. */
const START_MS = 80_000;
/** Pauses between tries to connect, milliseconds; doubled from the first to the last, which a start may lose. */
const FIRST_PAUSE_MS = 10;
const LAST_PAUSE_MS = 80;
/** Time that a living supervisor has before another is started, milliseconds. */
const START_GRACE_MS = 3000;
/**
 * The same for a keeper just started. Doubled with every one that did not come: on a machine that is only slow, more of them would
 * make it slower.
 */
const FIRST_GRACE_MS = 6000;
const LAST_GRACE_MS = 48_000;

/** Pause between two looks at whether the keeper still answers and what it says, and the silence after which it is ended, milliseconds. */
const PING_EVERY_MS = 1000;
const HANG_MS = 10_000;

export interface KeeperOptions {
  readonly runDir: string;
  /** The built keeper, with its worker beside it. */
  readonly entry: string;
  /** Default: this process's Node. */
  readonly execPath?: string;
  /** Environment of the keeper. Default: PATH only. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Default: silent. */
  readonly log?: Logger;
}

/** Connects to the keeper of `runDir`, starting one when none answers. Throws resolver_unavailable after 10 s. */
export async function openKeeper(options: KeeperOptions): Promise<KeeperLink> {
  const client = new KeeperClient(options);
  try {
    await client.start();
    return client;
  } catch (error) {
    await client.close();
    throw error;
  }
}

class KeeperClient implements KeeperLink {
  readonly #options: Required<KeeperOptions>;
  readonly #paths: KeeperPaths;
  readonly #locks = new KeyedLock();
  readonly #wishes = new Map<string, Wish>();
  /** Distinguishes this client's revisions from those of earlier ones. */
  readonly #life = Date.now().toString(36);
  #revision = 0;
  #connection: KeeperConnection | undefined;
  #hello: Hello | undefined;
  /** When the keeper said something last. */
  #heardAt = Number.NEGATIVE_INFINITY;
  #lastStart = Number.NEGATIVE_INFINITY;
  #grace = FIRST_GRACE_MS;
  /** Whether the supervisor that was started last still runs. */
  #isStarting = (): boolean => false;
  #lostAt = Number.NEGATIVE_INFINITY;
  readonly #begunAt = performance.now();
  /** Supervisor of the keeper that was lost last. */
  #supervisor: number | undefined;
  #isClosed = false;
  #conflicts: readonly HoldConflict[] = [];
  onConflicts: (() => void) | undefined;
  onBack: (() => void) | undefined;
  /** Those who wait for a connection. */
  readonly #arrivals = new Set<() => void>();

  constructor(options: KeeperOptions) {
    this.#options = {
      execPath: process.execPath,
      env: { PATH: process.env.PATH },
      log: silentLogger,
      ...options,
      runDir: resolve(options.runDir),
    };
    this.#paths = keeperPaths(this.#options.runDir);
  }

  get pid(): number | undefined {
    return this.#hello?.pid;
  }

  /** Resolves with the first connection. */
  async start(): Promise<void> {
    makeFolders(this.#paths);
    removeHalfWritten(this.#paths);
    void this.#stayConnected();
    await this.#connected(performance.now() + START_MS);
  }

  async sandbox(id: SandboxId, wish: SandboxWish | null): Promise<Ports> {
    if (wish === null) {
      await this.#drop('sandboxes', id);
      return { udp: 0, tcp: 0 };
    }
    const settle = (answer: PutAnswer): SandboxWish => ({ ...wish, ports: answer as Ports });
    return (await this.#put('sandboxes', id, wish, settle)) as Ports;
  }

  async names(endpoint: EndpointId, record: NameRecord | null): Promise<void> {
    if (record === null) await this.#drop('names', endpoint);
    else await this.#put('names', endpoint, record, () => record);
  }

  async peers(id: string, names: PeerNames | null): Promise<void> {
    if (names === null) await this.#drop('peers', id);
    else await this.#put('peers', id, names, () => names);
  }

  async holds(owner: SandboxId, groups: readonly HoldRequest[]): Promise<readonly HoldAnswer[]> {
    let answers: readonly HoldAnswer[] = [];
    if (groups.length === 0) {
      await this.#drop('holds', owner);
    } else {
      // What lies in the file is ours without saying so.
      const plain = groups.map(({ isOurs: _said, ...group }) => group);
      const settle = (answer: PutAnswer): readonly HoldRequest[] =>
        plain.filter((_, i) => groups[i]?.isOurs === true || (answer as readonly HoldAnswer[])[i]?.ok);
      answers = (await this.#put('holds', owner, plain, settle, groups)) as readonly HoldAnswer[];
    }
    // Whoever looks after this call sees what it has changed.
    if (answers.some(({ ok }) => !ok) || this.#conflicts.some((one) => one.owner === owner)) {
      const pulse = await this.#asked((connection) => connection.ping(), 'conflicts');
      this.#learn(pulse.conflicts);
    }
    return answers;
  }

  get conflicts(): readonly HoldConflict[] {
    return this.#conflicts;
  }

  #learn(conflicts: readonly HoldConflict[]): void {
    if (JSON.stringify(conflicts) === JSON.stringify(this.#conflicts)) return;
    this.#conflicts = conflicts;
    this.onConflicts?.();
  }

  async inventory(): ReturnType<KeeperLink['inventory']> {
    const answer: Inventory = await this.#asked((connection) => connection.inventory(), 'inventory');
    const { sandboxes, endpoints, ...rest } = answer;
    return { ...rest, sandboxes: sandboxes as SandboxId[], endpoints: endpoints as EndpointId[] };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#connection?.close();
    this.#arrive();
    await this.#connection?.closed;
  }

  /**
   * Tells the keeper, writes the file while it works, waits. `settled` is the value as it came out (ports chosen, failed holds left
   * out): the file then says what the caller was told. `told`: what goes to the keeper. Without a file it is told what was before.
   */
  #put<T extends Table>(
    table: T,
    id: string,
    value: TableValues[T],
    settled: (answer: PutAnswer) => TableValues[T],
    told: TableValues[T] = value,
  ): Promise<PutAnswer> {
    const key = keyOf(table, id);
    return this.#locks.run(key, async () => {
      const revision = `${this.#life}-${++this.#revision}`;
      const entry: Entry<T> = { id, revision, value };
      this.#wishes.set(key, { table, id, entry });
      const asked = this.#change({ op: 'put', table, id, revision, value: told });
      // It is waited for below, when it may have failed already.
      asked.catch(() => {});
      // What was said leaves now.
      await Promise.resolve();
      try {
        writeEntry(this.#paths, table, entry);
      } catch (error) {
        await asked.catch(() => {});
        await this.#tellWhatIsWritten(table, id);
        throw error;
      }
      const answer = await asked.catch((error: unknown) => {
        // Refused is final. Silence is not: the caller takes the wish back when it wants to.
        if (!(error instanceof Silence)) this.#forget(table, id);
        throw error;
      });
      const outcome = settled(answer);
      // Where that cannot be written the file says what was asked for: without one, what was held before would go with the undo.
      if (JSON.stringify(outcome) !== JSON.stringify(value)) this.#remember(table, { id, revision, value: outcome });
      return answer;
    });
  }

  /** Takes back what could not be written: its file, if there is one, says what was before. */
  async #tellWhatIsWritten(table: Table, id: string): Promise<void> {
    const wish: Wish = { table, id, entry: readEntry(this.#paths, table, id) ?? null };
    this.#wishes.set(keyOf(table, id), wish);
    const word = this.#change(wordOf(wish));
    // Where it is not heard it is told again when the keeper is back.
    await word.then(() => wish.entry === null && this.#wishes.delete(keyOf(table, id))).catch(() => {});
  }

  #change(request: ChangeRequest): Promise<PutAnswer> {
    return this.#asked((connection) => connection.change(request), `${request.table} ${request.id}`);
  }

  #drop(table: Table, id: string): Promise<void> {
    return this.#locks.run(keyOf(table, id), async () => {
      removeEntry(this.#paths, table, id);
      this.#wishes.set(keyOf(table, id), { table, id, entry: null });
      await this.#change({ op: 'drop', table, id });
      this.#wishes.delete(keyOf(table, id));
    });
  }

  #remember<T extends Table>(table: T, entry: Entry<T>): void {
    writeEntry(this.#paths, table, entry);
    this.#wishes.set(keyOf(table, entry.id), { table, id: entry.id, entry });
  }

  #forget(table: Table, id: string): void {
    removeEntry(this.#paths, table, id);
    this.#wishes.delete(keyOf(table, id));
  }

  /**
   * Asks until answered, over as many connections as it takes. Throws resolver_unavailable after 1.5 s, and where there is a connection
   * not before the keeper has been silent for 6 s: what takes back the rest of a failed operation waits for the 1.5 s only.
   */
  async #asked<T>(ask: (connection: KeeperConnection) => Promise<T>, subject: string): Promise<T> {
    const deadline = performance.now() + ACK_MS;
    for (;;) {
      const connection = this.#connection ?? (await this.#connected(deadline));
      try {
        const answer = await withDeadline(ask(connection), Math.max(deadline, this.#heardAt + PATIENCE_MS), subject);
        this.#heardAt = performance.now();
        return answer;
      } catch (error) {
        if (!(error instanceof ConnectionLost)) throw error;
        // It is unpublished a tick later; asking again at once would find it dead.
        await connection.closed;
      }
    }
  }

  async #connected(deadline: number): Promise<KeeperConnection> {
    while (this.#connection === undefined) {
      if (this.#isClosed) throw new CnmError('resolver_unavailable', 'the link to the keeper is closed');
      let arrive = (): void => {};
      const arrival = new Promise<void>((resolve) => this.#arrivals.add((arrive = resolve)));
      try {
        await withDeadline(arrival, deadline, 'a connection');
      } finally {
        this.#arrivals.delete(arrive);
      }
    }
    return this.#connection;
  }

  #arrive(): void {
    for (const arrive of this.#arrivals) arrive();
  }

  /** Connects, again and again, until closed. */
  async #stayConnected(): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    while (!this.#isClosed) {
      try {
        const connection = await KeeperConnection.open(this.#paths.socket);
        await this.#serveConnection(connection);
        pause = FIRST_PAUSE_MS;
      } catch (error) {
        this.#startKeeper(messageOf(error));
        await sleep(pause);
        pause = Math.min(pause * 2, LAST_PAUSE_MS);
      }
    }
  }

  /** Returns when the connection has ended. */
  async #serveConnection(connection: KeeperConnection): Promise<void> {
    const hello = await withDeadline(connection.hello(), performance.now() + PATIENCE_MS, 'hello').catch((error: unknown) => {
      connection.close();
      throw error;
    });
    if (hello.version !== PROTOCOL_VERSION) {
      this.#options.log.info({ pid: hello.pid, version: hello.version }, 'keeper of another version is replaced');
      await connection.retire();
      await withDeadline(connection.closed, performance.now() + START_GRACE_MS, 'the old keeper').finally(() =>
        connection.close(),
      );
      return;
    }
    this.#hello = hello;
    this.#heardAt = performance.now();
    this.#lastStart = Number.NEGATIVE_INFINITY;
    this.#grace = FIRST_GRACE_MS;
    this.#learn(hello.conflicts);
    this.#tellAgain(connection, hello);
    this.#connection = connection;
    this.#arrive();
    if (this.#lostAt > 0) this.onBack?.();
    await this.#untilSilent(connection, hello.pid);
    this.#connection = undefined;
    this.#hello = undefined;
    this.#lostAt = performance.now();
    if (!this.#isClosed) this.#options.log.warn({ pid: hello.pid }, 'connection to the keeper lost');
    this.#supervisor = hello.supervisor;
  }

  /** Returns when the connection has ended; ends a keeper that hangs, so that its supervisor starts another. */
  async #untilSilent(connection: KeeperConnection, pid: number): Promise<void> {
    let isOpen = true;
    // Not raced against the promise, which would keep something of every look for as long as the connection lives.
    const ended = new AbortController();
    const closed = connection.closed.then(() => {
      isOpen = false;
      ended.abort();
    });
    for (;;) {
      await sleep(PING_EVERY_MS, undefined, { ref: false, signal: ended.signal }).catch(() => {});
      if (!isOpen) return;
      const isSilent = await withDeadline(connection.ping(), performance.now() + HANG_MS, 'a sign of life').then(
        ({ conflicts }) => {
          this.#heardAt = performance.now();
          this.#learn(conflicts);
          return false;
        },
        (error: unknown) => error instanceof Silence,
      );
      if (!isSilent || this.#isClosed) continue;
      this.#options.log.error({ pid }, `keeper silent for ${HANG_MS / 1000} s: it is ended and started again`);
      // Its pid is no other's: the connection would have ended with it.
      if (isOpen) process.kill(pid, 'SIGKILL');
      await closed;
    }
  }

  /** Entries that the keeper has not, or in another revision. */
  #tellAgain(connection: KeeperConnection, { revisions }: Hello): void {
    for (const [key, wish] of this.#wishes) {
      if (revisions[key] === wish.entry?.revision) continue;
      connection.change(wordOf(wish)).catch((error: unknown) => {
        this.#options.log.warn({ key, error: messageOf(error) }, 'keeper refused what it had before');
      });
    }
  }

  #startKeeper(reason: string): void {
    const now = performance.now();
    if (this.#isClosed || (now - this.#lastStart < this.#grace && this.#isStarting())) return;
    // One of ours would find its host ports taken by what the manager keeps.
    if (now - Math.max(this.#lostAt, this.#begunAt) < managedGrace(this.#paths)) return;
    // Its supervisor may be on it, unless the keeper ended by its own wish and the supervisor with it.
    if (now - this.#lostAt < START_GRACE_MS && this.#supervisor !== undefined && isSupervisor(this.#supervisor)) return;
    if (this.#lastStart > 0) this.#grace = Math.min(this.#grace * 2, LAST_GRACE_MS);
    this.#lastStart = now;
    this.#options.log.info({ runDir: this.#options.runDir, reason }, 'keeper is started');
    this.#isStarting = startSupervised(this.#options, this.#paths);
  }
}
