import packet, { type Message } from 'dns-packet';
import { describe, expect, test } from 'vitest';
import {
  answerInPlace,
  decodeQuery,
  encodeName,
  errorReply,
  localReply,
  makeRecords,
  newQuestion,
  questionName,
  readCommonQuestion,
  RCODE,
  TYPE,
  withId,
} from '../../src/dns/wire.ts';

type Change = (bytes: Buffer) => void;

const ask = (name: string, type = 'A', extra: Message = {}): Buffer =>
  packet.encode({ type: 'query', id: 0x1234, flags: packet.RECURSION_DESIRED, questions: [{ type, name }], ...extra });

const opt = (size: number, options: { code: number; data: Buffer }[] = []): Message => ({
  additionals: [{ type: 'OPT', name: '.', udpPayloadSize: size, extendedRcode: 0, ednsVersion: 0, flags: 0, options }],
});

const changed = (bytes: Buffer, change: Change): Buffer => {
  const copy = Buffer.from(bytes);
  return change(copy) ?? copy;
};

/** The same question with that owner for its OPT, which has no options. */
const withOwner = (bytes: Buffer, owner: Buffer): Buffer => Buffer.concat([bytes.subarray(0, -11), owner, bytes.subarray(-10)]);

/** The same question with its one record in the section whose count ends at that octet. */
const moved = (bytes: Buffer, count: number): Buffer =>
  changed(bytes, (b) => {
    b[11] = 0;
    b[count] = 1;
  });

/** A question whose OPT has that version, and DO set. */
const ofVersion = (version: number): Buffer =>
  changed(ask('C1.mynet', 'A', opt(1232)), (b) => b.set([version, 0x80], b.length - 5));

function common(bytes: Uint8Array) {
  const question = newQuestion();
  return readCommonQuestion(bytes, 0, bytes.length, question) ? question : undefined;
}

function queryOf(bytes: Uint8Array) {
  const decoded = decodeQuery(bytes);
  if (decoded.kind !== 'query') throw new Error(`not a query but ${decoded.kind}`);
  return decoded.query;
}

describe('the common question', () => {
  test('is read with type, class, end and the name in its case', () => {
    const bytes = ask('WeB.MyNet', 'AAAA');
    const question = common(bytes);
    expect(question).toMatchObject({ type: TYPE.AAAA, class: 1, end: bytes.length, udpLimit: 512 });
    expect(questionName(bytes, 0, question!)).toBe('WeB.MyNet');
  });

  test.each([
    ['too small an offer counts as 512', 100, 512],
    ['a fitting offer is taken', 1000, 1000],
    ['a large offer is clamped', 65_000, 1232],
  ])('EDNS size: %s', (_, offered, taken) => {
    expect(common(ask('a', 'A', opt(offered)))?.udpLimit).toBe(taken);
  });

  test('is read at any place of a larger buffer and not beyond its end', () => {
    const bytes = ask('c1.mynet');
    const large = Buffer.concat([Buffer.alloc(7, 0xff), bytes, Buffer.alloc(9, 0xff)]);
    const question = newQuestion();
    expect(readCommonQuestion(large, 7, 7 + bytes.length, question)).toBe(true);
    expect(question.end).toBe(bytes.length);
    for (let cut = 0; cut < bytes.length; cut++) expect(readCommonQuestion(large, 7, 7 + cut, newQuestion())).toBe(false);
  });

  test('hashes differ by name, case and type', () => {
    const hashes = [ask('a'), ask('b'), ask('A'), ask('a', 'AAAA'), ask('a.a')].map((bytes) => common(bytes)?.hash);
    expect(new Set(hashes).size).toBe(5);
  });

  const odd: [string, Buffer][] = [
    ['a response', changed(ask('a'), (b) => void (b[2] = 0x80))],
    ['an update', changed(ask('a'), (b) => void (b[2] = 0x28))],
    ['two questions', changed(ask('a'), (b) => void (b[5] = 2))],
    ['a record in the answer section', changed(ask('a'), (b) => void (b[7] = 1))],
    ['octets behind the question', Buffer.concat([ask('a'), Buffer.of(0)])],
    ['EDNS version 1', changed(ask('a', 'A', opt(1232)), (b) => void (b[b.length - 5] = 1))],
    [
      'an EDNS option that overruns',
      changed(ask('a', 'A', opt(1232, [{ code: 10, data: Buffer.alloc(8) }])), (b) => void (b[b.length - 9] = 9)),
    ],
    ['a compression pointer', changed(ask('ab'), (b) => b.set([0xc0, 12], 12))],
  ];
  test.each(odd)('leaves %s to the general path', (_, bytes) => {
    expect(common(bytes)).toBeUndefined();
  });
});

