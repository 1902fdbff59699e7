/** One client cannot take the daemon from the others: slow, large, many and endless requests have bounds. */

import { readdirSync } from 'node:fs';
import { type Socket, connect } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { ask } from './bad-input/asking.ts';
import { Lab, waitUntil } from './lab.ts';

/** Far more than any of the daemon's own times, milliseconds. */
const PATIENCE_MS = 60_000;

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', '--subnet', '10.9.0.0/24', 'net');
  await lab.ok('sandbox', 'create', 'box');
});
afterAll(async () => {
  await lab.close();
});

const open: Peer[] = [];
afterEach(() => {
  for (const peer of open.splice(0)) peer.socket.destroy();
});

interface Peer {
  readonly socket: Socket;
  text: string;
  isEnded: boolean;
}

/** A connection that sends what it is told, octet by octet if need be. */
function peer(first?: string): Peer {
  const made: Peer = { socket: connect(lab.socket), text: '', isEnded: false };
  made.socket.on('data', (chunk: Buffer) => (made.text += chunk.toString()));
  made.socket.on('error', () => {});
  made.socket.on('close', () => (made.isEnded = true));
  if (first !== undefined) made.socket.write(first);
  open.push(made);
  return made;
}

const answers = async (): Promise<number> => (await ask(lab.socket, { method: 'GET', path: '/_ping' })).status;
const descriptors = (): number => readdirSync(`/proc/${lab.daemon?.pid}/fd`).length;

test('headers that do not come to an end are cut off, and others are served meanwhile', async () => {
  const slow = Array.from({ length: 50 }, (_, i) => peer(i % 2 === 0 ? 'GET /networks HTTP/1.1\r\nHost: x\r\n' : 'GE'));
  const drip = setInterval(() => {
    for (const { socket } of slow) if (socket.writable) socket.write('X');
  }, 500);
  try {
    expect(await answers()).toBe(200);
    await waitUntil(() => slow.every(({ isEnded }) => isEnded), PATIENCE_MS);
  } finally {
    clearInterval(drip);
  }
  for (const { text } of slow.filter((_, i) => i % 2 === 0)) expect(text).toMatch(/^HTTP\/1\.1 408 [^]*did not come in time/);
  expect(await answers()).toBe(200);
}, 90_000);

