import packet from 'dns-packet';
import { expect, test } from 'vitest';
import type { Address, EndpointId, NetworkId } from '../../src/base/index.ts';
import { answerLocally } from '../../src/dns/local.ts';
import { NameTable, type NameView } from '../../src/dns/names.ts';
import { judgeReply } from '../../src/dns/reply.ts';
import {
  answerInPlace,
  decodeQuery,
  errorReply,
  localReply,
  MAX_UDP_ANSWER_OCTETS,
  newQuestion,
  questionName,
  RCODE,
  readCommonQuestion,
} from '../../src/dns/wire.ts';
import { generator, mutated, sample, seed } from './random.ts';

const table = new NameTable();
const view: NameView = { networks: [{ id: 'n' as NetworkId, name: 'mynet' }], forwardsFromHost: true };
for (let i = 0; i < 40; i++) {
  const names = i % 2 === 0 ? [`c${i}`, 'web'] : [`c${i}`];
  const addresses = [`10.0.0.${i + 1}`, ...(i % 3 === 0 ? [`fd00::${(i + 1).toString(16)}`] : [])] as Address[];
  table.set(`e${i}` as EndpointId, { network: 'n' as NetworkId, networkName: 'mynet', names, addresses });
}

/** What an independent parser makes of the bytes. */
function otherParser(bytes: Uint8Array) {
  try {
    return packet.decode(Buffer.from(bytes));
  } catch {
    return undefined;
  }
}

/** What is wrong with our treatment of the message, or undefined. Counts what it was. */
function flaw(bytes: Buffer, count: (kind: string) => void): string | undefined {
  const original = Buffer.from(bytes);
  const question = newQuestion();
  const isCommon = readCommonQuestion(bytes, 0, bytes.length, question);
  const decoded = decodeQuery(bytes);
  count(decoded.kind);
  // The fast path must agree with the general one wherever it dares to speak.
  if (isCommon && (decoded.kind !== 'query' || JSON.stringify(decoded.query.question) !== JSON.stringify(question)))
    return 'two readings';
  if (decoded.kind === 'ignored') return undefined;
  let reply = decoded.kind === 'refused' ? decoded.reply : errorReply(bytes, RCODE.SERVFAIL);
  if (decoded.kind === 'query') {
    const records = answerLocally(table, view, bytes, 0, decoded.query.question);
    if (records !== undefined) {
      count('local');
      reply = localReply(decoded.query, records, decoded.query.question.udpLimit);
    }
    if (judgeReply(reply, bytes.readUInt16BE(0), decoded.query) !== 'answer') return 'reply to another question';
  }
  const theirs = otherParser(reply);
  if (theirs?.flag_qr !== true || theirs.id !== bytes.readUInt16BE(0)) return 'unsound reply';
  if (reply.length > MAX_UDP_ANSWER_OCTETS) return 'reply too long';
  return bytes.equals(original) ? undefined : 'message changed';
}

test('1,000,000 mutated messages neither crash, nor get an unsound reply, nor make the process grow', () => {
  const random = generator(seed);
  const heapBefore = process.memoryUsage().heapUsed;
  const counts: Record<string, number> = {};
  const count = (kind: string): void => void (counts[kind] = (counts[kind] ?? 0) + 1);
  const flaws: string[] = [];
  for (let i = 0; i < 1_000_000; i++) {
    const bytes = mutated(sample(random), random);
    const found = flaw(bytes, count);
    if (found !== undefined && flaws.length < 5) flaws.push(`${found}: ${bytes.toString('hex')}`);
  }
  expect(flaws).toEqual([]);
  for (const kind of ['ignored', 'refused', 'query', 'local']) expect(counts[kind]).toBeGreaterThan(5000);
  expect(process.memoryUsage().heapUsed - heapBefore).toBeLessThan(256 * 1024 * 1024);
}, 240_000);

const DATA: Readonly<Record<string, RegExp>> = { A: /^10\.0\.0\.\d+$/, AAAA: /^fd00::[0-9a-f]+$/, PTR: /^c\d+\.mynet$/ };