describe('any message', () => {
  const ignored: [string, Buffer][] = [
    ['nothing', Buffer.alloc(0)],
    ['a cut header', ask('a').subarray(0, 11)],
    ['a response', changed(ask('a'), (b) => void (b[2] = 0x80))],
    ['no question', packet.encode({ type: 'query', id: 1, questions: [] })],
  ];
  test.each(ignored)('%s gets no reply', (_, bytes) => {
    expect(decodeQuery(bytes).kind).toBe('ignored');
  });

  const refused: [string, Buffer, number][] = [
    ['an update', changed(ask('a'), (b) => void (b[2] = 0x28)), RCODE.NOTIMP],
    ['a notify', changed(ask('a'), (b) => void (b[2] = 0x20)), RCODE.NOTIMP],
    [
      'two questions',
      packet.encode({
        type: 'query',
        questions: [
          { type: 'A', name: 'a' },
          { type: 'A', name: 'b' },
        ],
      }),
      RCODE.FORMERR,
    ],
    ['a pointer in the question', changed(ask('ab'), (b) => b.set([0xc0, 12], 12)), RCODE.FORMERR],
    ['a reserved label type', changed(ask('ab'), (b) => void (b[12] = 0x41)), RCODE.FORMERR],
    ['a name that runs past the end', changed(ask('ab'), (b) => void (b[12] = 60)), RCODE.FORMERR],
    ['a cut question', ask('ab').subarray(0, 16), RCODE.FORMERR],
    ['a broken record', changed(ask('a', 'A', opt(1232)), (b) => void b.writeUInt16BE(40, b.length - 2)), RCODE.FORMERR],
    [
      'two OPTs',
      Buffer.concat([changed(ask('a', 'A', opt(1232)), (b) => void (b[11] = 2)), ask('a', 'A', opt(1232)).subarray(-11)]),
      RCODE.FORMERR,
    ],
    ['an OPT with an owner', withOwner(ask('a', 'A', opt(1232)), Buffer.of(1, 0x61, 0)), RCODE.FORMERR],
    ['an OPT whose owner is a pointer', withOwner(ask('a', 'A', opt(1232)), Buffer.of(0xc0, 14)), RCODE.FORMERR],
    ['an OPT in the answer section', moved(ask('a', 'A', opt(1232)), 7), RCODE.FORMERR],
    ['an OPT in the authority section', moved(ask('a', 'A', opt(1232)), 9), RCODE.FORMERR],
    [
      'an OPT of version 1 that comes twice',
      Buffer.concat([changed(ofVersion(1), (b) => void (b[11] = 2)), ofVersion(1).subarray(-11)]),
      RCODE.FORMERR,
    ],
    ['a message beyond the limit', Buffer.concat([ask('a'), Buffer.alloc(1300)]), RCODE.FORMERR],
  ];
  test.each(refused)('%s is refused', (_, bytes, rcode) => {
    const decoded = decodeQuery(bytes);
    if (decoded.kind !== 'refused') throw new Error(decoded.kind);
    expect(decoded.reply[3]! & 15).toBe(rcode);
    expect(decoded.reply[2]! & 0x80).toBe(0x80);
    expect(decoded.reply.subarray(0, 2)).toEqual(Uint8Array.of(bytes[0]!, bytes[1]!));
  });

  const laterVersions: [string, Buffer][] = [
    ['1', ofVersion(1)],
    ['255', ofVersion(255)],
    [
      '1 after another record',
      ask('C1.mynet', 'A', {
        additionals: [
          { type: 'TXT', name: 'k', ttl: 0, data: 'x' },
          { type: 'OPT', name: '.', udpPayloadSize: 900, extendedRcode: 0, ednsVersion: 1, flags: 0x8000, options: [] },
        ],
      }),
    ],
    [
      '1 with options of another form',
      Buffer.concat([changed(ofVersion(1), (b) => void (b[b.length - 1] = 3)), Buffer.of(1, 2, 3)]),
    ],
  ];
  test.each(laterVersions)('EDNS of version %s is answered with BADVERS and the version that is known', (_, bytes) => {
    const decoded = decodeQuery(bytes);
    if (decoded.kind !== 'refused') throw new Error(decoded.kind);
    const reply = packet.decode(Buffer.from(decoded.reply));
    expect(reply).toMatchObject({ id: 0x1234, flag_qr: true, rcode: 'NOERROR', questions: [{ name: 'C1.mynet' }], answers: [] });
    // 16 is 1 above the header's four bits.
    expect(reply.additionals).toMatchObject([{ type: 'OPT', name: '.', extendedRcode: 1, ednsVersion: 0, flag_do: true }]);
  });

  test('an extended RCODE in a query means nothing beside another record either', () => {
    const bytes = ask('a', 'A', {
      additionals: [
        { type: 'TXT', name: 'k', ttl: 0, data: 'x' },
        { type: 'OPT', name: '.', udpPayloadSize: 900, extendedRcode: 0x80, ednsVersion: 0, flags: 0, options: [] },
      ],
    });
    expect(queryOf(bytes).question.udpLimit).toBe(900);
  });

  test('a name over 255 octets is refused, one of 255 is not', () => {
    const long = (last: number): Buffer => {
      const labels = [63, 63, 63, last].flatMap((n) => [Buffer.of(n), Buffer.alloc(n, 0x61)]);
      return Buffer.concat([ask('x').subarray(0, 12), ...labels, Buffer.of(0, 0, 1, 0, 1)]);
    };
    expect(decodeQuery(long(61)).kind).toBe('query');
    expect(decodeQuery(long(62)).kind).toBe('refused');
  });

  test('a query with a TSIG-like record keeps its EDNS size', () => {
    const bytes = ask('a', 'A', { additionals: [{ type: 'TXT', name: 'k', ttl: 0, data: 'x' }, ...opt(900).additionals!] });
    expect(queryOf(bytes).question.udpLimit).toBe(900);
  });
});

