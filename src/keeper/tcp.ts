/** Serves DNS over TCP on one listening descriptor, within limits (RFC 7766). */

import { createServer, type Server, type Socket } from 'node:net';
import { MAX_QUERY_OCTETS, MessageReader, framed } from '../dns/index.ts';

/** Connections of one sandbox at once; further ones are closed at once. */
const MAX_CONNECTIONS = 64;
/** Silence after which a connection is closed, milliseconds. */
const IDLE_MS = 10_000;
/** Questions of one connection being answered at once; then reading pauses. */
const MAX_OPEN_QUESTIONS = 32;
/** Unsent answers of one connection, octets; then reading pauses. */
const MAX_UNSENT_OCTETS = 256 * 1024;

type Answer = (message: Uint8Array) => Promise<Uint8Array | undefined>;

export class TcpService {
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  readonly #answer: Answer;

  /** Takes over `fd`, a bound socket that listens or not yet. */
  constructor(fd: number, answer: Answer, failed: (error: Error) => void) {
    this.#answer = answer;
    // A client may close its own half right behind its question (RFC 7766 §6.2.4) and still wait.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('error', failed);
    this.#server.listen({ fd });
  }

  /** Closes the descriptor and every connection. */
  close(): void {
    this.#server.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #serve(socket: Socket): void {
    const reader = new MessageReader(MAX_QUERY_OCTETS);
    /** Read but not begun; at most one chunk's worth, since reading pauses while there are any. */
    let waiting: Uint8Array[] = [];
    let open = 0;
    let isEnded = false;
    const settle = (): void => {
      while (open < MAX_OPEN_QUESTIONS && waiting.length > 0) {
        const message = waiting.shift();
        if (message !== undefined) begin(message);
      }
      if (isEnded && open === 0 && waiting.length === 0) socket.end();
      if (waiting.length > 0 || open >= MAX_OPEN_QUESTIONS || socket.writableLength > MAX_UNSENT_OCTETS) socket.pause();
      else socket.resume();
    };
    const begin = (message: Uint8Array): void => {
      open++;
      void this.#answer(message).then((reply) => {
        open--;
        if (socket.destroyed) return;
        if (reply !== undefined) socket.write(framed(reply));
        settle();
      });
    };
    this.#connections.add(socket);
    socket.setTimeout(IDLE_MS, () => {
      // A question that is on its way to slow upstreams is no silence of the client's; it ends by its own limits.
      if (open > 0) socket.setTimeout(IDLE_MS);
      else socket.destroy();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      waiting = [];
      this.#connections.delete(socket);
    });
    socket.on('drain', settle);
    socket.on('end', () => {
      isEnded = true;
      settle();
    });
    socket.on('data', (chunk) => {
      const messages = reader.push(chunk);
      if (messages === undefined) return void socket.destroy();
      waiting = waiting.concat(messages);
      settle();
    });
  }
}
