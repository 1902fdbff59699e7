import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { errnoOf } from '../../src/base/index.ts';
import { Attributes } from '../../src/kernel/attributes.ts';
import { errnoName } from '../../src/kernel/errno.ts';
import { frame, splitMessages } from '../../src/kernel/messages.ts';
import { isRefusal, NetlinkSocket, type Channel } from '../../src/kernel/netlink.ts';

const INTERRUPTED = 0x10;
const MULTI = 2;
const DONE = 3;
const ERROR = 2;

interface Answer {
  readonly type: number;
  readonly flags?: number;
  readonly body?: Buffer;
  /** Added to the sequence number of the request. */
  readonly skew?: number;
}

function datagram(sequence: number, answers: readonly Answer[]): Buffer {
  return Buffer.concat(
    answers.map(({ type, flags = 0, body = Buffer.alloc(0), skew = 0 }) => {
      const raw = frame([{ type, body }], 0, sequence + skew);
      raw.writeUInt16LE(flags, 6);
      return raw;
    }),
  );
}

/** A kernel that answers each request with the next script: datagrams of messages. */
class Scripted implements Channel {
  readonly sent: Buffer[] = [];
  readonly #scripts: (readonly (readonly Answer[])[])[];
  readonly #waiting: Buffer[] = [];

  constructor(...scripts: (readonly (readonly Answer[])[])[]) {
    this.#scripts = scripts;
  }

  async sendOffThread(data: Buffer): Promise<void> {
    this.send(data);
  }

