/**
 * The keeper and the daemon die at once: how long names and held ports are away, and what becomes of a port that another process
 * took meanwhile.
 */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { errnoOf, type Address, type EndpointJson, type NetworkJson, type SandboxAnswer } from '../../src/base/index.ts';
import { libc, openNetns, openTcpListener, type Netns } from '../../src/kernel/index.ts';
import { LOG, Lab, WIRE, waitUntil } from '../e2e/lab.ts';
import { FakeManager } from '../kernel/fake-manager.ts';
import { askRaw, decode, query } from '../kernel/keeper-lab.ts';
import { ask } from './client.ts';
import { stateOf, untruths } from './truth.ts';

vi.setConfig({ testTimeout: 180_000 });

/** Deaths that are measured. */
const ROUNDS = 6;
/** What is worth a failure on the slowest machine; the figure is printed. Milliseconds. */
const BACK_MS = 5000;
/** Wait for anything else, milliseconds. */
const SETTLE_MS = 30_000;

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Scene {
  readonly lab: Lab;
  readonly host: Netns;
  readonly inside: Netns;
  /** The address of the sandbox `web`. */
  readonly address: string;
}

const WILD = '0.0.0.0' as Address;

/** Two sandboxes on one network; `web` has host ports 8080 and, by UDP, 8081. */
async function scene(): Promise<Scene> {
  const lab = await Lab.open();
  closers.push(() => lab.close());
  expect((await ask(lab, 'POST', '/networks/create', { Name: 'net' })).status).toBe(201);
  const ports = { '80/tcp': [{ HostPort: '8080' }], '81/udp': [{ HostPort: '8081' }] };
  for (const [Name, PortBindings] of [
    ['web', ports],
    ['asker', {}],
  ] as const)
    expect((await ask(lab, 'POST', '/sandboxes/create', { Name, Networks: { net: {} }, PortBindings })).status).toBe(201);
  const [web, asker] = (await stateOf(lab)).sandboxes;
  const host = openNetns(`/run/netns/${lab.host}`);
  const inside = openNetns(asker?.Netns ?? '');
  closers.push(() => {
    host[Symbol.dispose]();
    inside[Symbol.dispose]();
  });
  return { lab, host, inside, address: web?.Networks['net']?.IPAddress ?? '' };
}

/** Listens there, or answers undefined where the port is taken. */
function listening(host: Netns, port: number): number | undefined {
  try {
    return host.run(() => openTcpListener({ address: WILD, port }));
  } catch (error) {
    if (errnoOf(error) !== 'EADDRINUSE') throw error;
    return undefined;
  }
}

function isHeld(host: Netns, port: number): boolean {
  const found = listening(host, port);
  if (found !== undefined) libc.close(found);
  return found === undefined;
}

const resolves = async ({ inside, address }: Scene): Promise<boolean> => {
  const reply = await askRaw(inside, 53, query('web'), 50);
  return reply !== undefined && decode(reply).answers[0]?.data === address;
};

/** Milliseconds until the name resolves and both ports are held. */
async function untilBack(all: Scene, since: number, withinMs = BACK_MS): Promise<number> {
  await waitUntil(async () => isHeld(all.host, 8080) && (await resolves(all)), withinMs);
  return performance.now() - since;
}

const keeperLog = (lab: Lab): string => join(lab.runDir, 'keeper', 'log');

async function killBoth(lab: Lab): Promise<void> {
  const { keeper } = await lab.keeperProcesses();
  const gone = lab.stop('SIGKILL');
  process.kill(keeper, 'SIGKILL');
  await gone;
}

test('killed together with the daemon, which stays away, the keeper is back with names and ports', async () => {
  const all = await scene();
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await killBoth(all.lab);
    times.push(await untilBack(all, performance.now()));
    all.lab.log = '';
    await all.lab.start();
    expect(all.lab.log).not.toContain('"level":50');
  }
  console.log(`keeper and daemon killed: back after ${times.map(Math.round).join(', ')} ms`);
  expect(await untruths(all.lab)).toEqual([]);
});

test('killed together with its supervisor, also while it starts, the keeper is back soon while a daemon runs', async () => {
  const all = await scene();
  const times: number[] = [];
  const strike = async (order: 'keeper first' | 'supervisor first'): Promise<void> => {
    const { keeper, supervisor } = await all.lab.keeperProcesses();
    for (const pid of order === 'keeper first' ? [keeper, supervisor] : [supervisor, keeper]) process.kill(pid, 'SIGKILL');
  };
  for (let round = 0; round < ROUNDS; round++) {
    await strike(round % 2 === 0 ? 'keeper first' : 'supervisor first');
    // Those that the daemon has just started.
    if (round % 3 === 2) await strike('supervisor first');
    times.push(await untilBack(all, performance.now()));
  }
  console.log(`keeper and supervisor killed: back after ${times.map(Math.round).join(', ')} ms`);
  // The last one has a supervisor again, which is enough without a daemon.
  const { keeper } = await all.lab.keeperProcesses();
  await all.lab.stop('SIGKILL');
  process.kill(keeper, 'SIGKILL');
  await untilBack(all, performance.now());
  await all.lab.start();
  expect(await untruths(all.lab)).toEqual([]);
});

