/** The keeper's socket: daemons put and drop entries, and are answered when those are live. */

import { rmSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { messageOf, type Logger } from '../base/index.ts';
import type { KeeperPaths } from './files.ts';
import {
  errorReply,
  LineReader,
  MAX_MESSAGE_OCTETS,
  parseRequest,
  PROTOCOL_VERSION,
  type Reply,
  type Request,
  seqOf,
} from './protocol.ts';
import type { KeeperState } from './state.ts';
import { writeTogether } from './together.ts';

/** Daemons connected at once: one, a few while one takes over from another. */
const MAX_CONNECTIONS = 16;
/** Requests of one connection being served at once; then reading pauses. */
const MAX_OPEN_REQUESTS = 1024;

/** Who brings the keeper back. */
interface Care {
  readonly pid: number;
  readonly isManaged: boolean;
}

export class KeeperServer {
  readonly #state: KeeperState;
  readonly #log: Logger;
  readonly #supervision: Care;
  readonly #retire: () => void;
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  #paths: KeeperPaths | undefined;
  #inode = 0;

  /** `retire` is called when a daemon asks the keeper to end. */
  constructor(state: KeeperState, log: Logger, supervision: Care, retire: () => void) {
    this.#state = state;
    this.#log = log;
    this.#supervision = supervision;
    this.#retire = retire;
    this.#server = createServer((socket) => this.#serve(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** The caller holds the lock of the run directory: a socket file found there is a dead keeper's. */
  listen(paths: KeeperPaths): Promise<void> {
    rmSync(paths.socket, { force: true });
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      // The file exists from bind on, hence the mask and not a chmod.
      const mask = process.umask(0o177);
      this.#server.listen(paths.socket, () => {
        this.#paths = paths;
        this.#inode = statSync(paths.socket).ino;
        resolve();
      });
      process.umask(mask);
    });
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** False when the socket file is gone or another's: nobody can reach us any more. */
  get isReachable(): boolean {
    if (this.#paths === undefined) return false;
    return statSync(this.#paths.socket, { throwIfNoEntry: false })?.ino === this.#inode;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #serve(socket: Socket): void {
    const reader = new LineReader(MAX_MESSAGE_OCTETS);
    let open = 0;
    this.#connections.add(socket);
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('error', () => socket.destroy());
    const serve = async (line: string): Promise<void> => {
      open++;
      const reply = await this.#reply(line);
      open--;
      if (reply === undefined) return void socket.destroy();
      if (!socket.destroyed) writeTogether(socket, `${JSON.stringify(reply)}\n`, process.nextTick);
      if (open < MAX_OPEN_REQUESTS) socket.resume();
    };
    socket.on('data', (chunk) => {
      try {
        for (const line of reader.push(chunk)) void serve(line);
      } catch (error) {
        this.#log.warn({ error: messageOf(error) }, 'keeper: connection closed');
        socket.destroy();
      }
      if (open >= MAX_OPEN_REQUESTS) socket.pause();
    });
  }

  /** Undefined when the line makes no sense at all. */
  async #reply(line: string): Promise<Reply | undefined> {
    let seq: number | undefined;
    try {
      const message = parseRequest(line);
      seq = message.seq;
      return { seq, ok: await this.#perform(message.request) };
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'keeper: request failed');
      // One request that is refused does not end what others wait for on this connection.
      seq ??= seqOf(line);
      return seq === undefined ? undefined : errorReply(seq, error);
    }
  }

  async #perform(request: Request): Promise<Extract<Reply, { ok: unknown }>['ok']> {
    switch (request.op) {
      case 'hello':
        return {
          version: PROTOCOL_VERSION,
          pid: process.pid,
          supervisor: this.#supervision.pid,
          isManaged: this.#supervision.isManaged,
          revisions: this.#state.revisions,
          conflicts: this.#state.conflicts(),
        };
      case 'ping':
        return { conflicts: this.#state.conflicts() };
      case 'inventory':
        return this.#state.inventory();
      case 'put':
        return this.#state.put(request.table, { id: request.id, revision: request.revision, value: request.value });
      case 'drop':
        await this.#state.drop(request.table, request.id);
        return null;
      case 'retire':
        this.#retire();
        return null;
    }
  }
}
