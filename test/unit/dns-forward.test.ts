import packet from 'dns-packet';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import { Forwarder, newForwardShared } from '../../src/dns/forward.ts';
import type { Begun, DialEvents, Dialler, DnsProtocol, Upstream } from '../../src/dns/upstream.ts';
import { NameTable } from '../../src/dns/names.ts';
import { Resolver } from '../../src/dns/resolver.ts';
import { decodeQuery, idOf, rcodeOf, withId, type Query } from '../../src/dns/wire.ts';

/** How a server at an address behaves. */
type Behaviour = (message: Buffer, events: DialEvents) => void;

const reply = (message: Buffer, flags = 0x80, data = '192.0.2.1'): Buffer => {
  const { id, questions } = packet.decode(message);
  return packet.encode({
    type: 'response',
    id,
    flags,
    questions,
    answers: flags & 15 ? [] : [{ type: 'A', name: questions[0]!.name, ttl: 30, data }],
  });
};

const answers: Behaviour = (message, events) => queueMicrotask(() => events.message(reply(message)));
const says =
  (rcode: number): Behaviour =>
  (message, events) =>
    queueMicrotask(() => events.message(reply(message, 0x80 | rcode)));
const silent: Behaviour = () => {};
/** The answer, without its last octets and without a word of it. */
const cut: Behaviour = (message, events) => queueMicrotask(() => events.message(reply(message).subarray(0, -6)));
/** An error without the question. */
const bare =
  (rcode: number): Behaviour =>
  (message, events) =>
    queueMicrotask(() =>
      events.message(Buffer.concat([message.subarray(0, 2), Buffer.from([0x80, rcode, 0, 0, 0, 0, 0, 0, 0, 0])])),
    );
/** Under our id, an answer to another question. */
const elsewhere = (message: Buffer, name = 'example.net'): Buffer => {
  const { id } = packet.decode(message);
  return reply(packet.encode({ type: 'query', id: id!, questions: [{ type: 'A', name }] }));
};
const refuses: Behaviour = (_, events) => queueMicrotask(() => events.failed(new Error('ECONNREFUSED')));
const late =
  (ms: number): Behaviour =>
  (message, events) =>
    void setTimeout(() => events.message(reply(message)), ms);

interface Asked {
  readonly at: number;
  readonly address: string;
  readonly protocol: DnsProtocol;
  readonly message: Buffer;
  isClosed: boolean;
}

let servers: Record<string, Behaviour>;
let asked: Asked[];
const dialler: Dialler = {
  ask(upstream, protocol, message, events) {
    const behaviour = servers[upstream.address];
    if (behaviour === undefined) throw new Error('ENETUNREACH');
    const one: Asked = { at: Date.now(), address: upstream.address, protocol, message: Buffer.from(message), isClosed: false };
    asked.push(one);
    behaviour(one.message, events);
    return { close: () => void (one.isClosed = true) };
  },
};

const host = (...addresses: string[]): Upstream[] => addresses.map((address) => ({ address: address as Address, at: 'host' }));
const question = (name = 'example.com'): Query => {
  const decoded = decodeQuery(
    packet.encode({ type: 'query', id: 77, flags: packet.RECURSION_DESIRED, questions: [{ type: 'A', name }] }),
  );
  if (decoded.kind !== 'query') throw new Error(decoded.kind);
  return decoded.query;
};

let forwarder: Forwarder;
const asPromise = (
  query: Query,
  upstreams: readonly Upstream[],
  fromHost: boolean,
  protocol: DnsProtocol = 'udp',
): Promise<Uint8Array> => new Promise((resolve) => forwarder.forward(query, protocol, upstreams, fromHost, resolve));
let started: number;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] });
  servers = {};
  asked = [];
  forwarder = new Forwarder(dialler, newForwardShared(8192, 8192));
  started = Date.now();
});
afterEach(() => {
  forwarder.close();
  vi.useRealTimers();
});

