/** The stream of events: our own command, the stock docker client, times, filters, and clients that do not read. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { DIST, Lab, waitUntil } from './lab.ts';

const UNPACKED = '/var/cache/patchbay-test/docker/usr/bin/docker';

interface EventJson {
  readonly Type: string;
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Record<string, string> };
  readonly scope: string;
  readonly time: number;
  readonly timeNano: number;
}

// Dozens of commands a test, each a process: a busy machine needs its time.
vi.setConfig({ testTimeout: 180_000 });

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(async () => {
  await lab.close();
});

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** Follows; resolves when the daemon has answered the head, which a first event of our own proves. */
async function following(...flags: string[]): Promise<{ readonly lines: string[]; readonly child: ChildProcess }> {
  const child = spawn(lab.node, [join(DIST, 'network.js'), '--host', `unix://${lab.socket}`, 'events', ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const follower = { lines: [] as string[], child };
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    const whole = text.split('\n');
    text = whole.pop() ?? '';
    follower.lines.push(...whole);
  });
  // A prune of nothing is an event too.
  await waitUntil(async () => {
    await lab.ok('prune', '-f', '--filter', 'label=none');
    return follower.lines.length > 0;
  }, 20_000);
  return follower;
}

const names = (lines: readonly string[]): string[] =>
  lines
    .map((line) => JSON.parse(line) as EventJson)
    .filter((e) => e.Action !== 'prune')
    .map((e) => `${e.Type} ${e.Action}`);

test('a life of network, sandbox and endpoint is told in order, in the form of the engine', async () => {
  const { lines } = await following('--format', 'json');
  const net = await lab.ok('create', 'net');
  const box = await lab.ok('sandbox', 'create', '--network', 'net', '--label', 'who=me', 'box');
  await lab.ok('disconnect', 'net', 'box');
  await lab.ok('sandbox', 'rm', 'box');
  await lab.ok('rm', 'net');
  const wanted = [
    'network create',
    'endpoint create',
    'endpoint join',
    'network connect',
    'sandbox create',
    'endpoint leave',
    'network disconnect',
    'endpoint destroy',
    'sandbox destroy',
    'network destroy',
  ];
  await waitUntil(() => names(lines).length >= wanted.length, 10_000);
  expect(names(lines)).toEqual(wanted);
  const connected = JSON.parse(lines.find((line) => line.includes('"connect"')) ?? '') as EventJson;
  expect(connected).toEqual({
    Type: 'network',
    Action: 'connect',
    Actor: { ID: net, Attributes: { container: box, name: 'net', type: 'bridge' } },
    scope: 'local',
    time: expect.any(Number),
    timeNano: expect.any(Number),
  });
  expect(Math.trunc(connected.timeNano / 1e9)).toBe(connected.time);
  expect(lines.find((line) => line.includes('"sandbox","Action":"create"'))).toContain('"who":"me"');
});

test('a label is told in its line, and does nothing to the terminal', async () => {
  await lab.ok('sandbox', 'create', '--network', 'none', '--label', 'a=)\n2026 sandbox destroy \u001b[31m', 'labelled');
  const told = await lab.ok('events', '--since', '1h', '--until', '0s', '--filter', 'type=sandbox', '--filter', 'event=create');
  const line = told.split('\n').find((one) => one.includes('labelled'));
  expect(line).toMatch(/ sandbox create [0-9a-f]{64} \(a=\)\\n2026 sandbox destroy \\u\{1b\}\[31m, name=labelled\)$/);
  await lab.ok('sandbox', 'rm', 'labelled');
});

test('a process that starts and ends is told', async () => {
  const { lines } = await following('--format', 'json');
  expect((await lab.cli('run', '--name', 'short', '--', 'true')).exitCode).toBe(0);
  await waitUntil(() => names(lines).includes('sandbox die'), 10_000);
  expect(names(lines).filter((name) => name.startsWith('sandbox'))).toEqual(['sandbox create', 'sandbox start', 'sandbox die']);
  await lab.ok('sandbox', 'rm', 'short');
});

