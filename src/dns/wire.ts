/**
 * DNS wire form (RFC 1035 §4, RFC 6891): reading questions, writing answers over them. The common question is read by hand
 * on bounds-checked bytes; whatever else a query carries goes through the dns2 parser behind guards.
 */

import { Packet } from 'dns2';

export const TYPE = { A: 1, PTR: 12, MX: 15, OPT: 41, AAAA: 28 } as const;
export const CLASS_IN = 1;
export const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;

/** Of EDNS: too large for the header (RFC 6891 §9). */
const BADVERS = 16;
const EDNS_VERSION = 0;
/** Octets from an OPT's type. */
const VERSION_IN_OPT = 5;

export const HEADER_OCTETS = 12;
/** Longest name on the wire, RFC 1035 §2.3.4. */
export const NAME_OCTETS = 255;
export const LABEL_OCTETS = 63;
/** Largest query taken by either protocol; a longer one has nothing honest to say, and parsing hostile bulk blocks the thread. */
export const MAX_QUERY_OCTETS = 1232;
/** UDP answers stay within this even when the asker offers more: no fragments (DNS flag day 2020). */
export const MAX_UDP_ANSWER_OCTETS = 1232;
const MIN_UDP_ANSWER_OCTETS = 512;
export const MAX_TCP_ANSWER_OCTETS = 65_535;

/** Where the question of a message lies and what it asks. Offsets count from the start of the message. */
export interface Question {
  /** First octet after the question section. */
  end: number;
  type: number;
  class: number;
  /** FNV-1a over the question section, case kept. */
  hash: number;
  /** Longest UDP answer the asker takes, already clamped. */
  udpLimit: number;
}

export const newQuestion = (): Question => ({ end: 0, type: 0, class: 0, hash: 0, udpLimit: MIN_UDP_ANSWER_OCTETS });

/** Answer records ready to be copied behind a question whose name sits at offset 12. */
export interface AnswerRecords {
  readonly bytes: Uint8Array;
  readonly count: number;
  /** Octets of each record; all have the same size, so that their order may change. */
  readonly size: number;
}

export const NO_RECORDS: AnswerRecords = { bytes: new Uint8Array(0), count: 0, size: 0 };

export const u16 = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);

function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}

