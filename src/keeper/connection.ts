/** One connection to a keeper: numbered requests, each answered once. */

import { createConnection, type Socket } from 'node:net';
import { CnmError } from '../base/index.ts';
import {
  LineReader,
  MAX_MESSAGE_OCTETS,
  parseReply,
  type ChangeRequest,
  type Hello,
  type Inventory,
  type Pulse,
  type PutAnswer,
  type Reply,
  type Request,
} from './protocol.ts';
import { writeTogether } from './together.ts';

type Answer = Extract<Reply, { ok: unknown }>['ok'];

interface Waiting {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

/** The connection ended before the answer: whether the request was performed is unknown. */
export class ConnectionLost extends Error {}

export class KeeperConnection {
  /** Resolves when the connection is gone. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  #seq = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const reader = new LineReader(MAX_MESSAGE_OCTETS);
    socket.on('data', (chunk) => {
      try {
        for (const line of reader.push(chunk)) this.#take(parseReply(line));
      } catch {
        socket.destroy();
      }
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        for (const waiting of this.#waiting.values()) waiting.reject(new ConnectionLost('the keeper closed the connection'));
        this.#waiting.clear();
        resolve();
      });
    });
  }

  /** Rejects when nobody listens at `path`. */
  static open(path: string): Promise<KeeperConnection> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.on('error', () => socket.destroy());
        resolve(new KeeperConnection(socket));
      });
    });
  }

  hello(): Promise<Hello> {
    return this.#ask<Hello>({ op: 'hello' });
  }

  inventory(): Promise<Inventory> {
    return this.#ask<Inventory>({ op: 'inventory' });
  }

  ping(): Promise<Pulse> {
    return this.#ask<Pulse>({ op: 'ping' });
  }

  change(request: ChangeRequest): Promise<PutAnswer> {
    return this.#ask<PutAnswer>(request);
  }

  retire(): Promise<null> {
    return this.#ask<null>({ op: 'retire' });
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Throws what the keeper threw, or ConnectionLost. The answer's form follows from the request. */
  #ask<T extends Answer>(request: Request): Promise<T> {
    const seq = ++this.#seq;
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(new ConnectionLost('the connection is closed'));
      this.#waiting.set(seq, { resolve: (answer) => resolve(answer as T), reject });
      // It does not wait for what the asker does next.
      writeTogether(this.#socket, `${JSON.stringify({ seq, ...request })}\n`, queueMicrotask);
    });
  }

  #take(reply: Reply): void {
    const waiting = this.#waiting.get(reply.seq);
    this.#waiting.delete(reply.seq);
    if ('ok' in reply) waiting?.resolve(reply.ok);
    else waiting?.reject(new CnmError(reply.error.code, reply.error.message));
  }
}
