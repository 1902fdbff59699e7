/**
 * What a message of an upstream is worth: whether it answers what was asked, and whether its records are all there. Every reply passes
 * here, so that it is read once and nothing is allocated. What becomes of it is its reader's.
 */

import {
  HEADER_OCTETS,
  LABEL_OCTETS,
  NAME_OCTETS,
  RCODE,
  RECORD_OCTETS,
  idOf,
  newQuestion,
  rcodeOf,
  readQuestion,
  u16,
  type Query,
} from './wire.ts';

/**
 * - `answer`: ours, and whole but where it says itself that it is cut (TC).
 * - `garbage`: has our id and can be no answer to anything.
 * - `another`: has our id and is a response to another question. By UDP no answer at all (RFC 5452 §9.1): ignore it and go on listening.
 * - `stranger`: has another id or is no response; to be ignored too.
 */
export type Verdict = 'answer' | 'garbage' | 'another' | 'stranger';

const QR = 0x80;
const TC = 0x02;

/** Judges an upstream's message as the reply to the question that was asked under `id`. Never throws. */
export function judgeReply(reply: Uint8Array, id: number, { bytes: asked, question }: Query): Verdict {
  const flags = reply[2] ?? 0;
  if (reply.length < HEADER_OCTETS || (flags & QR) === 0 || idOf(reply) !== id) return 'stranger';
  let records = HEADER_OCTETS;
  if (u16(reply, 4) === 0) {
    // Some servers refuse with the bare header.
    if (rcodeOf(reply) === RCODE.NOERROR) return 'garbage';
  } else {
    if (u16(reply, 4) !== 1) return 'garbage';
    if (!asksTheSame(reply, asked, question.end)) return asksAnything(reply) ? 'another' : 'garbage';
    records = question.end;
  }
  return (flags & TC) !== 0 || isWhole(reply, records) ? 'answer' : 'garbage';
}

/** Octets of a question behind its name: type and class. */
const FIXED_OCTETS = 4;

/** `end`: of the question in `asked`. The case of the name does not matter (RFC 1035 §2.3.3). */
function asksTheSame(reply: Uint8Array, asked: Uint8Array, end: number): boolean {
  if (reply.length < end) return false;
  const fixed = end - FIXED_OCTETS;
  for (let i = HEADER_OCTETS; i < fixed; i++) if (lower(reply[i] ?? 0) !== lower(asked[i] ?? 0)) return false;
  return u16(reply, fixed) === u16(asked, fixed) && u16(reply, fixed + 2) === u16(asked, fixed + 2);
}

const lower = (octet: number): number => (octet >= 0x41 && octet <= 0x5a ? octet + 32 : octet);

/** Reused; nothing of it is looked at. */
const theirs = newQuestion();
const asksAnything = (reply: Uint8Array): boolean => readQuestion(reply, 0, reply.length, theirs);

/** Whether all records that the header counts are there (RFC 1035 §4.1.3). What their data holds is the asker's to read. */
function isWhole(reply: Uint8Array, from: number): boolean {
  let at = from;
  toFollow = reply.length;
  // Bounded by the message, of which each record takes some.
  for (let left = u16(reply, 6) + u16(reply, 8) + u16(reply, 10); left > 0; left--) {
    const data = afterOwner(reply, at) + RECORD_OCTETS;
    if (data > reply.length) return false;
    at = data + u16(reply, data - 2);
    if (at > reply.length) return false;
  }
  return true;
}

const POINTER = 0xc0;
/** Beyond every message. */
const NOWHERE = 1 << 20;

/**
 * Labels and pointers that may still be read where owners point to, in the reply at hand. As many as it has octets: in a message made
 * for it there would be ten times that. What is beyond is taken for sound.
 */
let toFollow = 0;

/** First octet behind an owner; NOWHERE without a name there that ends in the message and that RFC 1035 §4.1.4 allows. */
function afterOwner(reply: Uint8Array, from: number): number {
  let after = NOWHERE;
  let octets = 0;
  let piece = from;
  for (let at = from; at < reply.length;) {
    if (after !== NOWHERE && --toFollow < 0) return after;
    const length = reply[at] ?? 0;
    if (length <= LABEL_OCTETS) {
      at += 1 + length;
      octets += 1 + length;
      if (octets > NAME_OCTETS) return NOWHERE;
      if (length === 0) return after === NOWHERE ? at : after;
      continue;
    }
    const target = u16(reply, at) & 0x3fff;
    // To what came before this piece of the name only, and not before the pointer only: else it may lead to itself.
    if (length < POINTER || at + 2 > reply.length || target < HEADER_OCTETS || target >= piece) return NOWHERE;
    if (after === NOWHERE) after = at + 2;
    piece = target;
    at = target;
  }
  return NOWHERE;
}