/** Reads the first question of the message at `start`…`stop`. False: malformed, or its name holds a compression pointer. */
export function readQuestion(bytes: Uint8Array, start: number, stop: number, into: Question): boolean {
  const first = start + HEADER_OCTETS;
  let at = first;
  let hash = 0x811c9dc5;
  for (;;) {
    if (at >= stop) return false;
    const length = bytes[at] ?? 0;
    if (length > LABEL_OCTETS) return false;
    const next = at + 1 + length;
    if (next - first > NAME_OCTETS || next > stop) return false;
    for (; at < next; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
    if (length === 0) break;
  }
  const end = at + 4;
  if (end > stop) return false;
  for (; at < end; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  into.end = end - start;
  into.type = u16(bytes, end - 4);
  into.class = u16(bytes, end - 2);
  into.hash = hash;
  into.udpLimit = MIN_UDP_ANSWER_OCTETS;
  return true;
}

const clampUdp = (offered: number): number => Math.min(Math.max(offered, MIN_UDP_ANSWER_OCTETS), MAX_UDP_ANSWER_OCTETS);

/**
 * Reads the common question: a query with opcode 0, one question without compression, nothing else but one well-formed
 * OPT of version 0 at the very end. Allocates nothing. False: ask decodeQuery, which knows the rest.
 */
export function readCommonQuestion(bytes: Uint8Array, start: number, stop: number, into: Question): boolean {
  if (stop - start < HEADER_OCTETS || stop > bytes.length || stop - start > MAX_QUERY_OCTETS) return false;
  // QR, opcode, TC zero; AA means nothing in a query and is ignored with the rest.
  if (((bytes[start + 2] ?? 0) & 0xfa) !== 0) return false;
  if (u16(bytes, start + 4) !== 1 || u16(bytes, start + 6) !== 0 || u16(bytes, start + 8) !== 0) return false;
  const additional = u16(bytes, start + 10);
  if (additional > 1 || !readQuestion(bytes, start, stop, into)) return false;
  const opt = start + into.end;
  if (additional === 0) return opt === stop;
  if (opt + 11 > stop || bytes[opt] !== 0 || u16(bytes, opt + 1) !== TYPE.OPT || bytes[opt + 6] !== 0) return false;
  if (opt + 11 + u16(bytes, opt + 9) !== stop || !optionsFit(bytes, opt + 11, stop)) return false;
  into.udpLimit = clampUdp(u16(bytes, opt + 3));
  return true;
}

function optionsFit(bytes: Uint8Array, from: number, stop: number): boolean {
  let at = from;
  while (at < stop) {
    if (at + 4 > stop) return false;
    at += 4 + u16(bytes, at + 2);
  }
  return at === stop;
}

/** A query worth an answer. `bytes` is the whole message as received. */
export interface Query {
  readonly bytes: Uint8Array;
  readonly question: Readonly<Question>;
}

export type Decoded =
  | { readonly kind: 'query'; readonly query: Query }
  /** Answered with an error and nothing else. */
  | { readonly kind: 'refused'; readonly reply: Uint8Array }
  /** No reply at all: a response (answering one makes a loop), too short, or without a question. */
  | { readonly kind: 'ignored' };

const IGNORED: Decoded = { kind: 'ignored' };

/** Judges any message. Never throws. */
export function decodeQuery(bytes: Uint8Array): Decoded {
  if (bytes.length < HEADER_OCTETS || ((bytes[2] ?? 0) & 0x80) !== 0) return IGNORED;
  const refused = (rcode: number): Decoded => ({ kind: 'refused', reply: errorReply(bytes, rcode) });
  if (((bytes[2] ?? 0) & 0x78) !== 0) return refused(RCODE.NOTIMP);
  const questions = u16(bytes, 4);
  if (questions === 0) return IGNORED;
  // More than one question: RFC 9619 §4 asks for FORMERR.
  if (questions > 1 || bytes.length > MAX_QUERY_OCTETS) return refused(RCODE.FORMERR);
  const question = newQuestion();
  if (readCommonQuestion(bytes, 0, bytes.length, question)) return { kind: 'query', query: { bytes, question } };
  if (!readQuestion(bytes, 0, bytes.length, question)) return refused(RCODE.FORMERR);
  const opt = findOpt(bytes, question.end);
  if (opt === BROKEN) return refused(RCODE.FORMERR);
  // Before its options are looked at: another version may have others.
  if (opt !== undefined && bytes[opt + VERSION_IN_OPT] !== EDNS_VERSION)
    return { kind: 'refused', reply: badVersion(bytes, opt) };
  if (!isWellFormed(bytes)) return refused(RCODE.FORMERR);
  question.udpLimit = clampUdp(opt === undefined ? 0 : u16(bytes, opt + 2));
  return { kind: 'query', query: { bytes, question } };
}

const BROKEN = -1;
const ADDITIONAL = 2;
/** Octets of a record between its owner and its data: type, class, TTL, length. */
export const RECORD_OCTETS = 10;

/**
 * Where the type of a query's OPT lies, undefined without one, BROKEN when it comes twice, in another section than the additional one, or
 * with an owner (RFC 6891 §6.1.1), or when the records do not fit. `from`: the first octet after the question.
 */
function findOpt(bytes: Uint8Array, from: number): number | undefined {
  let found: number | undefined;
  let at = from;
  for (let section = 0; section <= ADDITIONAL; section++) {
    // Bounded by the message, of which each record takes some: a count that is too large ends at its end.
    for (let left = u16(bytes, 6 + 2 * section); left > 0; left--) {
      const fixed = afterName(bytes, at);
      const data = fixed + RECORD_OCTETS;
      if (data > bytes.length) return BROKEN;
      if (u16(bytes, fixed) === TYPE.OPT) {
        if (section !== ADDITIONAL || fixed !== at + 1 || found !== undefined) return BROKEN;
        found = fixed;
      }
      at = data + u16(bytes, data - 2);
      if (at > bytes.length) return BROKEN;
    }
  }
  return found;
}

/** First octet behind a name that may be compressed; beyond the message where the name does not end in it. */
function afterName(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length) {
    const length = bytes[at] ?? 0;
    if (length === 0) return at + 1;
    if (length > LABEL_OCTETS) return at + 2;
    at += 1 + length;
  }
  return at;
}

/** What the general parser thinks of a query's records. */
function isWellFormed(bytes: Uint8Array): boolean {
  try {
    return Packet.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)).errors.length === 0;
  } catch {
    return false;
  }
}

/** BADVERS, whose upper bits are in an OPT of the version that is known (RFC 6891 §6.1.3). `opt`: where the type of the asker's one lies. */
function badVersion(query: Uint8Array, opt: number): Uint8Array {
  const reply = errorReply(query, BADVERS & 0x0f);
  const own = new Uint8Array(1 + RECORD_OCTETS);
  putU16(own, 1, TYPE.OPT);
  putU16(own, 3, MAX_QUERY_OCTETS);
  own[5] = BADVERS >> 4;
  own[6] = EDNS_VERSION;
  // The asker's DO (RFC 3225 §3).
  own[7] = (query[opt + VERSION_IN_OPT + 1] ?? 0) & 0x80;
  putU16(reply, 10, 1);
  return Uint8Array.from([...reply, ...own]);
}

/**
 * The asked name with its case, without the trailing dot; '' for the root. Undefined when a label holds a dot or is not
 * UTF-8, since such a name has no text that means the same.
 */
export function questionName(bytes: Uint8Array, start: number, question: Readonly<Question>): string | undefined {
  const labels: string[] = [];
  const stop = start + question.end - 5;
  for (let at = start + HEADER_OCTETS; at < stop;) {
    const length = bytes[at] ?? 0;
    const label = Buffer.from(bytes.buffer, bytes.byteOffset + at + 1, length).toString('utf8');
    if (label.includes('.') || label.includes('\ufffd')) return undefined;
    labels.push(label);
    at += 1 + length;
  }
  return labels.join('.');
}

