/** Questions on their way from the UDP loop to the main thread: many in one piece of memory, which changes hands instead of being copied. */

/** How far the loop has come with a question: its first upstream has been asked. */
export interface FirstAsked {
  /** Connected to the upstream, and now the other side's to close. -1: closed, since what came does not help. */
  readonly socket: number;
  /** Under which it was asked. */
  readonly id: number;
  /** Milliseconds since, whole ones. */
  readonly agoMs: number;
}

/** A question for the main thread. */
export interface HandOver {
  readonly fd: number;
  /** Raw sockaddr of the asker. */
  readonly source: Uint8Array;
  readonly message: Uint8Array;
  readonly asked?: FirstAsked;
}

/**
 * Before each question: descriptor, octets of the source, octets of the message, and of what was asked the socket, the id and the time; NOT_ASKED instead
 * of the socket where nothing was. Both sides are one process: its own byte order.
 */
const HEAD_WORDS = 6;
const NOT_ASKED = -2;
const WORD = 4;
const FIRST_SIZE = 1 << 16;

const padded = (octets: number): number => (octets + WORD - 1) & ~(WORD - 1);

/** Gathers questions on the loop's side. */
export class Handing {
  #bytes = new Uint8Array(FIRST_SIZE);
  #words = new Int32Array(this.#bytes.buffer);
  #used = 0;

  get isEmpty(): boolean {
    return this.#used === 0;
  }

  /** Copies the question. */
  add(fd: number, source: Uint8Array, message: Uint8Array, asked?: FirstAsked): void {
    const at = this.#used;
    const body = at + HEAD_WORDS * WORD;
    const end = body + padded(source.length + message.length);
    if (end > this.#bytes.length) this.#grow(end);
    this.#words[at / WORD] = fd;
    this.#words[at / WORD + 1] = source.length;
    this.#words[at / WORD + 2] = message.length;
    this.#words[at / WORD + 3] = asked?.socket ?? NOT_ASKED;
    this.#words[at / WORD + 4] = asked?.id ?? 0;
    this.#words[at / WORD + 5] = asked?.agoMs ?? 0;
    this.#bytes.set(source, body);
    this.#bytes.set(message, body + source.length);
    this.#used = end;
  }

  /** All gathered ones, in memory that may be transferred; gathering begins anew. */
  take(): ArrayBuffer {
    const taken = this.#bytes.buffer.slice(0, this.#used);
    this.#used = 0;
    return taken;
  }

  #grow(needed: number): void {
    const larger = new Uint8Array(2 * needed);
    larger.set(this.#bytes.subarray(0, this.#used));
    this.#bytes = larger;
    this.#words = new Int32Array(larger.buffer);
  }
}

/** The questions that `take` answered with, as views of that memory. */
export function* handedOver(taken: ArrayBuffer): Generator<HandOver> {
  const words = new Int32Array(taken);
  for (let at = 0; at < taken.byteLength;) {
    const head = at / WORD;
    const fd = words[head] ?? 0;
    const sourceLength = words[head + 1] ?? 0;
    const messageLength = words[head + 2] ?? 0;
    const source = new Uint8Array(taken, at + HEAD_WORDS * WORD, sourceLength);
    const message = new Uint8Array(taken, source.byteOffset + sourceLength, messageLength);
    const socket = words[head + 3] ?? NOT_ASKED;
    if (socket === NOT_ASKED) yield { fd, source, message };
    else yield { fd, source, message, asked: { socket, id: words[head + 4] ?? 0, agoMs: words[head + 5] ?? 0 } };
    at += HEAD_WORDS * WORD + padded(sourceLength + messageLength);
  }
}