describe('answers', () => {
  const addresses = (n: number): Uint8Array[] => Array.from({ length: n }, (_, i) => Uint8Array.of(10, 0, i >> 8, i & 255));

  test('keep id, question, its case, RD and CD; set RA and not AA', () => {
    const bytes = changed(ask('C1.MyNet'), (b) => void (b[3] = 0x10));
    const reply = packet.decode(Buffer.from(localReply(queryOf(bytes), makeRecords(TYPE.A, 600, addresses(1)), 512)));
    expect(reply).toMatchObject({
      id: 0x1234,
      flag_qr: true,
      flag_aa: false,
      flag_ra: true,
      flag_rd: true,
      flag_cd: true,
      flag_tc: false,
      rcode: 'NOERROR',
    });
    expect(reply.questions).toMatchObject([{ name: 'C1.MyNet', type: 'A' }]);
    expect(reply.answers).toMatchObject([{ name: 'C1.MyNet', type: 'A', ttl: 600, data: '10.0.0.0' }]);
    expect(reply.additionals).toEqual([]);
  });

  test('are cut at the limit with TC, and complete over TCP', () => {
    const query = queryOf(ask('many'));
    const records = makeRecords(TYPE.A, 600, addresses(100));
    const cut = localReply(query, records, 512);
    expect(cut.length).toBeLessThanOrEqual(512);
    expect(packet.decode(Buffer.from(cut))).toMatchObject({ flag_tc: true });
    expect(packet.decode(Buffer.from(cut)).answers?.length).toBe(Math.floor((512 - query.question.end) / 16));
    const whole = packet.decode(Buffer.from(localReply(query, records, 65_535)));
    expect(whole.flag_tc).toBe(false);
    expect(new Set(whole.answers?.map((a) => a.data)).size).toBe(100);
  });

  test('never write past the buffer, whatever the limit', () => {
    const bytes = Buffer.concat([ask('many'), Buffer.alloc(40)]);
    const question = newQuestion();
    readCommonQuestion(bytes, 0, bytes.length - 40, question);
    const length = answerInPlace(bytes, 0, question, makeRecords(TYPE.A, 600, addresses(100)), 512);
    expect(length).toBe(question.end + 32);
    expect(packet.decode(bytes.subarray(0, length)).answers).toHaveLength(2);
  });

  test('come in every order', () => {
    const query = queryOf(ask('web'));
    const records = makeRecords(TYPE.A, 600, addresses(3));
    const orders = new Set<string>();
    for (let i = 0; i < 500; i++) {
      orders.add(
        packet
          .decode(Buffer.from(localReply(query, records, 512)))
          .answers!.map((a) => String(a.data))
          .join(),
      );
    }
    expect(orders.size).toBe(6);
  });

  test('drop the OPT of the query', () => {
    const reply = packet.decode(
      Buffer.from(localReply(queryOf(ask('a', 'A', opt(1232))), makeRecords(TYPE.A, 600, addresses(1)), 512)),
    );
    expect(reply.additionals).toEqual([]);
  });
});