/** Runs the clock until the reply is there; tells it and when it came. */
async function forward(
  upstreams: Upstream[],
  fromHost = true,
  query = question(),
  protocol: DnsProtocol = 'udp',
): Promise<{ rcode: number; id: number; afterMs: number }> {
  const begun = Date.now();
  let after = Number.NaN;
  const result = asPromise(query, upstreams, fromHost, protocol).then((bytes) => {
    after = Date.now() - begun;
    return bytes;
  });
  for (let i = 0; i < 200 && Number.isNaN(after); i++) await vi.advanceTimersByTimeAsync(100);
  const bytes = await result;
  return { rcode: rcodeOf(bytes), id: Buffer.from(bytes).readUInt16BE(0), afterMs: after };
}

const addressesAsked = (): string[] => asked.map(({ address }) => address);

describe('one question', () => {
  test('goes out as it came but for a fresh id, and the answer carries the id of the asker', async () => {
    servers = { '10.0.0.1': answers };
    const query = question('Example.COM');
    expect(await forward(host('10.0.0.1'), true, query)).toMatchObject({ rcode: 0, id: 77 });
    expect(Buffer.compare(asked[0]!.message.subarray(2), Buffer.from(query.bytes).subarray(2))).toBe(0);
    for (let i = 0; i < 20; i++) await forward(host('10.0.0.1'), true, query);
    expect(new Set(asked.map(({ message }) => message.readUInt16BE(0))).size).toBeGreaterThan(15);
    expect(asked.every(({ isClosed }) => isClosed)).toBe(true);
  });

  test.each([
    ['SERVFAIL', says(2)],
    ['REFUSED', says(5)],
    ['SERVFAIL without the question', bare(2)],
    ['REFUSED without the question', bare(5)],
    ['a refused connection', refuses],
    ['a reply that is cut and does not say so', cut],
    [
      'garbage',
      ((message, events) =>
        queueMicrotask(() =>
          events.message(Buffer.concat([message.subarray(0, 2), Buffer.from([0x80, 0, 0, 9, 0, 0, 0, 0, 0, 0])])),
        )) as Behaviour,
    ],
  ])('after %s the next upstream is asked at once', async (_, bad) => {
    servers = { '10.0.0.1': bad, '10.0.0.2': answers };
    expect(await forward(host('10.0.0.1', '10.0.0.2'))).toMatchObject({ rcode: 0, id: 77 });
    expect(addressesAsked()).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(asked[1]!.at).toBe(started);
  });

  test('after an unreachable network the next upstream is asked at once', async () => {
    servers = { '10.0.0.2': answers };
    expect(await forward(host('10.0.0.1', '10.0.0.2'))).toMatchObject({ rcode: 0 });
    expect(asked[0]!.at).toBe(started);
  });

  test.each([
    ['NXDOMAIN', 3],
    ['NOTIMP', 4],
    ['an empty answer', 0],
    ['FORMERR without the question', 1, bare(1)],
    ['NOTIMP without the question', 4, bare(4)],
  ])('%s is final', async (_, rcode, behaviour = says(rcode)) => {
    servers = { '10.0.0.1': behaviour, '10.0.0.2': answers };
    expect(await forward(host('10.0.0.1', '10.0.0.2'))).toMatchObject({ rcode });
    expect(addressesAsked()).toEqual(['10.0.0.1']);
  });

  test('each upstream is asked once, only the first three, then it is SERVFAIL', async () => {
    servers = { '10.0.0.1': says(5), '10.0.0.2': says(2), '10.0.0.3': refuses, '10.0.0.4': answers };
    expect(await forward(host('10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'))).toMatchObject({ rcode: 2, id: 77 });
    expect(addressesAsked()).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3']);
  });

  test('strangers are not listened to, but not for ever', async () => {
    const forged: Behaviour = (message, events) => {
      const other = Buffer.from(reply(message));
      other[0] = (other[0] ?? 0) ^ 0xff;
      queueMicrotask(() => {
        for (let i = 0; i < 10; i++) events.message(other);
        events.message(reply(message));
      });
    };
    const flood: Behaviour = (message, events) => {
      const other = Buffer.from(reply(message));
      other[0] = (other[0] ?? 0) ^ 0xff;
      queueMicrotask(() => {
        for (let i = 0; i < 1000; i++) events.message(other);
      });
    };
    servers = { '10.0.0.1': forged };
    expect(await forward(host('10.0.0.1'))).toMatchObject({ rcode: 0 });
    servers = { '10.0.0.1': flood };
    expect(await forward(host('10.0.0.1'))).toMatchObject({ rcode: 2 });
  });

  test('answers to another question by UDP are not listened to, and the right one is waited for', async () => {
    const late: Behaviour = (message, events) => {
      queueMicrotask(() => {
        for (const name of ['example.net', 'com', 'www.example.com']) events.message(elsewhere(message, name));
      });
      setTimeout(() => events.message(reply(message)), 50);
    };
    servers = { '10.0.0.1': late, '10.0.0.2': answers };
    expect(await forward(host('10.0.0.1'))).toMatchObject({ rcode: 0, afterMs: 50 });
    expect(await forward(host('10.0.0.1', '10.0.0.2'))).toMatchObject({ rcode: 0, afterMs: 50 });
    expect(addressesAsked()).toEqual(['10.0.0.1', '10.0.0.1']);
  });

  test('one who answers nothing but another question is as good as silent, and one who does so without end has failed', async () => {
    const wrong = (times: number): Behaviour => {
      return (message, events) =>
        queueMicrotask(() => {
          for (let i = 0; i < times; i++) events.message(elsewhere(message));
        });
    };
    servers = { '10.0.0.1': wrong(3), '10.0.0.2': answers, '10.0.0.3': wrong(1000) };
    expect(await forward(host('10.0.0.1', '10.0.0.2'))).toMatchObject({ rcode: 0, afterMs: 1000 });
    expect(await forward(host('10.0.0.3', '10.0.0.2'))).toMatchObject({ rcode: 0, afterMs: 0 });
    expect(await forward(host('10.0.0.3'))).toMatchObject({ rcode: 2, afterMs: 0 });
  });

  test('an answer to another question by TCP ends it: the next upstream is asked at once', async () => {
    servers = { '10.0.0.1': (message, events) => queueMicrotask(() => events.message(elsewhere(message))), '10.0.0.2': answers };
    expect(await forward(host('10.0.0.1', '10.0.0.2'), true, question(), 'tcp')).toMatchObject({ rcode: 0, afterMs: 0 });
    expect(await forward(host('10.0.0.1'), true, question(), 'tcp')).toMatchObject({ rcode: 2, afterMs: 0 });
  });

  test.each(['udp', 'tcp'] as const)(
    'a reply that is cut and does not say so is worth nothing by %s: SERVFAIL of the last',
    async (by) => {
      servers = { '10.0.0.1': cut, '10.0.0.2': cut };
      expect(await forward(host('10.0.0.1', '10.0.0.2'), true, question(), by)).toMatchObject({ rcode: 2, afterMs: 0 });
      expect(addressesAsked()).toEqual(['10.0.0.1', '10.0.0.2']);
    },
  );

  test('a reply that says that it is cut is passed on', async () => {
    const told: Behaviour = (message, events) =>
      queueMicrotask(() => {
        const whole = reply(message);
        whole[2] = (whole[2] ?? 0) | 0x02;
        events.message(whole.subarray(0, -6));
      });
    servers = { '10.0.0.1': told, '10.0.0.2': answers };
    expect(await forward(host('10.0.0.1', '10.0.0.2'))).toMatchObject({ rcode: 0 });
    expect(addressesAsked()).toEqual(['10.0.0.1']);
  });

  test('without any upstream it is SERVFAIL', async () => {
    expect(await forward([])).toMatchObject({ rcode: 2, id: 77 });
  });

  test('host upstreams are skipped when nothing leads outside, those of the sandbox are not', async () => {
    servers = { '10.0.0.1': answers, '10.0.0.2': answers };
    expect(await forward(host('10.0.0.1'), false)).toMatchObject({ rcode: 2 });
    expect(await forward([...host('10.0.0.1'), { address: '10.0.0.2' as Address, at: 'sandbox' }], false)).toMatchObject({
      rcode: 0,
    });
    expect(addressesAsked()).toEqual(['10.0.0.2']);
  });
});

