/** Questions on their way from the UDP loop to the main thread: many in one piece of memory, which changes hands instead of being copied. */

/** A question for the main thread. */
export interface HandOver {
  readonly fd: number;
  /** Raw sockaddr of the asker. */
  readonly source: Uint8Array;
  readonly message: Uint8Array;
}

/** Before each question: descriptor, octets of the source, octets of the message. Both sides are one process: its own byte order. */
const HEAD_WORDS = 3;
const WORD = 4;
const FIRST_SIZE = 1 << 16;

const padded = (octets: number): number => (octets + WORD - 1) & ~(WORD - 1);

/** Gathers questions on the loop's side. */
export class Handing {
  #bytes = new Uint8Array(FIRST_SIZE);
  #words = new Uint32Array(this.#bytes.buffer);
  #used = 0;

  get isEmpty(): boolean {
    return this.#used === 0;
  }

  /** Copies the question. */
  add(fd: number, source: Uint8Array, message: Uint8Array): void {
    const at = this.#used;
    const body = at + HEAD_WORDS * WORD;
    const end = body + padded(source.length + message.length);
    if (end > this.#bytes.length) this.#grow(end);
    this.#words[at / WORD] = fd;
    this.#words[at / WORD + 1] = source.length;
    this.#words[at / WORD + 2] = message.length;
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
    this.#words = new Uint32Array(larger.buffer);
  }
}

/** The questions that `take` answered with, as views of that memory. */
export function* handedOver(taken: ArrayBuffer): Generator<HandOver> {
  const words = new Uint32Array(taken);
  for (let at = 0; at < taken.byteLength;) {
    const head = at / WORD;
    const fd = words[head] ?? 0;
    const sourceLength = words[head + 1] ?? 0;
    const messageLength = words[head + 2] ?? 0;
    const source = new Uint8Array(taken, at + HEAD_WORDS * WORD, sourceLength);
    const message = new Uint8Array(taken, source.byteOffset + sourceLength, messageLength);
    yield { fd, source, message };
    at += HEAD_WORDS * WORD + padded(sourceLength + messageLength);
  }
}
