/** Netlink messages as bytes: framing, and what a refusal says. */

import { KernelError } from '../base/index.ts';
import { Attributes } from './attributes.ts';
import { errnoName } from './errno.ts';

export interface Message {
  readonly type: number;
  /** Besides NLM_F_REQUEST, which is always set. */
  readonly flags?: number;
  readonly body: Uint8Array;
}

/** The kernel's refusal of one message of a batch. */
export interface Refusal {
  /** Which message, from 0. */
  readonly at: number;
  readonly errno: string;
  /** Extended-ACK text, when the kernel gave one. */
  readonly text?: string;
}

export interface Received {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** A view that is valid until the next receive. */
  readonly body: Buffer;
}

// linux/netlink.h
const NLM_F_REQUEST = 1;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
const HEADER = 16;

const aligned = (length: number): number => (length + 3) & ~3;

/** Messages in one datagram. Throws on a length that does not fit. */
export function* splitMessages(raw: Buffer): Generator<Received> {
  for (let at = 0; at + HEADER <= raw.length;) {
    const length = raw.readUInt32LE(at);
    if (length < HEADER || at + length > raw.length) throw new KernelError('netlink', 'message', 'EBADMSG');
    yield {
      type: raw.readUInt16LE(at + 4),
      flags: raw.readUInt16LE(at + 6),
      sequence: raw.readUInt32LE(at + 8),
      body: raw.subarray(at + HEADER, at + length),
    };
    at += aligned(length);
  }
}

/** One datagram; message i gets the sequence number `firstSequence + i`, the last one `lastFlags` too. */
export function frame(messages: readonly Message[], flags: number, firstSequence: number, lastFlags = 0): Buffer {
  const size = messages.reduce((sum, message) => sum + HEADER + aligned(message.body.length), 0);
  const raw = Buffer.alloc(size);
  let at = 0;
  for (const [i, message] of messages.entries()) {
    raw.writeUInt32LE(HEADER + message.body.length, at);
    raw.writeUInt16LE(message.type, at + 4);
    const last = i === messages.length - 1 ? lastFlags : 0;
    raw.writeUInt16LE((message.flags ?? 0) | NLM_F_REQUEST | flags | last, at + 6);
    raw.writeUInt32LE((firstSequence + i) >>> 0, at + 8);
    raw.set(message.body, at + HEADER);
    at += HEADER + aligned(message.body.length);
  }
  return raw;
}

/** Reads an error or end of dump; its text lies behind the number and, in an error, the copied header (capped, as asked). */
export function refusal(answer: Received, at: number): Refusal | undefined {
  if (answer.body.length < 4) return undefined;
  const error = answer.body.readInt32LE(0);
  if (error === 0) return undefined;
  const attributes = new Attributes(answer.body, answer.type === NLMSG_DONE ? 4 : 4 + HEADER);
  const text = (answer.flags & NLM_F_ACK_TLVS) === 0 ? undefined : attributes.text(NLMSGERR_ATTR_MSG);
  return { at, errno: errnoName(-error), ...(text === undefined ? {} : { text }) };
}
