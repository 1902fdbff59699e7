import { createSocket } from 'node:dgram';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import packet, { type Decoded } from 'dns-packet';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import { newQuestion, readCommonQuestion, type Upstream } from '../../src/dns/index.ts';
import { FirstTries, type FirstAsker } from '../../src/keeper/first-tries.ts';
import type { FirstAsked } from '../../src/keeper/handed.ts';
import type { KeeperLink } from '../../src/keeper/index.ts';
import { EpollSet, encodeSocketAddress, libc, openUdpSocket, type Netns } from '../../src/kernel/index.ts';
import {
  afterTest,
  always,
  askRaw,
  blackHole,
  decode,
  eventually,
  keeperLab,
  query,
  serveUpstream,
  type Lab,
} from './keeper-lab.ts';
import { hostAt, testHosts } from './support.ts';

const UPSTREAM: Upstream = { address: '127.0.0.1' as Address, at: 'host', port: 5301 };
const ASKER_ID = 0xbeef;

/** What the loop has of FirstTries, on this thread, with the asker's and the upstream's sockets in one namespace. */
class Bench {
  readonly netns: Netns;
  readonly epoll = new EpollSet(512);
  readonly handed: { message: Uint8Array; asked: FirstAsked | undefined }[] = [];
  readonly tries = new FirstTries<FirstAsker>(this.epoll, (_, _source, message, asked) => this.handed.push({ message, asked }));
  readonly asker: FirstAsker;
  readonly source: Uint8Array;
  readonly #client: number;
  readonly #incoming = Buffer.alloc(4096);

