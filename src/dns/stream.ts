/** Messages on a byte stream: two octets of length before each (RFC 1035 §4.2.2). Pure. */

/** The message with its length in front. */
export function framed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 + message.length);
  bytes[0] = message.length >> 8;
  bytes[1] = message.length & 0xff;
  bytes.set(message, 2);
  return bytes;
}

/** Cuts a stream into messages. Holds at most one message of `limit` octets plus one chunk. */
export class MessageReader {
  readonly #limit: number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Messages that `chunk` completes, or undefined when one is announced longer than the limit: the stream is of no use then. */
  push(chunk: Uint8Array): readonly Uint8Array[] | undefined {
    let rest = this.#rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#rest, chunk]);
    const messages: Uint8Array[] = [];
    while (rest.length >= 2) {
      const length = rest.readUInt16BE(0);
      if (length > this.#limit) return undefined;
      if (rest.length < 2 + length) break;
      messages.push(rest.subarray(2, 2 + length));
      rest = rest.subarray(2 + length);
    }
    this.#rest = rest;
    return messages;
  }
}