/** Wire form of a name without compression, or undefined when it does not fit the limits of RFC 1035 §2.3.4. */
export function encodeName(name: string): Uint8Array | undefined {
  const labels = name.replace(/\.$/, '').split('.');
  const parts: Buffer[] = [];
  let total = 1;
  for (const label of labels) {
    const text = Buffer.from(label, 'utf8');
    total += 1 + text.length;
    if (text.length === 0 || text.length > LABEL_OCTETS || total > NAME_OCTETS) return undefined;
    parts.push(Buffer.of(text.length), text);
  }
  return Buffer.concat([...parts, Buffer.of(0)]);
}

/** Lays out `datas` as records of one type; all must have the same length. The owner is a pointer to the question's name. */
export function makeRecords(type: number, ttlSeconds: number, datas: readonly Uint8Array[]): AnswerRecords {
  const length = datas[0]?.length ?? 0;
  const size = 12 + length;
  const bytes = new Uint8Array(size * datas.length);
  datas.forEach((data, i) => {
    const at = i * size;
    putU16(bytes, at, 0xc000 | HEADER_OCTETS);
    putU16(bytes, at + 2, type);
    putU16(bytes, at + 4, CLASS_IN);
    putU16(bytes, at + 6, ttlSeconds >>> 16);
    putU16(bytes, at + 8, ttlSeconds & 0xffff);
    putU16(bytes, at + 10, length);
    bytes.set(data, at + 12);
  });
  return { bytes, count: datas.length, size };
}

/** Order of records in the answer being written; reused, the writer is not re-entrant. */
const order = new Uint16Array(65_536);

/**
 * Turns the query at `start` into its answer, in place: id, question and its case stay, RA is set, AA is not, records
 * follow in random order, and those beyond `limit` octets are cut with TC set. `bytes` must have room for
 * min(limit, question + records). Returns the length of the answer.
 */
export function answerInPlace(
  bytes: Uint8Array,
  start: number,
  question: Readonly<Question>,
  records: AnswerRecords,
  limit: number,
): number {
  const { count, size } = records;
  const room = Math.min(limit, bytes.length - start) - question.end;
  const kept = count === 0 ? 0 : Math.min(count, Math.max(0, Math.floor(room / size)));
  const flags = bytes[start + 2] ?? 0;
  bytes[start + 2] = 0x80 | (flags & 0x01) | (kept < count ? 0x02 : 0);
  bytes[start + 3] = 0x80 | ((bytes[start + 3] ?? 0) & 0x10);
  putU16(bytes, start + 6, kept);
  putU16(bytes, start + 8, 0);
  putU16(bytes, start + 10, 0);
  copyShuffled(bytes, start + question.end, records, kept);
  return question.end + kept * size;
}

function copyShuffled(bytes: Uint8Array, at: number, records: AnswerRecords, kept: number): void {
  const { bytes: source, count, size } = records;
  for (let i = 0; i < count; i++) order[i] = i;
  for (let i = 0; i < kept; i++) {
    const j = i + 1 === count ? i : i + Math.floor(Math.random() * (count - i));
    const from = (order[j] ?? 0) * size;
    order[j] = order[i] ?? 0;
    const to = at + i * size;
    for (let k = 0; k < size; k++) bytes[to + k] = source[from + k] ?? 0;
  }
}

/** A fresh answer to `query`. */
export function localReply(query: Query, records: AnswerRecords, limit: number): Uint8Array {
  const { bytes, question } = query;
  const reply = new Uint8Array(Math.min(limit, question.end + records.count * records.size));
  reply.set(bytes.subarray(0, question.end));
  return reply.subarray(0, answerInPlace(reply, 0, question, records, limit));
}

// Not slice(): a Buffer's slice shares its memory.
const copyOf = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes);

/** An error reply with the question when it can be read, else with the header only. `query` has at least a header. */
export function errorReply(query: Uint8Array, rcode: number): Uint8Array {
  const question = newQuestion();
  const readable = u16(query, 4) >= 1 && readQuestion(query, 0, query.length, question);
  const reply = copyOf(query.subarray(0, readable ? question.end : HEADER_OCTETS));
  reply[2] = 0x80 | ((reply[2] ?? 0) & 0x79);
  reply[3] = 0x80 | ((reply[3] ?? 0) & 0x10) | rcode;
  putU16(reply, 4, readable ? 1 : 0);
  reply.fill(0, 6, HEADER_OCTETS);
  return reply;
}

/** A copy of the message under another id. */
export function withId(message: Uint8Array, id: number): Uint8Array {
  const copy = copyOf(message);
  putU16(copy, 0, id);
  return copy;
}

export const idOf = (message: Uint8Array): number => u16(message, 0);
export const rcodeOf = (message: Uint8Array): number => (message[3] ?? 0) & 0x0f;