describe('a question whose first upstream has been asked already', () => {
  const ID = 4711;
  interface Handed extends Begun {
    events?: DialEvents;
    isClosed: boolean;
    isDropped: boolean;
  }
  const handed = (agoMs = 100, helps = true): Handed => {
    const one: Handed = {
      id: ID,
      agoMs,
      isClosed: false,
      isDropped: false,
      resume: helps
        ? (events) => {
            one.events = events;
            return { close: () => void (one.isClosed = true) };
          }
        : undefined,
      drop: () => void (one.isDropped = true),
    };
    return one;
  };
  const asPacket = (id: number): Buffer => reply(Buffer.from(withId(question().bytes, id)));
  const goOn = (upstreams: readonly Upstream[], begun: Begun): { rcode: number; id: number; afterMs: number }[] => {
    const heard: { rcode: number; id: number; afterMs: number }[] = [];
    const note = (bytes: Uint8Array): void =>
      void heard.push({ rcode: rcodeOf(bytes), id: idOf(bytes), afterMs: Date.now() - started });
    forwarder.forward(question(), 'udp', upstreams, true, note, begun);
    return heard;
  };

  test('is answered by that one, under the id it was asked with, and asked of nobody again', async () => {
    servers = { '10.0.0.1': answers, '10.0.0.2': answers };
    const begun = handed();
    const heard = goOn(host('10.0.0.1', '10.0.0.2'), begun);
    await vi.advanceTimersByTimeAsync(500);
    begun.events?.message(asPacket(ID ^ 1));
    expect(heard).toEqual([]);
    begun.events?.message(asPacket(ID));
    expect(heard).toEqual([{ rcode: 0, id: 77, afterMs: 500 }]);
    expect([asked, begun.isClosed, begun.isDropped, forwarder.openSockets]).toEqual([[], true, false, 0]);
  });

  test('goes to the next one when its patience is over, which began when it was asked; the first one may still win', async () => {
    servers = { '10.0.0.2': silent };
    const begun = handed(100);
    const heard = goOn(host('10.0.0.1', '10.0.0.2'), begun);
    await vi.advanceTimersByTimeAsync(899);
    expect(asked).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(addressesAsked()).toEqual(['10.0.0.2']);
    begun.events?.message(asPacket(ID));
    expect(heard).toEqual([{ rcode: 0, id: 77, afterMs: 900 }]);
  });

  test('whose answer was of no use is asked of the next one at once, and without one it is SERVFAIL', async () => {
    servers = { '10.0.0.1': answers, '10.0.0.2': answers };
    expect(goOn(host('10.0.0.1'), handed(3, false))).toEqual([{ rcode: 2, id: 77, afterMs: 0 }]);
    const heard = goOn(host('10.0.0.1', '10.0.0.2'), handed(3, false));
    await vi.advanceTimersByTimeAsync(1);
    expect(heard).toMatchObject([{ rcode: 0, id: 77 }]);
    expect(addressesAsked()).toEqual(['10.0.0.2']);
  });

  test('that nobody takes up any more is dropped, and answered all the same', async () => {
    const full = new Forwarder(dialler, newForwardShared(0, 0));
    const shut = new Forwarder(dialler, newForwardShared(9, 9));
    shut.close();
    const cases: [Forwarder, Upstream[], number][] = [
      [full, host('10.0.0.1'), 5],
      [shut, host('10.0.0.1'), 2],
      [forwarder, [], 2],
    ];
    for (const [one, upstreams, rcode] of cases) {
      const begun = handed();
      const heard = new Promise<Uint8Array>((done) => one.forward(question(), 'udp', upstreams, true, done, begun));
      expect(rcodeOf(await heard)).toBe(rcode);
      expect([begun.isDropped, begun.events]).toEqual([true, undefined]);
    }
  });

  test('of a name that is known by now is answered from the table, and dropped', () => {
    const table = new NameTable();
    table.set('e' as never, { network: 'n' as never, networkName: 'net', names: ['c1'], addresses: ['10.9.0.1' as Address] });
    const view = { networks: [{ id: 'n' as never, name: 'net' }], forwardsFromHost: true };
    const resolver = new Resolver(table, { view, upstreams: host('10.0.0.1') }, dialler, newForwardShared(10, 10));
    const cases: [Uint8Array, number | undefined][] = [
      [packet.encode({ type: 'query', id: 5, questions: [{ type: 'A', name: 'c1' }] }), 1],
      [packet.encode({ type: 'response', id: 5, questions: [{ type: 'A', name: 'c1' }] }), undefined],
    ];
    for (const [message, count] of cases) {
      const begun = handed();
      const heard: (Uint8Array | undefined)[] = [];
      resolver.ask(message, 'udp', (bytes) => heard.push(bytes), begun);
      expect(heard.map((bytes) => bytes && packet.decode(Buffer.from(bytes)).answers.length)).toEqual([count]);
      expect([begun.isDropped, begun.events]).toEqual([true, undefined]);
    }
  });
});