test('too long a header, too large a body, chunks beyond the limit, and noise are refused', async () => {
  const head = 'POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';
  const cases: [string, RegExp][] = [
    [`GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`, /^HTTP\/1\.1 431 /],
    [`GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, /^HTTP\/1\.1 431 /],
    [`${head}Content-Length: 99999999999999999999\r\n\r\n`, /^HTTP\/1\.1 400 /],
    [`${head}Content-Length: -1\r\n\r\n`, /^HTTP\/1\.1 400 /],
    [`${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde`, /^HTTP\/1\.1 400 /],
    [`${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, /^HTTP\/1\.1 400 /],
    [`${head}Transfer-Encoding: chunked\r\n\r\nZZ\r\n`, /^HTTP\/1\.1 400 /],
    [`${head}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`, /^HTTP\/1\.1 400 /],
    ['GET / HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 400 /],
    ['GET / HTTP/9.9\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 400 /],
    ['\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001', /^HTTP\/1\.1 400 /],
    ['\r\nNOISE\u0000\u0001\r\n\r\n', /^HTTP\/1\.1 400 /],
    [`${head}Content-Length: 5000000\r\n\r\n`, /^HTTP\/1\.1 413 [^]*4 MiB/],
  ];
  for (const [sent, wanted] of cases) {
    const one = peer(sent);
    await waitUntil(() => one.isEnded || wanted.test(one.text), PATIENCE_MS);
    expect(one.text, JSON.stringify(sent.slice(0, 80))).toMatch(wanted);
  }
  // An endless body in chunks: the answer comes without its end.
  const endless = peer(`${head}Transfer-Encoding: chunked\r\n\r\n`);
  const chunk = `10000\r\n${' '.repeat(0x10000)}\r\n`;
  await waitUntil(() => {
    if (endless.socket.writable && !endless.socket.writableNeedDrain) endless.socket.write(chunk);
    return endless.isEnded || endless.text.startsWith('HTTP/1.1 413 ');
  }, PATIENCE_MS);
  expect((await lab.api<unknown[]>('GET', '/networks')).json).toHaveLength(4);
});

test('connections beyond the limit are closed, and the places of those that end are free again', async () => {
  const before = descriptors();
  const crowd = Array.from({ length: 1200 }, () => peer());
  await waitUntil(() => crowd.filter(({ isEnded }) => isEnded).length >= 1200 - 1024, PATIENCE_MS);
  expect(descriptors()).toBeLessThan(before + 1100);
  for (const { socket } of crowd) socket.destroy();
  await waitUntil(async () => (await answers().catch(() => 0)) === 200, PATIENCE_MS);
  await waitUntil(() => descriptors() <= before + 5, PATIENCE_MS);
}, 90_000);

test('idle connections beyond the limit make room for newcomers, those in use stay', async () => {
  const ping = 'GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n';
  const stream = peer('GET /events HTTP/1.1\r\nHost: x\r\n\r\n');
  await waitUntil(() => stream.text.includes('\r\n\r\n'), PATIENCE_MS);
  const oldest = peer(ping);
  await waitUntil(() => oldest.text.endsWith('OK'), PATIENCE_MS);
  const crowd: Peer[] = [];
  // In parts, since the queue of the socket has a limit too.
  while (crowd.length < 1022) {
    const part = Array.from({ length: Math.min(100, 1022 - crowd.length) }, () => peer(ping));
    await waitUntil(() => part.every(({ text, isEnded }) => isEnded || text.endsWith('OK')), PATIENCE_MS);
    crowd.push(...part);
  }
  const [begun] = crowd;
  if (begun === undefined) throw new Error('no crowd');
  begun.socket.write('GET /_ping HTTP/1.1\r\n');
  expect([stream, oldest, ...crowd].filter(({ isEnded }) => isEnded)).toEqual([]);

  // All places are taken: each newcomer is served, and the connection that was idle longest goes.
  for (let i = 0; i < 3; i++) {
    const newcomer = peer(ping);
    await waitUntil(() => newcomer.isEnded || newcomer.text.endsWith('OK'), PATIENCE_MS);
    expect(newcomer.text).toMatch(/^HTTP\/1\.1 200 /);
  }
  await waitUntil(() => oldest.isEnded, PATIENCE_MS);
  await waitUntil(() => crowd[2]?.isEnded === true, PATIENCE_MS);
  expect(crowd.flatMap(({ isEnded }, i) => (isEnded ? [i] : []))).toEqual([1, 2]);
  begun.socket.write('Host: x\r\n\r\n');
  await waitUntil(() => begun.text.split('HTTP/1.1 200').length === 3, PATIENCE_MS);
  await lab.ok('create', 'seen');
  await waitUntil(() => stream.text.includes('"seen"'), PATIENCE_MS);
  await lab.ok('rm', 'seen');
}, 90_000);

test('requests beyond the limit are told to come again, the others are served', async () => {
  // The first one succeeds, and the others wait for it: what is refused at once would never be many at a time.
  const body = JSON.stringify({ Container: 'box' });
  const head = 'POST /networks/net/connect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';
  const request = `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
  const { pid } = lab.daemon ?? {};
  if (pid === undefined) throw new Error('no daemon');
  const crowd: Peer[] = [];
  // In parts: the queue of the socket has a limit too. A first answer each, since who asks nothing is soon cut off.
  while (crowd.length < 900) {
    crowd.push(...Array.from({ length: 100 }, () => peer('GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n')));
    await waitUntil(() => crowd.every(({ text }) => text.endsWith('OK')), PATIENCE_MS);
  }
  for (const one of crowd) one.text = '';
  // All requests are there when the daemon goes on: it takes them in one go.
  process.kill(pid, 'SIGSTOP');
  try {
    await Promise.all(crowd.map(({ socket }) => new Promise((resolve) => socket.write(request, resolve))));
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  const isAnswered = ({ text }: Peer): boolean => text.endsWith('}\n') || /^HTTP\/1\.1 200 [^]*\r\n\r\n/.test(text);
  await waitUntil(() => crowd.every(isAnswered), PATIENCE_MS);
  const statuses = crowd.map(({ text }) => /^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
  expect(new Set(statuses)).toEqual(new Set(['200', '403', '503']));
  expect(crowd.find(({ text }) => text.includes(' 503 '))?.text).toContain('"code":"too_busy"');
  expect(statuses.filter((status) => status !== '503').length).toBeGreaterThanOrEqual(512);
  expect(await answers()).toBe(200);
}, 90_000);

test('a hundred requests in one go on one connection are answered in their order', async () => {
  const one = peer(Array.from({ length: 100 }, (_, i) => `GET /networks/none-${i} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
  await waitUntil(() => one.text.split('HTTP/1.1 404').length === 101, PATIENCE_MS);
  const order = [...one.text.matchAll(/network none-(\d+) not found/g)].map(([, i]) => Number(i));
  expect(order).toEqual(Array.from({ length: 100 }, (_, i) => i));
});

test('a filter made to be slow is not, for every pattern a regular expression would choke on', async () => {
  await lab.ok('create', `${'a'.repeat(200)}!`);
  const patterns = [
    '(a+)+$',
    '(a|a)*b',
    '^(a|aa)+$',
    `${'a?'.repeat(60)}${'a'.repeat(60)}`,
    `${'.*'.repeat(500)}b`,
    '(.*)*x',
    '[a-z]+*$',
    `${'.*a'.repeat(300)}$`,
  ];
  for (const pattern of patterns) {
    const filters = encodeURIComponent(JSON.stringify({ name: Array.from({ length: 100 }, () => pattern.slice(0, 1024)) }));
    expect((await ask(lab.socket, { method: 'GET', path: `/networks?filters=${filters}` })).status, pattern).toBeLessThan(500);
  }
  expect(await answers()).toBe(200);
}, 90_000);