describe('error replies', () => {
  test('carry the question when it can be read', () => {
    const reply = packet.decode(Buffer.from(errorReply(ask('Up', 'A', opt(1232)), RCODE.SERVFAIL)));
    expect(reply).toMatchObject({
      id: 0x1234,
      rcode: 'SERVFAIL',
      flag_rd: true,
      flag_ra: true,
      questions: [{ name: 'Up' }],
      additionals: [],
    });
  });

  test('are a bare header when it cannot', () => {
    const reply = errorReply(
      changed(ask('ab'), (b) => void (b[12] = 60)),
      RCODE.FORMERR,
    );
    expect(reply).toHaveLength(12);
    expect(packet.decode(Buffer.from(reply))).toMatchObject({ rcode: 'FORMERR', questions: [] });
  });
});

describe('a message', () => {
  const asked = ask('ExAmple.com');

  test('gets another id without a change to the original', () => {
    const copy = withId(asked, 0xbeef);
    expect([copy[0], copy[1]]).toEqual([0xbe, 0xef]);
    expect(asked.readUInt16BE(0)).toBe(0x1234);
    expect(Buffer.from(copy.subarray(2)).equals(asked.subarray(2))).toBe(true);
  });
});

describe('names', () => {
  test('encode with their labels', () => {
    expect(Buffer.from(encodeName('c1.my_net.')!).toString('latin1')).toBe('\x02c1\x06my_net\0');
  });

  test.each([
    ['empty label', 'a..b'],
    ['long label', 'a'.repeat(64)],
    ['long name', Array(64).fill('abc').join('.')],
    ['nothing', ''],
  ])('with %s have no wire form', (_, name) => {
    expect(encodeName(name)).toBeUndefined();
  });

  test('with a dot inside a label have no text', () => {
    const bytes = changed(ask('a-b.c'), (b) => void (b[14] = 0x2e));
    expect(questionName(bytes, 0, queryOf(bytes).question)).toBeUndefined();
  });

  test('of the root is empty', () => {
    const bytes = ask('.');
    expect(questionName(bytes, 0, queryOf(bytes).question)).toBe('');
  });
});
