/**
 * One kept-alive connection to an API on a unix socket. It writes and reads HTTP/1.1 itself: Node's own client takes half a
 * millisecond of the processor a call, which would be counted as the server's.
 */

import { connect, type Socket } from 'node:net';

const HEAD_END = '\r\n\r\n';

interface Asked {
  readonly done: (answer: Answer) => void;
  readonly failed: (error: Error) => void;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** What has come is not the whole answer yet. */
const MORE = undefined;

export class Client {
  readonly #socketPath: string;
  #socket: Socket | undefined;
  #asked: Asked | undefined;
  #received = Buffer.alloc(0);

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** The answer's JSON, or its text; one call at a time. Throws what the server says of a failure. */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const text = body === undefined ? '' : JSON.stringify(body);
    const head = `${method} ${path} HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}`;
    const request = head + HEAD_END + text;
    const wasOpen = this.#socket !== undefined;
    let answer: Answer;
    try {
      answer = await this.#send(request);
    } catch (error) {
      // A server may close a connection that nobody used for a while, just when it is used again; then nothing was asked yet.
      if (!wasOpen || this.#received.length > 0) throw error;
      answer = await this.#send(request);
    }
    if (answer.status >= 300) throw new Error(answer.body);
    return /^[[{]/.test(answer.body) ? JSON.parse(answer.body) : answer.body;
  }

  #send(request: string): Promise<Answer> {
    return new Promise((done, failed) => {
      if (this.#asked !== undefined) return failed(new Error('one call at a time'));
      this.#received = Buffer.alloc(0);
      this.#asked = { done, failed };
      this.#socket ??= this.#open();
      this.#socket.write(request);
    });
  }

  #open(): Socket {
    const socket = connect(this.#socketPath);
    const lost = (error: Error): void => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      const asked = this.#asked;
      this.#asked = undefined;
      asked?.failed(error);
    };
    socket.on('error', lost).on('close', () => lost(new Error('the server closed the connection')));
    socket.on('data', (chunk) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      let answer: Answer | typeof MORE;
      try {
        answer = answerOf(this.#received.toString('latin1'));
      } catch (error) {
        return lost(error as Error);
      }
      if (answer === MORE) return;
      const asked = this.#asked;
      this.#asked = undefined;
      asked?.done(answer);
    });
    return socket;
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }
}

/** Octets as latin1. The answers have a length, come in chunks, or are empty (RFC 9112 §6). */
function answerOf(text: string): Answer | typeof MORE {
  const end = text.indexOf(HEAD_END);
  if (end < 0) return MORE;
  const head = text.slice(0, end);
  const rest = text.slice(end + HEAD_END.length);
  const status = Number(head.slice(9, 12));
  const octets = /\r\ntransfer-encoding: *chunked/i.test(head) ? unchunked(rest) : withLength(rest, status, head);
  return octets === MORE ? MORE : { status, body: Buffer.from(octets, 'latin1').toString() };
}

function withLength(rest: string, status: number, head: string): string | typeof MORE {
  if (status === 204 || status === 304) return '';
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1]);
  if (Number.isNaN(length)) throw new Error(`an answer without a length: ${head}`);
  return rest.length < length ? MORE : rest.slice(0, length);
}

function unchunked(rest: string): string | typeof MORE {
  let [body, at] = ['', 0];
  for (;;) {
    const line = rest.indexOf('\r\n', at);
    if (line < 0) return MORE;
    const size = Number.parseInt(rest.slice(at, line), 16);
    const begin = line + 2;
    if (rest.length < begin + size + 2) return MORE;
    if (size === 0) return body;
    body += rest.slice(begin, begin + size);
    at = begin + size + 2;
  }
}