  send(data: Buffer): void {
    this.sent.push(data);
    const sequence = data.readUInt32LE(8);
    for (const answers of this.#scripts.shift() ?? []) this.#waiting.push(datagram(sequence, answers));
  }

  receive(into: Buffer): number {
    return this.#waiting.shift()?.copy(into) ?? 0;
  }
}

const number = (value: number): Buffer => {
  const raw = Buffer.alloc(4);
  raw.writeInt32LE(value);
  return raw;
};
const entry = (value: number, flags = MULTI): Answer => ({ type: 16, flags, body: number(value) });
const done: Answer = { type: DONE, flags: MULTI, body: number(0) };
const read = (body: Buffer): number => body.readInt32LE(0);
const message = { type: 18, body: Buffer.alloc(16) };
const header = Buffer.alloc(16);
const acknowledged = (skew: number): Answer => ({ type: ERROR, body: Buffer.concat([number(0), header]), skew });
const refused = (skew: number, errno: number, words?: string): Answer => {
  const raw = Buffer.from(`${words ?? ''}\0`);
  const attribute = Buffer.alloc(4 + ((raw.length + 3) & ~3));
  attribute.writeUInt16LE(4 + raw.length, 0);
  attribute.writeUInt16LE(1, 2);
  attribute.set(raw, 4);
  return {
    type: ERROR,
    skew,
    flags: words === undefined ? 0 : 0x200,
    body: Buffer.concat([number(-errno), header, ...(words === undefined ? [] : [attribute])]),
  };
};

describe('a list', () => {
  test('spread over datagrams comes whole, without what is not asked for', () => {
    const socket = new NetlinkSocket(new Scripted([[entry(1), entry(2)], [entry(3), { ...entry(9), skew: -1 }], [done]]));
    expect(socket.dump(message, 'things', (body) => (read(body) === 2 ? undefined : read(body)))).toEqual([1, 3]);
  });

  test.each([
    ['an entry', [[entry(1, MULTI | INTERRUPTED)], [done]]],
    ['only its end', [[entry(1)], [{ ...done, flags: MULTI | INTERRUPTED }]]],
  ])('that %s marks as interrupted is begun again', (_, script) => {
    const channel = new Scripted(script, [[entry(1), entry(2)], [done]]);
    expect(new NetlinkSocket(channel).dump(message, 'things', read)).toEqual([1, 2]);
    expect(channel.sent.length).toBe(2);
  });

  test('that never comes through fails after ten tries', async () => {
    const scripts = Array.from({ length: 30 }, () => [[entry(1, MULTI | INTERRUPTED), done]]);
    const channel = new Scripted(...scripts);
    expect(() => new NetlinkSocket(channel).dump(message, 'things', read)).toThrow('list things: EINTR');
    expect(channel.sent.length).toBe(10);
    await expect(new NetlinkSocket(channel).dumpInTurns(message, 'things', read)).rejects.toMatchObject({ errno: 'EINTR' });
  });

  test('that ends in an error, or not at all, fails', () => {
    const failing = { type: DONE, flags: MULTI, body: number(-12) };
    expect(() => new NetlinkSocket(new Scripted([[entry(1), failing]])).dump(message, 'things', read)).toThrow('ENOMEM');
    expect(() => new NetlinkSocket(new Scripted([[entry(1)]])).dump(message, 'things', read)).toThrow('has no end');
    expect(() => new NetlinkSocket(new Scripted([[refused(0, 95)]])).dump(message, 'things', read)).toThrow('EOPNOTSUPP');
  });

  test('taken in turns lets others run and comes whole', async () => {
    const script = Array.from({ length: 40 }, (_, i) => [entry(i)]);
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    const socket = new NetlinkSocket(new Scripted([...script, [done]]));
    const slow = (body: Buffer): number => {
      const until = performance.now() + 1;
      while (performance.now() < until);
      return read(body);
    };
    expect(await socket.dumpInTurns(message, 'things', slow)).toHaveLength(40);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(0);
  });
});

describe('a batch', () => {
  test("tells the first refusal with its place and the kernel's words, whatever else waits", () => {
    const channel = new Scripted([
      [acknowledged(-7), acknowledged(0)],
      [refused(1, 17, 'there already'), refused(2, 19)],
    ]);
    expect(new NetlinkSocket(channel).execute([message, message, message])).toEqual({
      at: 1,
      errno: 'EEXIST',
      text: 'there already',
    });
  });

  test('never has more than a hundred messages in flight, and stops at the hundred that failed', () => {
    const all = (count: number): Answer[][] => [Array.from({ length: count }, (_, i) => acknowledged(i))];
    const channel = new Scripted(all(100), [[...(all(100)[0] ?? []).slice(0, 99), refused(99, 1)]], all(50));
    expect(new NetlinkSocket(channel).execute(Array.from({ length: 250 }, () => message))).toEqual({ at: 199, errno: 'EPERM' });
    expect(channel.sent.map((data) => [...splitMessages(data)].length)).toEqual([100, 100]);
  });

  test('of which the kernel acknowledges too little has failed', () => {
    expect(new NetlinkSocket(new Scripted([[acknowledged(0)]])).execute([message, message])).toMatchObject({
      at: 1,
      errno: 'ENOMSG',
    });
  });
});

test('a request answers what was parsed or what was refused', () => {
  const socket = new NetlinkSocket(new Scripted([[entry(5, 0)]], [[refused(0, 19)]], []));
  expect(socket.request(message, read)).toBe(5);
  expect(socket.request(message, read)).toEqual({ at: 0, errno: 'ENODEV' });
  expect(isRefusal(socket.request(message, read))).toBe(true);
});

test('sequence numbers may wrap within a batch', () => {
  const raw = frame([message, message], 0, 0xffffffff);
  expect([...splitMessages(raw)].map((each) => each.sequence)).toEqual([0xffffffff, 0]);
});

test('no bytes make the attribute reader fail or leave its buffer', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (raw) => {
      const attributes = new Attributes(Buffer.from(raw));
      for (let type = 0; type < 300; type++) {
        const value = attributes.bytes(type);
        expect(value === undefined || value.length <= raw.length).toBe(true);
        attributes.text(type);
        attributes.u32(type);
        attributes.nested(type);
      }
    }),
  );
});

test('no datagram makes the splitter do anything but yield or refuse', () => {
  const outcome = (raw: Buffer): unknown => {
    try {
      return [...splitMessages(raw)].every((each) => each.body.length <= raw.length) ? 'fine' : 'too long';
    } catch (error) {
      return errnoOf(error);
    }
  };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (raw) => ['fine', 'EBADMSG'].includes(String(outcome(Buffer.from(raw))))),
  );
});

test("error numbers have the names that the kernel's headers give", () => {
  expect([11, 17, 54, 95, 105, 524, 4000].map(errnoName)).toEqual([
    'EAGAIN',
    'EEXIST',
    'EXFULL',
    'EOPNOTSUPP',
    'ENOBUFS',
    'ENOTSUPP',
    'E4000',
  ]);
});
