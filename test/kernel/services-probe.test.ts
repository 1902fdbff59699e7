/** Looks at members: each ends in its time, whatever the member does, and leaves nothing running. */

import { type AddressInfo, createServer } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import type { HealthCheck } from '../../src/cnm/records.ts';
import { probe } from '../../src/cnm/services/probe.ts';
import { type TestHost, testHosts } from './support.ts';

const LOOPBACK = '127.0.0.1' as Address;
const SOON = { timeout: 20_000, interval: 20 };
const open: { kill(signal: 'SIGKILL'): boolean }[] = [];
afterEach(() => open.splice(0).forEach((child) => child.kill('SIGKILL')));

const check = (asked: HealthCheck['probe'], timeoutMs = 10_000): HealthCheck => ({
  probe: asked,
  timeoutMs,
  intervalMs: 1000,
  retries: 1,
  startPeriodMs: 0,
});
const command = (text: string): HealthCheck['probe'] => ({ kind: 'command', command: text });

async function place(): Promise<TestHost> {
  const [host] = await testHosts(1);
  if (host === undefined) throw new Error('no host');
  await host.exec('ip', ['link', 'set', 'lo', 'up']);
  return host;
}

const look = (host: TestHost, wish: HealthCheck, signal = new AbortController().signal) =>
  probe(host.host, LOOPBACK, wish, signal);

/** Serves on a port of the namespace what `code` says, of `socket`; resolves when it listens. */
async function serve(host: TestHost, code: string): Promise<number> {
  const source = `require('net').createServer((socket) => { socket.on('error', () => {}); ${code} }).listen(8080, '127.0.0.1')`;
  const child = host.exec(process.execPath, ['-e', source], { reject: false });
  open.push(child);
  await expect.poll(async () => (await host.exec('ss', ['-Hltn'])).stdout, SOON).toContain(':8080');
  return 8080;
}

test('a command that ends with 0 is well, another says how it ended; both see the namespace', async () => {
  const host = await place();
  expect(await look(host, check(command('ip link show lo | grep -q UP')))).toBeUndefined();
  expect(await look(host, check(command('test -e /proc/self/ns/net && exit 3')))).toBe('the command ended with 3');
  const inside = (await host.exec('readlink', ['/proc/self/ns/net'])).stdout;
  expect(await look(host, check(command(`test "$(readlink /proc/self/ns/net)" = "${inside}"`)))).toBeUndefined();
  // Much of what nobody reads.
  expect(await look(host, check(command('head -c 1000000 /dev/zero')))).toBeUndefined();
});

test('one that hangs, with all that it has started, ends with its time', async () => {
  const host = await place();
  const mark = `31${Math.floor(Math.random() * 1e6)}`;
  const running = async (): Promise<string> => (await host.exec('pgrep', ['-f', `sleep ${mark}`], { reject: false })).stdout;
  expect(await look(host, check(command(`sleep ${mark} || exit 1`), 300))).toBe('no answer within 300 ms');
  await expect.poll(running, SOON).toBe('');
  expect(await look(host, check(command(`trap '' TERM; sleep ${mark}; true`), 300))).toBe('no answer within 300 ms');
  await expect.poll(running, SOON).toBe('');
  const stop = new AbortController();
  const looking = look(host, check(command(`sleep ${mark}; true`)), stop.signal);
  stop.abort();
  expect(await looking).toContain('no answer');
  await expect.poll(running, SOON).toBe('');
});

test.each([
  ['200', 'socket.end("HTTP/1.1 204 No Content\\r\\n\\r\\n")', undefined],
  ['503', 'socket.end("HTTP/1.1 503 No\\r\\n\\r\\n")', 'HTTP status 503'],
  [
    'an upgrade',
    'socket.write("HTTP/1.1 101 X\\r\\nConnection: upgrade\\r\\nUpgrade: x\\r\\n\\r\\n")',
    'it closed the connection without an answer',
  ],
  ['an end', 'socket.end()', /hang up|closed/],
  ['garbage', 'socket.end("no\\r\\n\\r\\n")', /Parse Error|Expected HTTP/],
  [
    'news before the answer, without end',
    'const news = "HTTP/1.1 103 Early Hints\\r\\n\\r\\n".repeat(1000); const go = () => { while (!socket.destroyed && socket.write(news)); }; socket.on("drain", go); go()',
    'it says much before its answer',
  ],
  [
    'some news before the answer',
    'socket.end("HTTP/1.1 100 Continue\\r\\n\\r\\nHTTP/1.1 103 Early Hints\\r\\n\\r\\nHTTP/1.1 200 OK\\r\\n\\r\\n")',
    undefined,
  ],
  ['silence', '', 'no answer within 500 ms'],
  ['half an answer', 'socket.write("HTTP/1.1 2")', 'no answer within 500 ms'],
])('HTTP: %s', async (_what, code, wanted) => {
  const host = await place();
  const port = await serve(host, code);
  const found = await look(host, check({ kind: 'http', port, path: '/' }, 500));
  if (wanted instanceof RegExp) expect(found).toMatch(wanted);
  else expect(found).toBe(wanted);
});

test('TCP: a port that takes connections is well, and one of this machine’s own is not asked', async () => {
  const host = await place();
  const outside = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => outside.once('listening', resolve));
  const { port } = outside.address() as AddressInfo;
  expect(await look(host, check({ kind: 'tcp', port }))).toContain('ECONNREFUSED');
  outside.close();
  await serve(host, '');
  expect(await look(host, check({ kind: 'tcp', port: 8080 }))).toBeUndefined();
});