test('since and until show what was, and end at once', async () => {
  await lab.ok('create', 'past');
  await lab.ok('rm', 'past');
  const until = ['--until', '0s'];
  const lines = await lab.ok('events', '--since', '10m', ...until, '--filter', 'network=past');
  const form =
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d) network (create|destroy) [0-9a-f]{64} \(name=past, type=bridge\)$/;
  expect(lines.split('\n')).toEqual([expect.stringMatching(form), expect.stringMatching(form)]);
  const template = '{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.TimeNano}}';
  const formatted = await lab.ok(
    'events',
    ...until,
    '--filter',
    'network=past',
    '--filter',
    'event=destroy',
    '--format',
    template,
  );
  expect(formatted).toMatch(/^network destroy past \d{19}$/);
  const nanos = formatted.split(' ').at(-1) ?? '';
  const exactly = `${nanos.slice(0, -9)}.${nanos.slice(-9)}`;
  expect((await lab.ok('events', '--since', exactly, ...until, '--filter', 'network=past')).split('\n')).toHaveLength(1);
  expect(await lab.ok('events', '--since', '10m', ...until, '--filter', 'network=nobody')).toBe('');
});

test('a time as events are printed with holds exactly, and a whole event by a template is what json prints', async () => {
  await lab.ok('sandbox', 'create', '--network', 'bridge', 'timed');
  const about = [
    '--filter',
    'event=connect',
    '--filter',
    `container=${await lab.ok('sandbox', 'inspect', '-f', '{{.ID}}', 'timed')}`,
  ];
  const line = await lab.ok('events', '--until', '0s', ...about);
  const [time = ''] = line.split(' ');
  expect(time).toMatch(/\.\d{6}00[1-9]/);
  expect(await lab.ok('events', '--until', time, ...about)).toBe(line);
  expect(await lab.ok('events', '--since', time, '--until', '0s', ...about)).toBe(line);
  const whole = await lab.ok('events', '--until', '0s', ...about, '--format', '{{json .}}');
  expect(whole).toBe(await lab.ok('events', '--until', '0s', ...about, '--format', 'json'));
  await lab.ok('sandbox', 'rm', 'timed');
});

test('a sandbox is found by its name as by its id, in what happens to its endpoints too, and when it is gone', async () => {
  await lab.ok('create', 'named');
  const id = await lab.ok('sandbox', 'create', '--network', 'named', 'whose');
  await lab.ok('endpoint', 'create', 'bridge', 'its');
  await lab.ok('endpoint', 'join', 'its', 'whose');
  await lab.ok('endpoint', 'leave', 'its');
  await lab.ok('sandbox', 'rm', 'whose');
  const about = (filter: string): Promise<string> => lab.ok('events', '--until', '0s', '--filter', filter, '--format', 'json');
  const all = await about(`sandbox=${id}`);
  const inAndOut = ['join', 'connect', 'leave', 'disconnect'];
  const actions = all.split('\n').map((line) => (JSON.parse(line) as { Action: string }).Action);
  expect(actions).toEqual(['join', 'connect', 'create', ...inAndOut, 'leave', 'disconnect', 'destroy']);
  expect([await about('sandbox=whose'), await about('container=whose')]).toEqual([all, all]);
  await lab.ok('endpoint', 'rm', 'its');
  await lab.ok('rm', 'named');
});

test('the time 0 is the beginning of 1970', async () => {
  const filters = `filters=${encodeURIComponent('{"network":["past"]}')}`;
  expect(await lab.api('GET', `/events?until=0&${filters}`)).toMatchObject({ status: 200, json: undefined });
  expect((await lab.ok('events', '--since', '0', '--until', '0s', '--filter', 'network=past')).split('\n')).toHaveLength(2);
});

test('a time to come ends the stream', async () => {
  const until = String(Math.floor(Date.now() / 1000) + 2);
  const { status, json } = await lab.api('GET', `/events?until=${until}&filters=${encodeURIComponent('{"network":["nobody"]}')}`);
  expect([status, json]).toEqual([200, undefined]);
});