describe('a silent upstream', () => {
  test('costs its patience once; from then on it is asked last, and beside the others at times', async () => {
    servers = { '10.0.0.1': silent, '10.0.0.2': answers };
    const both = host('10.0.0.1', '10.0.0.2');
    expect((await forward(both)).afterMs).toBe(1000);
    expect((await forward(both)).afterMs).toBe(200);
    for (let i = 0; i < 30; i++) expect((await forward(both)).afterMs).toBe(0);
    const tries = asked.filter(({ address }) => address === '10.0.0.1').length;
    expect(tries).toBeGreaterThan(2);
    expect(tries).toBeLessThan(10);
  });

  test('is first again soon after it is back', async () => {
    servers = { '10.0.0.1': silent, '10.0.0.2': answers };
    const both = host('10.0.0.1', '10.0.0.2');
    for (let i = 0; i < 3; i++) await forward(both);
    servers['10.0.0.1'] = answers;
    await vi.advanceTimersByTimeAsync(1100);
    await forward(both);
    asked = [];
    await forward(both);
    expect(addressesAsked()).toEqual(['10.0.0.1']);
  });

  test('that answers late still wins when nobody else does', async () => {
    servers = { '10.0.0.1': late(2500), '10.0.0.2': silent };
    expect(await forward(host('10.0.0.1', '10.0.0.2'))).toMatchObject({ rcode: 0, afterMs: 2500 });
  });

  test('alone: SERVFAIL after 4 s', async () => {
    servers = { '10.0.0.1': silent };
    expect(await forward(host('10.0.0.1'))).toMatchObject({ rcode: 2, afterMs: 4000 });
    expect(forwarder.openSockets).toBe(0);
  });

  test("three of them: SERVFAIL within libc's patience of 5 s times two, not 12", async () => {
    servers = { '10.0.0.1': silent, '10.0.0.2': silent, '10.0.0.3': silent };
    expect((await forward(host('10.0.0.1', '10.0.0.2', '10.0.0.3'))).afterMs).toBe(6000);
    expect((await forward(host('10.0.0.1', '10.0.0.2', '10.0.0.3'))).afterMs).toBeLessThan(5000);
  });
});