  constructor(netns: Netns) {
    this.netns = netns;
    const open = (port: number): number => netns.run(() => openUdpSocket({ address: '127.0.0.1' as Address, port }));
    this.asker = { fd: open(5353), first: UPSTREAM, netns: () => netns, firstTries: 0 };
    this.#client = open(5354);
    this.source = encodeSocketAddress('127.0.0.1' as Address, 5354);
    afterTest(() => {
      this.tries.drop(this.asker);
      this.epoll[Symbol.dispose]();
      libc.close(this.#client);
      libc.close(this.asker.fd);
    });
  }

  ask(name = 'www.example.com', asker = this.asker): boolean {
    const message = packet.encode({ type: 'query', id: ASKER_ID, questions: [{ type: 'A', name }] });
    const question = newQuestion();
    expect(readCommonQuestion(message, 0, message.length, question)).toBe(true);
    return this.netns.run(() => this.tries.ask(asker, this.source, message, question));
  }

  /** Reads what comes until `isEnough`; `passes`: nobody is waited for too long. */
  async goRound(isEnough: () => boolean, passes = false): Promise<void> {
    await eventually(() => {
      for (let i = 0; i < 100; i++) this.epoll.wait(0, (fd) => this.tries.read(fd));
      if (passes) this.tries.passOverdue(performance.now());
      return isEnough() || undefined;
    }, 'enough has come');
  }

  /** What the asker has got. */
  heard(): Decoded | undefined {
    const length = libc.receive(this.#client, this.#incoming, libc.MSG.dontwait);
    return length < 0 ? undefined : packet.decode(this.#incoming.subarray(0, length));
  }
}

interface TestUpstream {
  readonly asked: readonly Buffer[];
  /** To whoever asked last. */
  answerLate(): void;
}

/** An upstream that sends what `replies` makes of a question. */
function upstream(netns: Netns, replies: (question: Buffer) => readonly Buffer[]): TestUpstream {
  const asked: Buffer[] = [];
  let answerLate = (): void => {};
  const socket = createSocket('udp4');
  socket.bind({ fd: netns.run(() => openUdpSocket({ address: '127.0.0.1' as Address, port: 5301 })) });
  afterTest(() => void socket.close());
  socket.on('message', (message, { port, address }) => {
    asked.push(message);
    answerLate = () => socket.send(answered(message), port, address);
    for (const one of replies(message)) socket.send(one, port, address);
  });
  return { asked, answerLate: () => answerLate() };
}

function answered(question: Buffer, rcode = 0): Buffer {
  const { id, questions } = packet.decode(question);
  const answers = [{ type: 'A' as const, name: questions![0]!.name, ttl: 30, data: '192.0.2.1' }];
  return packet.encode({
    type: 'response',
    id: id!,
    flags: 0x80 | rcode,
    questions: questions!,
    answers: rcode === 0 ? answers : [],
  });
}

const withOtherId = (message: Buffer): Buffer => {
  const other = Buffer.from(message);
  other[0] = (other[0] ?? 0) ^ 0xff;
  return other;
};

/** Under the same id, an answer to another question. */
const elsewhere = (question: Buffer): Buffer =>
  Buffer.concat([question.subarray(0, 2), answered(Buffer.from(query('other'))).subarray(2)]);

const openDescriptors = (pid: number | 'self'): number => readdirSync(`/proc/${pid}/fd`).length;

describe('a question that the loop asks itself', () => {
  let bench: Bench;
  beforeEach(async () => {
    bench = new Bench(hostAt(await testHosts(1), 0).host);
  });

  test('goes out under ids of its own, and its answer to the asker under the id of the asker, strangers or not', async () => {
    const { asked } = upstream(bench.netns, (question) => {
      const stranger = withOtherId(answered(question, 3));
      return [Buffer.of(1), stranger, elsewhere(question), stranger, answered(question), answered(question, 3)];
    });
    const before = openDescriptors('self');
    for (let i = 0; i < 8; i++) {
      expect(bench.ask(`n${i}.example.com`)).toBe(true);
      await bench.goRound(() => bench.asker.firstTries === 0);
      expect(bench.heard()).toMatchObject({
        id: ASKER_ID,
        rcode: 'NOERROR',
        answers: [{ name: `n${i}.example.com`, data: '192.0.2.1' }],
      });
      expect(bench.heard()).toBeUndefined();
    }
    expect(new Set(asked.map((message) => message.readUInt16BE(0))).size).toBeGreaterThan(4);
    expect(bench.handed).toEqual([]);
    expect(bench.tries.dueMs(performance.now())).toBe(Infinity);
    expect(openDescriptors('self')).toBe(before);
  });

  test.each([
    ['SERVFAIL', (question: Buffer) => [answered(question, 2)]],
    ['REFUSED', (question: Buffer) => [answered(question, 5)]],
    ['a reply that is cut and does not say so', (question: Buffer) => [answered(question).subarray(0, -6)]],
    ['nothing but answers to another question', (question: Buffer) => Array.from({ length: 70 }, () => elsewhere(question))],
    ['nothing but strangers', (question: Buffer) => Array.from({ length: 70 }, () => withOtherId(answered(question)))],
    ['nobody there', undefined],
  ])('is handed over as asked in vain after %s', async (_, replies) => {
    if (replies !== undefined) upstream(bench.netns, replies);
    const before = openDescriptors('self');
    expect(bench.ask()).toBe(true);
    await bench.goRound(() => bench.handed.length > 0);
    const [{ asked, message }] = bench.handed as [(typeof bench.handed)[0]];
    expect([asked?.socket, asked?.agoMs, bench.handed.length, bench.asker.firstTries]).toEqual([-1, 0, 1, 0]);
    expect(packet.decode(Buffer.from(message))).toMatchObject({ id: ASKER_ID, questions: [{ name: 'www.example.com' }] });
    expect(bench.heard()).toBeUndefined();
    expect(openDescriptors('self')).toBe(before);
  });

  test.each([
    ['no answer', () => []],
    ['nothing but an answer to another question', (question: Buffer) => [elsewhere(question)]],
  ])('is handed over with its open socket when %s came soon', async (_, replies) => {
    const server = upstream(bench.netns, replies);
    expect(bench.ask()).toBe(true);
    expect(bench.tries.dueMs(performance.now())).toBeGreaterThan(0);
    await bench.goRound(() => bench.handed.length > 0, true);
    const handed = bench.handed[0]?.asked;
    expect(handed?.socket).toBeGreaterThan(0);
    expect(handed?.agoMs).toBeGreaterThanOrEqual(100);
    expect(handed?.id).toBe(server.asked[0]?.readUInt16BE(0));
    expect(bench.asker.firstTries).toBe(0);
    server.answerLate();
    const late = Buffer.alloc(512);
    const length = await eventually(() => {
      const octets = libc.receive(handed!.socket, late, libc.MSG.dontwait);
      return octets < 0 ? undefined : octets;
    }, 'the late answer is there');
    expect(packet.decode(late.subarray(0, length))).toMatchObject({ id: handed!.id, rcode: 'NOERROR' });
    libc.close(handed!.socket);
  });

  test('is one of 16 of its asker and of 256 in all', () => {
    upstream(bench.netns, () => []);
    const before = openDescriptors('self');
    const others = Array.from({ length: 20 }, (): FirstAsker => ({ ...bench.asker }));
    const taken = others.map((asker) => Array.from({ length: 20 }, () => bench.ask('x', asker)).filter(Boolean).length);
    expect(taken).toEqual([...Array.from({ length: 16 }, () => 16), 0, 0, 0, 0]);
    for (const asker of others) bench.tries.drop(asker);
    expect(others.map(({ firstTries }) => firstTries)).toEqual(others.map(() => 0));
    expect(bench.handed).toEqual([]);
    expect(openDescriptors('self')).toBe(before);
    expect(bench.ask()).toBe(true);
  });

  test('is handed over unasked when its asker gets other upstreams, and not taken without one that can be asked', () => {
    upstream(bench.netns, () => []);
    const before = openDescriptors('self');
    for (let i = 0; i < 3; i++) expect(bench.ask(`n${i}`)).toBe(true);
    bench.tries.passAll(bench.asker);
    expect(bench.handed.map(({ message, asked }) => [packet.decode(Buffer.from(message)).questions?.[0]?.name, asked])).toEqual([
      ['n0', undefined],
      ['n1', undefined],
      ['n2', undefined],
    ]);
    expect(openDescriptors('self')).toBe(before);
    for (const first of [undefined, { ...UPSTREAM, address: '203.0.113.1' as Address }])
      expect(bench.ask('x', { ...bench.asker, first })).toBe(false);
    expect(openDescriptors('self')).toBe(before);
  });
});

describe('through a keeper', () => {
  const SLOW_MS = 300;
  let lab: Lab;
  let link: KeeperLink;
  beforeEach(async () => {
    lab = await keeperLab();
    link = await lab.open();
  });

  /** As dns2 does, but late. */
  function slowUpstream(address: string): { upstream: Upstream; asked: number } {
    const server = { upstream: { address: address as Address, at: 'host' as const }, asked: 0 };
    const socket = createSocket('udp4');
    socket.bind({ fd: lab.host.host.run(() => openUdpSocket({ address: address as Address, port: 53 })) });
    afterTest(() => void socket.close());
    socket.on('message', (message, { port, address: from }) => {
      server.asked++;
      setTimeout(() => socket.send(answered(message), port, from), SLOW_MS);
    });
    return server;
  }

  test('a slow upstream is asked once and answers, and nobody else is asked', async () => {
    const slow = slowUpstream('127.0.0.2');
    const second = serveUpstream(lab.host.host, 'host', '127.0.0.3', always('192.0.2.9'));
    const box = await lab.sandbox(link, { upstreams: [slow.upstream, second.upstream] });
    for (let i = 1; i <= 3; i++) {
      const reply = await askRaw(box.inside.host, box.ports.udp, query(`n${i}.example.com`), 5000);
      expect(decode(reply!)).toMatchObject({ rcode: 'NOERROR', answers: [{ data: '192.0.2.1' }] });
      expect([slow.asked, second.asked]).toEqual([i, []]);
    }
  });

  test('upstreams that change while a question is open: the new ones answer it', async () => {
    const hole = serveUpstream(lab.host.host, 'host', '127.0.0.2', blackHole);
    const good = serveUpstream(lab.host.host, 'host', '127.0.0.3', always('192.0.2.9'));
    const box = await lab.sandbox(link, { upstreams: [hole.upstream] });
    const answers = async (i: number): Promise<boolean> => {
      await link.sandbox(box.id, { ...box.wish, upstreams: [hole.upstream] });
      const reply = askRaw(box.inside.host, box.ports.udp, query(`n${i}.example.com`), 2000);
      await eventually(() => hole.asked.length > i || undefined, 'it is asked');
      await link.sandbox(box.id, { ...box.wish, upstreams: [good.upstream] });
      const message = await reply;
      return message !== undefined && decode(message).answers[0]?.data === '192.0.2.9';
    };
    // On a busy machine the change may come when the main thread has the question already.
    let isAnswered = false;
    for (let i = 0; i < 5 && !isAnswered; i++) isAnswered = await answers(i);
    expect(isAnswered).toBe(true);
  });

  test('a silent one is the business of the main thread until it answers again', async () => {
    let isSilent = true;
    const first = serveUpstream(lab.host.host, 'host', '127.0.0.2', (request) =>
      isSilent ? undefined : always('192.0.2.1')(request),
    );
    const second = serveUpstream(lab.host.host, 'host', '127.0.0.3', always('192.0.2.9'));
    const box = await lab.sandbox(link, { upstreams: [first.upstream, second.upstream] });
    const ask = async (name: string): Promise<unknown> => {
      const reply = await askRaw(box.inside.host, box.ports.udp, query(name), 5000);
      return decode(reply!).answers[0]?.data;
    };
    for (let i = 0; i < 4; i++) expect(await ask(`n${i}`)).toBe('192.0.2.9');
    const before = first.asked.length;
    expect(before).toBeLessThan(4);
    isSilent = false;
    await eventually(async () => ((await ask('back')) === '192.0.2.1' ? true : undefined), 'it is asked first again');
  });

  test('a sandbox that goes with questions open leaves no descriptor', async () => {
    const hole = serveUpstream(lab.host.host, 'host', '127.0.0.2', blackHole);
    const before = openDescriptors(link.pid!);
    for (let round = 0; round < 3; round++) {
      const box = await lab.sandbox(link, { upstreams: [hole.upstream] });
      const asked = hole.asked.length;
      const asking = Promise.all(
        Array.from({ length: 10 }, (_, i) => askRaw(box.inside.host, box.ports.udp, query(`n${i}`), 300)),
      );
      await eventually(() => hole.asked.length >= asked + 10 || undefined, 'all are asked');
      // Once while the loop has them, once while the main thread has, once in between.
      await sleep(round * 80);
      await link.sandbox(box.id, null);
      expect((await asking).filter((reply) => reply !== undefined)).toEqual([]);
      await eventually(() => (openDescriptors(link.pid!) <= before ? true : undefined), 'descriptors are as before');
    }
  });

  test('an upstream of the sandbox is asked from there, and the namespace is let go of with the sandbox', async () => {
    const before = openDescriptors(link.pid!);
    const upstreams = [{ address: '127.0.0.2' as Address, at: 'sandbox' } as const];
    const box = await lab.sandbox(link, { upstreams });
    const own = serveUpstream(box.inside.host, 'sandbox', '127.0.0.2', always('192.0.2.9'));
    for (let i = 1; i <= 3; i++) {
      const reply = await askRaw(box.inside.host, box.ports.udp, query(`n${i}.example.com`), 5000);
      expect(decode(reply!)).toMatchObject({ rcode: 'NOERROR', answers: [{ data: '192.0.2.9' }] });
      expect(own.asked).toHaveLength(i);
    }
    await link.sandbox(box.id, null);
    await eventually(() => (openDescriptors(link.pid!) <= before ? true : undefined), 'descriptors are as before');
  });
});