test('questions and answers mean the same to an independent parser', () => {
  const random = generator(seed + 1);
  let compared = 0;
  for (let i = 0; i < 20_000; i++) {
    const bytes = sample(random);
    const question = newQuestion();
    if (!readCommonQuestion(bytes, 0, bytes.length, question)) continue;
    const theirs = packet.decode(bytes);
    const asked = theirs.questions[0]!;
    expect(questionName(bytes, 0, question)).toBe(asked.name === '.' ? '' : asked.name);
    const records = answerLocally(table, view, bytes, 0, question);
    if (records === undefined) continue;
    compared++;
    const slot = Buffer.concat([bytes, Buffer.alloc(2048 - bytes.length, 0xaa)]);
    const length = answerInPlace(slot, 0, question, records, question.udpLimit);
    const reply = packet.decode(slot.subarray(0, length));
    const offered = theirs.additionals[0]?.udpPayloadSize ?? 512;
    expect(length).toBeLessThanOrEqual(Math.min(Math.max(offered, 512), 1232));
    expect(reply).toMatchObject({
      id: theirs.id,
      flag_qr: true,
      flag_rd: theirs.flag_rd,
      flag_ra: true,
      flag_aa: false,
      rcode: 'NOERROR',
      questions: [asked],
    });
    expect(reply.flag_tc).toBe(reply.answers.length < records.count);
    for (const answer of reply.answers) {
      expect(answer).toMatchObject({ name: asked.name, type: asked.type, ttl: 600, class: 'IN' });
      expect(String(answer.data)).toMatch(DATA[asked.type] ?? /^$/);
    }
  }
  expect(compared).toBeGreaterThan(3000);
});

/** The records of a reply as the other parser's names have them. The header is no name, which that parser does not know. */
function areWhole(reply: Buffer, from: number): boolean {
  const blind = Buffer.from(reply).fill(0x80, 0, 12);
  let at = from;
  try {
    for (let left = reply.readUInt16BE(6) + reply.readUInt16BE(8) + reply.readUInt16BE(10); left > 0; left--) {
      packet.name.decode(blind, at);
      const data = at + packet.name.decode.bytes + 10;
      at = data + blind.readUInt16BE(data - 2);
      if (at > blind.length) return false;
    }
    return true;
  } catch {
    return false;
  }
}

test('300,000 mutated replies are whole where an independent parser finds their names and their length is enough', () => {
  const random = generator(seed + 2);
  const asked = decodeQuery(packet.encode({ type: 'query', id: 1, questions: [{ type: 'A', name: 'www.example.com' }] }));
  if (asked.kind !== 'query') throw new Error(asked.kind);
  const { end } = asked.query.question;
  const pieces = ['c00c', 'c010', '036d6178c010', '00', 'c02b', 'c0210161c010', '0161026262c03100'].map((hex) =>
    Buffer.from(hex, 'hex'),
  );
  const piece = (): Buffer => pieces[random(pieces.length)]!;
  const counts = { answer: 0, garbage: 0, another: 0, stranger: 0 };
  for (let i = 0; i < 300_000; i++) {
    const records = Array.from({ length: random(6) }, () => {
      const data = Buffer.concat([piece(), piece()]);
      return Buffer.concat([piece(), Buffer.of(0, 1, 0, 1, 0, 0, 0, 9, 0, data.length), data]);
    });
    const head = Buffer.from(asked.query.bytes);
    head.set([0x80, 0x80], 2);
    for (let n = records.length; n > 0; n--) head[7 + 2 * random(3)]!++;
    const reply = Buffer.concat([head, mutated(Buffer.concat(records), random)]);
    const verdict = judgeReply(reply, 1, asked.query);
    counts[verdict]++;
    if ((verdict === 'answer') !== areWhole(reply, end)) expect.fail(`${verdict}: ${reply.toString('hex')}`);
  }
  for (const kind of ['answer', 'garbage'] as const) expect(counts[kind]).toBeGreaterThan(20_000);
}, 60_000);
