/**
 * Many UDP packets a system call (recvmmsg, sendmmsg) on memory that JavaScript never moves. Bytes are only carried here:
 * parsing is the caller's, on bounds-checked views.
 */

import * as libc from './libc.ts';

// struct mmsghdr, iovec and sockaddr on 64-bit Linux (bits/socket.h).
const HEADER = { size: 64, name: 0, nameLength: 8, iov: 16, iovCount: 24, messageFlags: 48, length: 56 } as const;
const IOVEC_SIZE = 16;
/** struct sockaddr_in6, the longer of the two. */
const NAME_SIZE = 28;
const WORD = 4;

/**
 * A row of packet slots. After `receive`, slot i holds a packet of `length(i)` octets in `packet(i)` from `source(i)`;
 * the caller may write an answer into the same slot, mark it by `answer(i, length)`, and `sendAnswers` returns all marked
 * ones to where they came from in one call. Views are valid until the next `receive`. Lives as long as its thread.
 */
export class PacketRow {
  readonly capacity: number;
  /** Octets of each slot; longer packets are cut and marked by `truncated`. */
  readonly slotSize: number;
  readonly #packets: readonly Buffer[];
  readonly #sources: readonly Buffer[];
  readonly #in: HeaderRow;
  readonly #out: HeaderRow;
  #answers = 0;

  constructor(capacity: number, slotSize: number) {
    this.capacity = capacity;
    this.slotSize = slotSize;
    const slots = libc.allocateForever(capacity * slotSize);
    const names = libc.allocateForever(capacity * NAME_SIZE);
    this.#in = new HeaderRow(capacity);
    this.#out = new HeaderRow(capacity);
    const cut = (memory: libc.NativeMemory, size: number): Buffer[] =>
      Array.from({ length: capacity }, (_, i) => memory.bytes.subarray(i * size, (i + 1) * size));
    this.#packets = cut(slots, slotSize);
    this.#sources = cut(names, NAME_SIZE);
    for (let i = 0; i < capacity; i++) {
      this.#in.point(i, slots.address + BigInt(i * slotSize), names.address + BigInt(i * NAME_SIZE));
    }
  }

  /** Number of packets that waited on `fd`, at most `limit` and `capacity`; 0 when none did. Forgets earlier answers. */
  receive(fd: number, limit = this.capacity): number {
    const most = Math.min(limit, this.capacity);
    this.#answers = 0;
    for (let i = 0; i < most; i++) this.#in.setLengths(i, this.slotSize, NAME_SIZE);
    return Math.max(0, libc.receiveMany(fd, this.#in.address, most, libc.MSG.dontwait));
  }

  length(i: number): number {
    return this.#in.word(i, HEADER.length);
  }

  truncated(i: number): boolean {
    return (this.#in.word(i, HEADER.messageFlags) & libc.MSG.trunc) !== 0;
  }

  /** The whole slot; only the first `length(i)` octets came from the packet, the rest is older. */
  packet(i: number): Buffer {
    const packet = this.#packets[i];
    if (packet === undefined) throw new RangeError(`no packet slot ${i}`);
    return packet;
  }

  /** Raw sockaddr of the sender (sockets.ts decodes it), to be copied when kept. */
  source(i: number): Buffer {
    const source = this.#sources[i];
    if (source === undefined) throw new RangeError(`no packet slot ${i}`);
    return source.subarray(0, this.#in.word(i, HEADER.nameLength));
  }

  /** The first `length` octets of slot i go back to its sender with the next sendAnswers. */
  answer(i: number, length: number): void {
    const at = this.#answers;
    if (i < 0 || i >= this.capacity || at >= this.capacity || length > this.slotSize)
      throw new RangeError('answer does not fit its slot');
    this.#out.pointLike(at, this.#in, i);
    this.#out.setLengths(at, length, this.#in.word(i, HEADER.nameLength));
    this.#answers = at + 1;
  }

  /**
   * Sends the marked answers and returns how many the kernel took. The rest is lost, as UDP may; one bad answer (its
   * sender's address cannot be reached) does not stop those behind it.
   */
  sendAnswers(fd: number): number {
    let at = 0;
    let taken = 0;
    while (at < this.#answers) {
      let sent: number;
      try {
        sent = libc.sendMany(fd, this.#out.address + BigInt(at * HEADER.size), this.#answers - at, libc.MSG.dontwait);
      } catch {
        at++;
        continue;
      }
      if (sent < 0) break;
      at += sent;
      taken += sent;
    }
    this.#answers = 0;
    return taken;
  }
}

/** An mmsghdr array with an iovec for each entry. Written by 32-bit words: 64-bit numbers would cost a bigint each. */
class HeaderRow {
  readonly address: bigint;
  readonly #headers: Uint32Array;
  readonly #vectors: Uint32Array;

  constructor(capacity: number) {
    const headers = libc.allocateForever(capacity * HEADER.size);
    const vectors = libc.allocateForever(capacity * IOVEC_SIZE);
    this.address = headers.address;
    this.#headers = new Uint32Array(headers.bytes.buffer, headers.bytes.byteOffset, headers.bytes.length / WORD);
    this.#vectors = new Uint32Array(vectors.bytes.buffer, vectors.bytes.byteOffset, vectors.bytes.length / WORD);
    for (let i = 0; i < capacity; i++) {
      headers.bytes.writeBigUInt64LE(vectors.address + BigInt(i * IOVEC_SIZE), i * HEADER.size + HEADER.iov);
      headers.bytes.writeBigUInt64LE(1n, i * HEADER.size + HEADER.iovCount);
    }
  }

  word(i: number, offset: number): number {
    const word = this.#headers[(i * HEADER.size + offset) / WORD];
    if (word === undefined) throw new RangeError(`no packet slot ${i}`);
    return word;
  }

  point(i: number, data: bigint, name: bigint): void {
    this.#setPointer(this.#vectors, i * IOVEC_SIZE, Number(data & 0xffffffffn), Number(data >> 32n));
    this.#setPointer(this.#headers, i * HEADER.size + HEADER.name, Number(name & 0xffffffffn), Number(name >> 32n));
  }

  /** Entry i gets the pointers of entry `j` of another row. */
  pointLike(i: number, other: HeaderRow, j: number): void {
    const data = (j * IOVEC_SIZE) / WORD;
    const name = (j * HEADER.size + HEADER.name) / WORD;
    this.#setPointer(this.#vectors, i * IOVEC_SIZE, other.#vectors[data] ?? 0, other.#vectors[data + 1] ?? 0);
    this.#setPointer(this.#headers, i * HEADER.size + HEADER.name, other.#headers[name] ?? 0, other.#headers[name + 1] ?? 0);
  }

  setLengths(i: number, data: number, name: number): void {
    this.#vectors[(i * IOVEC_SIZE + 8) / WORD] = data;
    this.#headers[(i * HEADER.size + HEADER.nameLength) / WORD] = name;
  }

  #setPointer(words: Uint32Array, offset: number, low: number, high: number): void {
    words[offset / WORD] = low;
    words[offset / WORD + 1] = high;
  }
}