test.each([
  ['since=2000000000&until=1000000000', 'bad_request'],
  ['since=yesterday', 'bad_filter'],
  [`until=${'9'.repeat(400)}`, 'bad_filter'],
  [`filters=${encodeURIComponent('{"colour":["red"]}')}`, 'bad_filter'],
])('GET /events?%s is refused', async (query, code) => {
  expect(await lab.api('GET', `/events?${query}`)).toMatchObject({ status: 400, json: { code } });
});

test('the stock docker client reads them, from the past and while they happen', async () => {
  const binary = existsSync(UNPACKED) ? UNPACKED : 'docker';
  const env = { DOCKER_HOST: `unix://${lab.socket}`, HOME: lab.folder };
  const since = new Date(Date.now() - 600_000).toISOString();
  const child = spawn(binary, ['events', '--since', since, '--filter', 'network=dnet', '--format', '{{.Type}} {{.Action}}'], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await lab.ok('create', 'dnet');
  await waitUntil(() => text.includes('network create'), 20_000);
  await lab.ok('rm', 'dnet');
  await waitUntil(() => text.includes('network destroy'), 20_000);
  expect(text).toBe('network create\nnetwork destroy\n');
  const now = new Date().toISOString();
  const past = await execa(binary, ['events', '--since', since, '--until', now, '--filter', 'network=dnet'], { env });
  expect(past.stdout.split('\n')).toEqual([
    expect.stringMatching(/ network create [0-9a-f]{64} \(name=dnet, type=bridge\)$/),
    expect.stringMatching(/ network destroy [0-9a-f]{64} \(name=dnet, type=bridge\)$/),
  ]);
});

test('a client that does not read is told and sent away, and no other client misses anything', { timeout: 180_000 }, async () => {
  const reader = await following('--format', '{{.Type}} {{.Action}}');
  const socket = connect(lab.socket, () => socket.write('GET /events HTTP/1.0\r\nHost: x\r\n\r\n'));
  let text = '';
  await new Promise<void>((resolve) => socket.once('data', () => resolve()));
  socket.pause();
  const Labels = { big: 'x'.repeat(100_000) };
  let made = 0;
  const overflow = '"Type":"daemon","Action":"overflow"';
  // More than what the kernel and the daemon keep for it.
  for (; made < 16; made++) {
    expect((await lab.api('POST', '/sandboxes/create', { Name: `big${made}`, Labels })).status).toBe(201);
    expect((await lab.api('DELETE', `/sandboxes/big${made}`)).status).toBe(204);
  }
  socket.on('data', (chunk) => (text += chunk.toString()));
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.resume();
  await ended;
  expect(text.trimEnd().split('\n').at(-1)).toContain(overflow);
  expect(text.split('"sandbox","Action":"create"').length - 1).toBeLessThan(made);
  await waitUntil(() => reader.lines.filter((line) => line === 'sandbox destroy').length === made, 20_000);
  expect(reader.lines.filter((line) => line === 'sandbox create')).toHaveLength(made);
});

test('followers are bounded, and one that goes away makes room', { timeout: 180_000 }, async () => {
  const sockets = Array.from({ length: 101 }, () => connect(lab.socket));
  try {
    const heads = sockets.map(
      (socket) => new Promise<string>((resolve) => socket.once('data', (chunk) => resolve(chunk.toString().slice(9, 12)))),
    );
    for (const socket of sockets) socket.write('GET /events HTTP/1.0\r\nHost: x\r\n\r\n');
    const statuses = await Promise.all(heads);
    expect(new Set(statuses)).toEqual(new Set(['200', '503']));
    expect(statuses.filter((status) => status === '200').length).toBeLessThanOrEqual(100);
    sockets[statuses.indexOf('200')]?.destroy();
    await waitUntil(async () => (await lab.api('GET', '/events?until=1')).status === 200, 10_000);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
});

test('the end of the daemon ends the streams, and does not wait for them', async () => {
  const { child } = await following();
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  await lab.stop('SIGTERM');
  expect(await ended).not.toBeNull();
  await lab.start();
});
