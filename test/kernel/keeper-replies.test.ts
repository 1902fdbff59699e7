/** Replies of upstreams that are none, or not whole: by real sockets, in the loop's thread and in the main one. */

import { createSocket } from 'node:dgram';
import { readdirSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import packet from 'dns-packet';
import { beforeEach, expect, test } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import { MessageReader, framed, type Upstream } from '../../src/dns/index.ts';
import type { KeeperLink } from '../../src/keeper/index.ts';
import { openTcpListener, openUdpSocket } from '../../src/kernel/index.ts';
import { afterTest, askRaw, decode, dig, eventually, keeperLab, query, type Lab } from './keeper-lab.ts';

/** What is sent, and after how many milliseconds. */
type Said = readonly (readonly [afterMs: number, message: Buffer])[];

/** While the loop's thread has the question, and when the main thread has it. */
const SOON_MS = 50;
const LATE_MS = 250;
const LATER_MS = 350;

let lab: Lab;
let link: KeeperLink;
beforeEach(async () => {
  lab = await keeperLab();
  link = await lab.open();
});

/** A server of the host, by UDP and TCP, that says to a question what `says` makes of it. Closed after the test. */
function serve(address: string, says: (question: Buffer) => Said): { upstream: Upstream; asked: string[] } {
  const asked: string[] = [];
  const at = { address: address as Address, port: 53 };
  const [udp, tcp] = lab.host.host.run(() => [openUdpSocket(at), openTcpListener(at)] as const);
  const take = (protocol: string, question: Buffer, send: (message: Buffer) => void): void => {
    asked.push(protocol);
    for (const [afterMs, message] of says(question)) setTimeout(() => send(message), afterMs);
  };
  const socket = createSocket('udp4');
  socket.bind({ fd: udp });
  let isOpen = true;
  socket.on('message', (question, { port, address: from }) =>
    take('udp', question, (message) => {
      if (isOpen) socket.send(message, port, from);
    }),
  );
  const connections = new Set<Socket>();
  const server = createServer((connection) => {
    connections.add(connection);
    const reader = new MessageReader(1232);
    connection.on('error', () => {});
    connection.on('data', (chunk) => {
      for (const question of reader.push(chunk) ?? []) {
        take('tcp', Buffer.from(question), (message) => connection.write(framed(message)));
      }
    });
  });
  server.listen({ fd: tcp });
  afterTest(() => {
    isOpen = false;
    socket.close();
    for (const connection of connections) connection.destroy();
    server.close();
  });
  return { upstream: { address: at.address, at: 'host' }, asked };
}

function answered(question: Buffer, data = '192.0.2.1'): Buffer {
  const { id, questions } = packet.decode(question);
  const answers = [{ type: 'A' as const, name: questions[0]!.name, ttl: 30, data }];
  return packet.encode({ type: 'response', id, flags: packet.RECURSION_DESIRED, questions, answers });
}

const good =
  (data: string) =>
  (question: Buffer): Said => [[0, answered(question, data)]];
/** Says in its header that there is an answer, and is cut before its end. */
const cut = (question: Buffer): Said => [[0, answered(question).subarray(0, -6)]];
const refusal = (question: Buffer): Said => [[0, Buffer.from([...question.subarray(0, 2), 0x80, 5, 0, 0, 0, 0, 0, 0, 0, 0])]];
/** Under the same id, an answer to another question. */
const elsewhere = (question: Buffer): Buffer =>
  Buffer.concat([question.subarray(0, 2), answered(query('other.example.com'), '192.0.2.66').subarray(2)]);
const wrongThen =
  (...times: readonly number[]) =>
  (question: Buffer): Said =>
    times.map((ms, i) => [ms, i + 1 < times.length ? elsewhere(question) : answered(question)] as const);

const openDescriptors = (): number => readdirSync(`/proc/${link.pid}/fd`).length;

test.each(['+notcp', '+tcp'])(
  'after a reply that is cut the next upstream answers, and without one it is SERVFAIL: %s',
  async (by) => {
    const servers = [serve('127.0.0.1', cut), serve('127.0.0.2', cut), serve('127.0.0.3', good('192.0.2.53'))];
    const [first, second, third] = servers.map(({ upstream }) => upstream) as [Upstream, Upstream, Upstream];
    const box = await lab.sandbox(link, { upstreams: [first, third] });
    expect(await dig(box, by, 'example.com')).toEqual(['192.0.2.53']);
    // The second one is asked by the main thread in any case.
    await link.sandbox(box.id, { ...box.wish, upstreams: [first, second, third] });
    expect(await dig(box, by, 'example.com')).toEqual(['192.0.2.53']);
    await link.sandbox(box.id, { ...box.wish, upstreams: [first, second] });
    expect(await dig(box, by, 'example.com')).toEqual(['SERVFAIL']);
    expect(servers.map(({ asked }) => asked.length)).toEqual([3, 2, 2]);
  },
);

test('a reply that says that it is cut is passed on, and by TCP the whole one is', async () => {
  let isTcp = false;
  const server = serve('127.0.0.1', (question) => {
    const whole = answered(question);
    if (isTcp) return [[0, whole]];
    isTcp = true;
    whole[2] = (whole[2] ?? 0) | 0x02;
    return [[0, whole.subarray(0, -6)]];
  });
  const box = await lab.sandbox(link, { upstreams: [server.upstream] });
  const reply = await askRaw(box.inside.host, box.ports.udp, query('example.com'), 5000);
  expect([reply?.readUInt16BE(0), (reply?.[2] ?? 0) & 0x02, server.asked]).toEqual([7, 0x02, ['udp']]);
  expect(await dig(box, '+tcp', 'example.com')).toEqual(['192.0.2.1']);
  expect(server.asked).toEqual(['udp', 'tcp']);
});

test.each([
  ['soon after', [0, SOON_MS]],
  ['when the main thread has the question', [0, SOON_MS, LATE_MS]],
  ['after another wrong one there', [0, LATE_MS, LATER_MS]],
])('an answer to another question by UDP is ignored, and the right one passed on: %s', async (_, times) => {
  const server = serve('127.0.0.1', wrongThen(...times));
  const refusing = serve('127.0.0.2', refusal);
  const box = await lab.sandbox(link, { upstreams: [server.upstream] });
  const ask = async (name: string): Promise<unknown> => {
    const reply = await askRaw(box.inside.host, box.ports.udp, query(name), 5000);
    return decode(reply!).answers.map((answer) => [answer.name, answer.data]);
  };
  const before = openDescriptors();
  for (let i = 0; i < 3; i++) expect(await ask(`n${i}.example.com`)).toEqual([[`n${i}.example.com`, '192.0.2.1']]);
  expect(server.asked).toHaveLength(3);
  // As the second one it is asked by the main thread from the start.
  await link.sandbox(box.id, { ...box.wish, upstreams: [refusing.upstream, server.upstream] });
  expect(await ask('second.example.com')).toEqual([['second.example.com', '192.0.2.1']]);
  expect([refusing.asked.length, server.asked.length]).toEqual([1, 4]);
  await eventually(() => (openDescriptors() <= before ? true : undefined), 'descriptors are as before');
});

test('an answer to another question by TCP ends it: the next upstream answers', async () => {
  const wrong = serve('127.0.0.1', (question) => [[0, elsewhere(question)]]);
  const next = serve('127.0.0.2', good('192.0.2.53'));
  const box = await lab.sandbox(link, { upstreams: [wrong.upstream, next.upstream] });
  expect(await dig(box, '+tcp', 'example.com')).toEqual(['192.0.2.53']);
  await link.sandbox(box.id, { ...box.wish, upstreams: [wrong.upstream] });
  expect(await dig(box, '+tcp', 'example.com')).toEqual(['SERVFAIL']);
});

test('one that answers nothing but another question, a few times or without end, leaves the word to the next one', async () => {
  let count = 1;
  const wrong = serve('127.0.0.1', (question) => Array.from({ length: count }, () => [0, elsewhere(question)] as const));
  const next = serve('127.0.0.2', good('192.0.2.53'));
  const box = await lab.sandbox(link, { upstreams: [wrong.upstream, next.upstream] });
  const before = openDescriptors();
  for (count of [1, 70, 500]) expect(await dig(box, `n${count}.example.com`)).toEqual(['192.0.2.53']);
  await eventually(() => (openDescriptors() <= before ? true : undefined), 'descriptors are as before');
});