describe('limits', () => {
  test('1,024 questions at once; the rest wait at most 4 s, then they are refused', { timeout: 120_000 }, async () => {
    servers = { '10.0.0.1': silent };
    const rcodes: number[] = [];
    const all = Array.from({ length: 6000 }, () =>
      asPromise(question(), host('10.0.0.1'), true).then((bytes) => void rcodes.push(rcodeOf(bytes))),
    );
    await vi.advanceTimersByTimeAsync(0);
    expect(forwarder.openSockets).toBe(1024);
    expect(rcodes).toHaveLength(6000 - 1024 - 3072);
    await vi.advanceTimersByTimeAsync(3999);
    expect(forwarder.openSockets).toBe(1024);
    await vi.advanceTimersByTimeAsync(4001);
    await Promise.all(all);
    expect(rcodes.filter((rcode) => rcode === 2).length).toBeGreaterThanOrEqual(1024);
    expect(rcodes.filter((rcode) => rcode === 5).length).toBeGreaterThanOrEqual(6000 - 1024 - 3072);
    expect(forwarder.openSockets).toBe(0);
  });

  test('closing answers everything at once, closes every socket and opens none any more', async () => {
    servers = { '10.0.0.1': silent };
    const both = [1, 2].map(() => asPromise(question(), host('10.0.0.1'), true));
    await vi.advanceTimersByTimeAsync(10);
    forwarder.close();
    expect((await Promise.all(both)).map(rcodeOf)).toEqual([2, 2]);
    expect(asked.every(({ isClosed }) => isClosed)).toBe(true);
    expect(await forward(host('10.0.0.1'))).toMatchObject({ rcode: 2, afterMs: 0 });
    expect(asked).toHaveLength(2);
  });

  test('thousands that wait for what all share are turned away when their sandbox ends, however many they are', async () => {
    servers = { '10.0.0.1': silent };
    const count = 30_000;
    const shared = newForwardShared(1, count);
    const other = new Forwarder(dialler, shared);
    const first = new Promise<Uint8Array>((done) => other.forward(question(), 'udp', host('10.0.0.1'), true, done));
    const ended = new Forwarder(dialler, shared, { concurrent: count });
    const rcodes: number[] = [];
    for (let i = 0; i < count; i++)
      ended.forward(question(), 'udp', host('10.0.0.1'), true, (bytes) => void rcodes.push(rcodeOf(bytes)));
    ended.close();
    other.close();
    expect(rcodeOf(await first)).toBe(2);
    await vi.advanceTimersByTimeAsync(0);
    expect(rcodes).toHaveLength(count);
    expect(new Set(rcodes)).toEqual(new Set([2]));
    expect(shared.slots.taken).toBe(0);
  });
});

