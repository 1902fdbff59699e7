/** What a message of an upstream is worth. Laid out by hand: the packages for DNS write neither pointers nor mistakes. */

import packet, { type Message } from 'dns-packet';
import { describe, expect, test } from 'vitest';
import { judgeReply } from '../../src/dns/reply.ts';
import { RCODE, decodeQuery, type Query } from '../../src/dns/wire.ts';

const ID = 0x1234;

function queryOf(name: string, type = 'A'): Query {
  const decoded = decodeQuery(packet.encode({ type: 'query', id: ID, questions: [{ type, name }] }));
  if (decoded.kind !== 'query') throw new Error(`not a query but ${decoded.kind}`);
  return decoded.query;
}

const QUERY = queryOf('ExAmple.com');
const judged = (reply: Uint8Array, query = QUERY): string => judgeReply(reply, ID, query);

const changed = (bytes: Buffer, change: (copy: Buffer) => void): Buffer => {
  const copy = Buffer.from(bytes);
  change(copy);
  return copy;
};

const response = (over: Message = {}): Buffer =>
  packet.encode({ type: 'response', id: ID, questions: [{ type: 'A', name: 'example.COM' }], answers: [], ...over });

const labels = (...list: string[]): Buffer =>
  Buffer.concat(list.map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`)));
const to = (target: number): Buffer => Buffer.of(0xc0 | (target >> 8), target & 0xff);
const ROOT = Buffer.of(0);
const NAME = to(12);
const ADDRESS = Buffer.of(192, 0, 2, 1);

/** `octets`: what it says its data is long. */
function record(owner: Buffer, type: number, data: Buffer, octets = data.length): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(1, 2);
  fixed.writeUInt16BE(octets, 8);
  return Buffer.concat([owner, fixed, data]);
}

const HEAD = response();
/** Where the first record begins. */
const FIRST = HEAD.length;

/** The question with these records in each section; counted as they are. */
function withRecords(
  answers: readonly Buffer[],
  authorities: readonly Buffer[] = [],
  additionals: readonly Buffer[] = [],
): Buffer {
  const head = Buffer.from(HEAD);
  [answers, authorities, additionals].forEach((list, section) => head.writeUInt16BE(list.length, 6 + 2 * section));
  return Buffer.concat([head, ...answers, ...authorities, ...additionals]);
}

const A = 1;
const NS = 2;
const CNAME = 5;
const TXT = 16;
const OPT = 41;

const ALIAS = record(NAME, CNAME, Buffer.concat([labels('www'), NAME]));
const ALIAS_DATA = FIRST + NAME.length + 10;
/** As a server of many records writes it: pointers to the question, to data, to a part of a name, behind labels; an owner in full, and the root. */
const SOUND = withRecords(
  [ALIAS, record(to(ALIAS_DATA), A, ADDRESS), record(Buffer.concat([labels('mail', 'example', 'org'), ROOT]), A, ADDRESS)],
  [record(to(20), NS, Buffer.concat([labels('ns'), NAME]))],
  [record(Buffer.concat([labels('ns'), NAME]), A, ADDRESS), record(ROOT, OPT, Buffer.of(0, 10, 0, 2, 7, 7))],
);
const truncated = (bytes: Buffer): Buffer => changed(bytes, (copy) => void (copy[2] = (copy[2] ?? 0) | 0x02));

describe('the question', () => {
  const bare = (rcode: number): Buffer => changed(response({ questions: [] }), (copy) => void (copy[3] = rcode));
  const about = (name: string, type = 'A'): Buffer => response({ questions: [{ type, name }] });
  const cases: [string, Buffer, string][] = [
    ['with our id and question in any case', response(), 'answer'],
    ['with another id', response({ id: 7 }), 'stranger'],
    ['that is a query', Buffer.from(QUERY.bytes), 'stranger'],
    ['cut in the header', response().subarray(0, 8), 'stranger'],
    ['about another name', about('example.net'), 'another'],
    ['about a shorter name', about('com'), 'another'],
    ['about a longer name', about('www.example.com'), 'another'],
    ['about the root', about('.'), 'another'],
    ['about another type', about('example.com', 'AAAA'), 'another'],
    ['about another class', changed(response(), (copy) => void (copy[FIRST - 1] = 3)), 'another'],
    ['about another name, and cut', changed(about('example.net'), (copy) => void (copy[7] = 1)), 'another'],
    ['cut in the question', response().subarray(0, 20), 'garbage'],
    ['with another question that is cut', about('www.example.com').subarray(0, -1), 'garbage'],
    ['whose question is a pointer', changed(response(), (copy) => copy.set([0xc0, 12], 12)), 'garbage'],
    ['with two questions', response({ questions: [1, 2].map(() => ({ type: 'A', name: 'example.com' })) }), 'garbage'],
    ['an empty success', bare(RCODE.NOERROR), 'garbage'],
    ['a bare FORMERR', bare(RCODE.FORMERR), 'answer'],
    ['a bare SERVFAIL', bare(RCODE.SERVFAIL), 'answer'],
    ['a bare NOTIMP', bare(RCODE.NOTIMP), 'answer'],
    ['a bare refusal', bare(RCODE.REFUSED), 'answer'],
  ];
  test.each(cases)('%s', (_, bytes, verdict) => {
    expect(judged(bytes)).toBe(verdict);
  });

  test('of a type that is another in one bit, which makes letters small, is another one', () => {
    const https = queryOf('example.com', 'HTTPS');
    const theirs = changed(Buffer.from(https.bytes), (copy) => void (copy[2] = 0x80));
    expect(judged(theirs, https)).toBe('answer');
    expect(
      judged(
        changed(theirs, (copy) => void (copy[copy.length - 3] = 65 | 0x20)),
        https,
      ),
    ).toBe('another');
  });
});

describe('the records', () => {
  test('are read as another parser does', () => {
    const { answers, authorities, additionals } = packet.decode(SOUND);
    expect(answers.map(({ name, type, data }) => [name, type, data])).toEqual([
      ['example.COM', 'CNAME', 'www.example.COM'],
      ['www.example.COM', 'A', '192.0.2.1'],
      ['mail.example.org', 'A', '192.0.2.1'],
    ]);
    expect([authorities[0]?.name, additionals.map(({ name }) => name)]).toEqual(['COM', ['ns.example.COM', '.']]);
    expect(judged(SOUND)).toBe('answer');
  });

  test('cut at any octet are garbage, unless the reply says that it is cut', () => {
    for (let length = 0; length < SOUND.length; length++) {
      const cut = SOUND.subarray(0, length);
      const [plain, told] = [length < 12 ? 'stranger' : 'garbage', length < FIRST ? 'garbage' : 'answer'];
      expect([length, judged(cut), judged(truncated(SOUND).subarray(0, length))]).toEqual([
        length,
        plain,
        length < 12 ? plain : told,
      ]);
    }
  });

  test('of a refusal without a question are looked at too', () => {
    const head = changed(HEAD.subarray(0, 12), (copy) => copy.set([RCODE.REFUSED, 0, 0, 0, 0, 0, 0, 0, 1], 3));
    const whole = Buffer.concat([head, record(ROOT, OPT, Buffer.of(0, 10, 0, 0))]);
    expect(judged(whole)).toBe('answer');
    for (let length = 12; length < whole.length; length++)
      expect([length, judged(whole.subarray(0, length))]).toEqual([length, 'garbage']);
  });

  test.each([7, 9, 11])('that are fewer than the header counts are garbage: octet %i', (octet) => {
    expect(judged(changed(SOUND, (copy) => void copy[octet]!++))).toBe('garbage');
    expect(judged(changed(SOUND, (copy) => void (copy[octet - 1] = 0xff)))).toBe('garbage');
  });

  test('may have something behind them', () => {
    expect(judged(Buffer.concat([SOUND, Buffer.alloc(9, 0xff)]))).toBe('answer');
  });

  const owned = (owner: Buffer): Buffer => withRecords([ALIAS, record(owner, A, ADDRESS)]);
  const OWNER = FIRST + ALIAS.length;
  const withData = (data: Buffer, owner: Buffer): Buffer => withRecords([record(NAME, TXT, data), record(owner, A, ADDRESS)]);
  /** A name of so many octets with its root. */
  const long = (octets: number): Buffer => {
    const first = labels('x'.repeat(2 - (octets % 2)));
    return Buffer.concat([first, ...Array.from({ length: (octets - first.length - 1) / 2 }, () => labels('a')), ROOT]);
  };

  const malformed: [string, Buffer][] = [
    ['an owner that points to itself', owned(to(OWNER))],
    ['an owner that points back to its own label', owned(Buffer.concat([labels('a'), to(OWNER)]))],
    ['an owner that points into its own label', owned(Buffer.concat([labels('a\0'), to(OWNER + 2)]))],
    ['an owner that points to its own second octet', owned(to(OWNER + 1))],
    ['an owner that points behind itself', owned(to(OWNER + 2))],
    ['an owner that points to the next record', withRecords([record(to(FIRST + 16), A, ADDRESS), record(NAME, A, ADDRESS)])],
    ['an owner that points out of the message', owned(to(0x3fff))],
    ['an owner that points to the first octet', owned(to(0))],
    ['an owner that points to the end of the header', owned(to(11))],
    ['an owner that points to a pointer to itself', withData(to(ALIAS_DATA), to(ALIAS_DATA))],
    [
      'an owner that points to a name that leads to itself',
      withData(Buffer.concat([labels('a'), to(ALIAS_DATA)]), to(ALIAS_DATA)),
    ],
    [
      'an owner that points to two pointers to each other',
      withData(Buffer.concat([to(ALIAS_DATA + 2), to(ALIAS_DATA)]), to(ALIAS_DATA + 2)),
    ],
    ['an owner that points to a pointer forward', withData(to(OWNER), to(ALIAS_DATA))],
    ['an owner that points to no name', withData(Buffer.of(0x80, 1), to(ALIAS_DATA))],
    ['an owner with a label of a form that is reserved', owned(Buffer.of(0x40, 0))],
    ['an owner with a label of another form that is reserved', owned(Buffer.of(0x80, 0))],
    ['an owner that runs past the end', withRecords([Buffer.concat([labels('a'), Buffer.of(63)])])],
    ['an owner of 256 octets', withRecords([record(long(256), A, ADDRESS)])],
    ['an owner of 256 octets by a pointer', withData(long(254), Buffer.concat([labels('a'), to(ALIAS_DATA)]))],
    ['data that is one octet too long', withRecords([ALIAS, record(NAME, A, ADDRESS, 5)])],
    ['data that is as long as can be', withRecords([record(NAME, A, ADDRESS, 0xffff), ALIAS])],
    ['data that is too long in the middle', withRecords([ALIAS], [record(NAME, NS, NAME, 40)], [record(ROOT, OPT, ROOT)])],
    ['data that is too short, so that what follows is none', withRecords([record(NAME, TXT, Buffer.alloc(9, 0xff), 4), ALIAS])],
  ];
  test.each(malformed)('with %s are garbage', (_, bytes) => {
    expect(judged(bytes)).toBe('garbage');
    expect(judged(truncated(bytes))).toBe('answer');
  });

  const sound: [string, Buffer][] = [
    ['an owner that points to a pointer', withRecords([ALIAS, record(to(FIRST), A, ADDRESS)])],
    ['an owner of 255 octets', withRecords([record(long(255), A, ADDRESS)])],
    ['an owner of 255 octets by a pointer', withData(long(253), Buffer.concat([labels('a'), to(ALIAS_DATA)]))],
    ['no data', withRecords([record(NAME, TXT, Buffer.alloc(0))])],
    ['data that is no name', withRecords([record(NAME, CNAME, Buffer.of(0xff, 0xff))])],
    ['a name that grows by a label and a pointer with each', growing()],
  ];
  test.each(sound)('with %s are whole', (_, bytes) => {
    expect(judged(bytes)).toBe('answer');
  });

  /** Each owner is a label before that of the record before. */
  function growing(): Buffer {
    const records: Buffer[] = [];
    for (let i = 0, before = 12, at = FIRST; i < 100; i++) {
      const one = record(Buffer.concat([labels('a'), to(before)]), A, ADDRESS);
      records.push(one);
      before = at;
      at += one.length;
    }
    return withRecords(records);
  }

  test('are whole however many have a name of many labels, and cut they are not', () => {
    const labelled = Buffer.concat([...Array.from({ length: 120 }, () => labels('a')), ROOT]);
    const many = withRecords([
      record(NAME, CNAME, labelled),
      ...Array.from({ length: 4000 }, () => record(to(ALIAS_DATA), A, ADDRESS)),
    ]);
    expect(many.length).toBeGreaterThan(60_000);
    expect(judged(many)).toBe('answer');
    expect(judged(many.subarray(0, -1))).toBe('garbage');
  });
});