test('a keeper whose supervisor is killed while it starts has another one soon', async () => {
  const all = await scene();
  for (let round = 0; round < ROUNDS; round++) {
    const before = await all.lab.keeperProcesses();
    process.kill(before.keeper, 'SIGKILL');
    await waitUntil(async () => (await all.lab.keeperProcesses()).keeper !== before.keeper, SETTLE_MS);
    process.kill(before.supervisor, 'SIGKILL');
    await untilBack(all, performance.now(), SETTLE_MS);
    const after = await all.lab.keeperProcesses();
    expect(after.supervisor).not.toBe(before.supervisor);
  }
});

test('where a service manager keeps its sockets, no port is free for a moment, and the daemon works with that keeper', async () => {
  const all = await scene();
  const manager = new FakeManager({ runDir: all.lab.runDir, host: { path: `/run/netns/${all.lab.host}` } });
  closers.push(() => void (manager.restarts = false));
  await manager.start();
  await waitUntil(() => manager.store.size >= 6, SETTLE_MS);
  for (let round = 0; round < 3; round++) {
    const before = manager.pid ?? 0;
    const gone = all.lab.stop('SIGKILL');
    process.kill(before, 'SIGKILL');
    await waitUntil(async () => {
      expect(isHeld(all.host, 8080)).toBe(true);
      return manager.pid !== before && (await resolves(all));
    }, SETTLE_MS);
    await gone;
    all.lab.log = '';
    await all.lab.start();
    expect(all.lab.log).not.toMatch(/"level":50|keeper is started/);
    expect(await untruths(all.lab)).toEqual([]);
  }
  await all.lab.ok('sandbox', 'rm', 'web');
  await all.lab.ok('sandbox', 'rm', 'asker');
  await waitUntil(() => manager.store.size === 0, SETTLE_MS);
  expect(isHeld(all.host, 8080)).toBe(false);
});

/** Kills the keeper, and whatever `also` does with it, and takes its TCP port before it is back. Answers the thief's socket. */
async function rob({ lab, host }: Scene, also: () => Promise<void>): Promise<number> {
  const { keeper, supervisor } = await lab.keeperProcesses();
  process.kill(supervisor, 'SIGSTOP');
  let thief: number | undefined;
  try {
    process.kill(keeper, 'SIGKILL');
    await also();
    await waitUntil(() => (thief = listening(host, 8080)) !== undefined, SETTLE_MS);
  } finally {
    process.kill(supervisor, 'SIGCONT');
  }
  if (thief === undefined) throw new Error('the port was not free');
  const fd = thief;
  closers.push(() => libc.close(fd));
  return fd;
}

/** A web server on port 80 of the namespace. */
async function serve(path: string): Promise<void> {
  const netns = openNetns(path);
  const server = createServer((_, answer) => answer.end('web'));
  server.listen({ fd: netns.run(() => openTcpListener({ address: WILD, port: 80 })) });
  netns[Symbol.dispose]();
  await once(server, 'listening');
  closers.push(() => {
    server.close();
    server.closeAllConnections();
  });
}

const CONFLICT = 'host port 0.0.0.0:8080/tcp is not held: another process has it';

async function told(lab: Lab, action: string): Promise<string> {
  return await lab.ok('events', '--since', '1h', '--until', '0s', '--filter', `event=${action}`, '--format', '{{json .}}');
}

/** All that people and programs see of `web` and of its network. */
async function seen(lab: Lab) {
  const get = async <T>(...words: string[]): Promise<T> => (JSON.parse(await lab.ok(...words)) as T[])[0] as T;
  const port = await lab.cli('port', 'web', '80');
  return {
    port: [port.stdout.split('\n')[0], port.stderr.trim()],
    listed: (await lab.ok('sandbox', 'ls', '--filter', 'name=web', '--format', '{{.Ports}}')).split(', ')[0],
    binding: (await get<SandboxAnswer>('sandbox', 'inspect', 'web')).Ports['80/tcp']?.find(({ HostIp }) => HostIp === WILD),
    sandbox: (await get<SandboxAnswer>('sandbox', 'inspect', 'web')).Degraded,
    endpoint: (await get<EndpointJson>('endpoint', 'inspect', 'net/web')).Degraded,
    network: (await get<NetworkJson>('inspect', 'net')).Degraded,
    other: (await get<SandboxAnswer>('sandbox', 'inspect', 'asker')).Degraded,
  };
}

