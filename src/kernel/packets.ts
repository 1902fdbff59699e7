/**
 * Many UDP packets a system call (recvmmsg, sendmmsg) on memory that JavaScript never moves. Bytes are only carried here:
 * parsing is the caller's, on bounds-checked views.
 */

import * as libc from './libc.ts';

// struct mmsghdr, iovec and sockaddr on 64-bit Linux (bits/socket.h).
const HEADER = { size: 64, name: 0, nameLength: 8, iov: 16, iovCount: 24, messageFlags: 48, length: 56 } as const;
const IOVEC_SIZE = 16;
const NAME_SIZE = 28;

/**
 * A row of packet slots. After `receive`, slot i holds a packet of `length(i)` octets in `packet(i)` from `source(i)`;
 * the caller may write an answer into the same slot, mark it by `answer(i, length)`, and `sendAnswers` returns all marked
 * ones to where they came from in one call. Views are valid until the next `receive`. Lives as long as its thread.
 */
export class PacketRow {
  readonly capacity: number;
  /** Octets of each slot; longer packets are cut and marked by `truncated`. */
  readonly slotSize: number;
  readonly #headers: libc.NativeMemory;
  readonly #vectors: libc.NativeMemory;
  readonly #names: libc.NativeMemory;
  readonly #packets: readonly Buffer[];
  readonly #sources: readonly Buffer[];
  readonly #out: libc.NativeMemory;
  readonly #outVectors: libc.NativeMemory;
  readonly #slots: libc.NativeMemory;
  #answers = 0;

  constructor(capacity: number, slotSize: number) {
    this.capacity = capacity;
    this.slotSize = slotSize;
    this.#slots = libc.allocateForever(capacity * slotSize);
    this.#names = libc.allocateForever(capacity * NAME_SIZE);
    [this.#headers, this.#vectors] = headerRow(capacity);
    [this.#out, this.#outVectors] = headerRow(capacity);
    const cut = (memory: libc.NativeMemory, size: number): Buffer[] =>
      Array.from({ length: capacity }, (_, i) => memory.bytes.subarray(i * size, (i + 1) * size));
    this.#packets = cut(this.#slots, slotSize);
    this.#sources = cut(this.#names, NAME_SIZE);
    for (let i = 0; i < capacity; i++) {
      this.#vectors.bytes.writeBigUInt64LE(this.#slots.address + BigInt(i * slotSize), i * IOVEC_SIZE);
      this.#headers.bytes.writeBigUInt64LE(this.#names.address + BigInt(i * NAME_SIZE), i * HEADER.size + HEADER.name);
    }
  }

  /** Number of packets that waited on `fd`, at most `capacity`; 0 when none did. Forgets earlier answers. */
  receive(fd: number): number {
    this.#answers = 0;
    for (let i = 0; i < this.capacity; i++) {
      this.#vectors.bytes.writeUInt32LE(this.slotSize, i * IOVEC_SIZE + 8);
      this.#headers.bytes.writeUInt32LE(NAME_SIZE, i * HEADER.size + HEADER.nameLength);
    }
    return Math.max(0, libc.receiveMany(fd, this.#headers.address, this.capacity, libc.MSG.dontwait));
  }

  length(i: number): number {
    return this.#headers.bytes.readUInt32LE(i * HEADER.size + HEADER.length);
  }

  truncated(i: number): boolean {
    return (this.#headers.bytes.readUInt32LE(i * HEADER.size + HEADER.messageFlags) & libc.MSG.trunc) !== 0;
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
    return source.subarray(0, this.#headers.bytes.readUInt32LE(i * HEADER.size + HEADER.nameLength));
  }

  /** The first `length` octets of slot i go back to its sender with the next sendAnswers. */
  answer(i: number, length: number): void {
    if (length > this.slotSize || this.#answers >= this.capacity) throw new RangeError('answer does not fit its slot');
    const at = this.#answers++;
    this.#outVectors.bytes.writeBigUInt64LE(this.#slots.address + BigInt(i * this.slotSize), at * IOVEC_SIZE);
    this.#outVectors.bytes.writeBigUInt64LE(BigInt(length), at * IOVEC_SIZE + 8);
    const header = at * HEADER.size;
    this.#out.bytes.writeBigUInt64LE(this.#names.address + BigInt(i * NAME_SIZE), header + HEADER.name);
    const nameLength = this.#headers.bytes.readUInt32LE(i * HEADER.size + HEADER.nameLength);
    this.#out.bytes.writeUInt32LE(nameLength, header + HEADER.nameLength);
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

/** mmsghdr array whose entries point at an iovec each. */
function headerRow(capacity: number): [libc.NativeMemory, libc.NativeMemory] {
  const headers = libc.allocateForever(capacity * HEADER.size);
  const vectors = libc.allocateForever(capacity * IOVEC_SIZE);
  for (let i = 0; i < capacity; i++) {
    headers.bytes.writeBigUInt64LE(vectors.address + BigInt(i * IOVEC_SIZE), i * HEADER.size + HEADER.iov);
    headers.bytes.writeBigUInt64LE(1n, i * HEADER.size + HEADER.iovCount);
  }
  return [headers, vectors];
}
