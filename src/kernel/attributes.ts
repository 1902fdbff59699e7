/** Netlink attributes (linux/netlink.h, struct nlattr): type-length-value, aligned to four octets, in host order. */

const HEADER = 4;
const NESTED = 0x8000;
const TYPE_MASK = 0x3fff;

const aligned = (length: number): number => (length + 3) & ~3;

/** One attribute, padded. */
export function attribute(type: number, payload: Uint8Array): Buffer {
  const raw = Buffer.alloc(aligned(HEADER + payload.length));
  raw.writeUInt16LE(HEADER + payload.length, 0);
  raw.writeUInt16LE(type, 2);
  raw.set(payload, HEADER);
  return raw;
}

/** An attribute that holds others, marked as such. */
export const nest = (type: number, ...parts: readonly Uint8Array[]): Buffer => attribute(type | NESTED, Buffer.concat(parts));

/** A zero-terminated string. */
export const text = (type: number, value: string): Buffer => attribute(type, Buffer.from(`${value}\0`));

export function u32(value: number): Buffer {
  const raw = Buffer.alloc(4);
  raw.writeUInt32LE(value);
  return raw;
}

export function u32be(value: number): Buffer {
  const raw = Buffer.alloc(4);
  raw.writeUInt32BE(value);
  return raw;
}

export function u16be(value: number): Buffer {
  const raw = Buffer.alloc(2);
  raw.writeUInt16BE(value);
  return raw;
}

/** Attributes by type; values are views of `raw`. The last of a type wins. A malformed tail is ignored. */
export class Attributes {
  readonly #raw: Buffer;
  // Where they are, and not what: a link has some sixty, of which a few are asked for.
  readonly #types: number[] = [];
  readonly #places: number[] = [];

  constructor(raw: Buffer, offset = 0) {
    this.#raw = raw;
    for (let at = offset; at + HEADER <= raw.length;) {
      const length = raw.readUInt16LE(at);
      if (length < HEADER || at + length > raw.length) return;
      this.#types.push(raw.readUInt16LE(at + 2) & TYPE_MASK);
      this.#places.push(at);
      at += aligned(length);
    }
  }

  /** Contents of all attributes of a list, whatever their types. */
  static each(list: Buffer): Buffer[] {
    return new Attributes(list).#places.map((at) => list.subarray(at + HEADER, at + list.readUInt16LE(at)));
  }

  /** The last one of the type. */
  bytes(type: number): Buffer | undefined {
    const at = this.#places[this.#types.lastIndexOf(type)];
    return at === undefined ? undefined : this.#raw.subarray(at + HEADER, at + this.#raw.readUInt16LE(at));
  }

  u32(type: number): number | undefined {
    const value = this.bytes(type);
    return value !== undefined && value.length >= 4 ? value.readUInt32LE(0) : undefined;
  }

  u8(type: number): number | undefined {
    return this.bytes(type)?.[0];
  }

  u16be(type: number): number | undefined {
    const value = this.bytes(type);
    return value !== undefined && value.length >= 2 ? value.readUInt16BE(0) : undefined;
  }

  text(type: number): string | undefined {
    const value = this.bytes(type);
    if (value === undefined) return undefined;
    const end = value.indexOf(0);
    return value.toString('utf8', 0, end < 0 ? value.length : end);
  }

  nested(type: number): Attributes {
    return new Attributes(this.bytes(type) ?? Buffer.alloc(0));
  }

  /** The values in their order, whatever their types: entries of a list. */
  *each(): Generator<Buffer> {
    for (const at of this.#places) yield this.#raw.subarray(at + HEADER, at + this.#raw.readUInt16LE(at));
  }
}