const ROBBED = {
  port: ['0.0.0.0:8080', `WARNING: ${CONFLICT}`],
  listed: '0.0.0.0:8080->80/tcp (conflict)',
  binding: { HostIp: WILD, HostPort: '8080', Conflict: CONFLICT },
  sandbox: CONFLICT,
  endpoint: CONFLICT,
  network: `sandbox web: ${CONFLICT}`,
  other: undefined,
};
const WELL = {
  port: ['0.0.0.0:8080', ''],
  listed: '0.0.0.0:8080->80/tcp',
  binding: { HostIp: WILD, HostPort: '8080' },
  sandbox: undefined,
  endpoint: undefined,
  network: undefined,
  other: undefined,
};

async function regained(all: Scene, thief: number): Promise<void> {
  libc.close(thief);
  await waitUntil(async () => (await seen(all.lab)).sandbox === undefined, SETTLE_MS);
  expect(await seen(all.lab)).toEqual(WELL);
  expect(isHeld(all.host, 8080)).toBe(true);
  expect(JSON.parse(await told(all.lab, 'port-regained'))).toMatchObject({
    Type: 'sandbox',
    Actor: { Attributes: { name: 'web', hostPort: '0.0.0.0:8080/tcp' } },
  });
  await expect.poll(() => all.lab.log, LOG).toContain('a published host port is held again');
  expect(await untruths(all.lab)).toEqual([]);
}

test('a host port taken while both were dead is said, shown and tried for until it is free, over further deaths', async () => {
  const all = await scene();
  const { lab } = all;
  const thief = await rob(all, () => lab.stop('SIGKILL'));
  await waitUntil(() => readFileSync(keeperLog(lab), 'utf8').includes('has a host port of ours'), SETTLE_MS);
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    lab.log = '';
    await lab.start();
    expect(await seen(lab)).toEqual(ROBBED);
    await expect.poll(() => lab.log, LOG).toContain('another process has a published host port');
    expect(JSON.parse(await told(lab, 'port-lost'))).toMatchObject({
      Type: 'sandbox',
      Actor: { Attributes: { name: 'web', hostPort: '0.0.0.0:8080/tcp', reason: 'EADDRINUSE' } },
    });
    await lab.stop(signal);
  }
  await lab.start();
  // What else happens to the sandbox neither fails by it nor makes it forgotten.
  await lab.ok('create', 'more');
  await lab.ok('connect', 'more', 'web');
  await lab.ok('disconnect', 'more', 'web');
  await lab.ok('disconnect', 'net', 'web');
  await lab.ok('connect', 'net', 'web');
  expect(await seen(lab)).toEqual(ROBBED);
  await regained(all, thief);
});

test('a daemon that lives on learns of the theft and of its end; the port leads to the sandbox all the while', async () => {
  const all = await scene();
  await serve((await stateOf(all.lab)).sandboxes.find(({ Name }) => Name === 'web')?.Netns ?? '');
  const thief = await rob(all, async () => {});
  await waitUntil(async () => (await told(all.lab, 'port-lost')) !== '', SETTLE_MS);
  expect(await seen(all.lab)).toEqual(ROBBED);
  for (const [where, address] of [
    ['outside', WIRE.host],
    ['host', '127.0.0.1'],
  ] as const)
    expect((await all.lab.in(where, 'curl', '-s', '-m', '20', `http://${address}:8080/`)).stdout).toBe('web');
  await regained(all, thief);
});

test('a sandbox whose host port is taken can be removed, and the port is not tried for any more', async () => {
  const all = await scene();
  const thief = await rob(all, async () => {});
  await waitUntil(async () => (await told(all.lab, 'port-lost')) !== '', SETTLE_MS);
  await all.lab.ok('sandbox', 'rm', 'web');
  expect((JSON.parse(await all.lab.ok('inspect', 'net')) as NetworkJson[])[0]?.Degraded).toBeUndefined();
  libc.close(thief);
  const wish = { Name: 'next', Networks: { net: {} }, PortBindings: { '80/tcp': [{ HostPort: '8080' }] } };
  expect((await ask(all.lab, 'POST', '/sandboxes/create', wish)).status).toBe(201);
  expect(await told(all.lab, 'port-regained')).toBe('');
  expect(await untruths(all.lab)).toEqual([]);
});