describe('a resolver', () => {
  const view = { networks: [{ id: 'n' as never, name: 'net' }], forwardsFromHost: true };
  const build = (): Resolver => {
    const table = new NameTable();
    table.set('e' as never, { network: 'n' as never, networkName: 'net', names: ['c1'], addresses: ['10.9.0.1' as Address] });
    return new Resolver(table, { view, upstreams: host('10.0.0.1') }, dialler, newForwardShared(10, 10));
  };
  const ask = async (resolver: Resolver, name: string, type = 'A') => {
    const bytes = await resolver.answer(packet.encode({ type: 'query', id: 5, questions: [{ type, name }] }), 'udp');
    return bytes === undefined ? undefined : packet.decode(Buffer.from(bytes));
  };

  test('answers known names itself, whatever the family, and nothing reaches the upstream', async () => {
    const resolver = build();
    expect((await ask(resolver, 'c1'))?.answers[0]?.data).toBe('10.9.0.1');
    expect(await ask(resolver, 'c1', 'AAAA')).toMatchObject({ rcode: 'NOERROR', answers: [] });
    expect(await ask(resolver, 'c1', 'MX')).toMatchObject({ rcode: 'NOERROR', answers: [] });
    expect(asked).toEqual([]);
  });

  test('forwards unknown names, also those of one label, and other types of known names', async () => {
    const resolver = build();
    servers = { '10.0.0.1': answers };
    for (const [name, type] of [
      ['printer', 'A'],
      ['www.example.com', 'AAAA'],
      ['c1', 'TXT'],
    ]) {
      expect(await ask(resolver, name!, type)).toMatchObject({ rcode: 'NOERROR' });
    }
    expect(asked).toHaveLength(3);
  });

  test('says nothing to a response', async () => {
    expect(
      await build().answer(packet.encode({ type: 'response', id: 1, questions: [{ type: 'A', name: 'c1' }] }), 'udp'),
    ).toBeUndefined();
  });
});
