/** The keeper as the service of a manager that keeps its descriptors: nothing that it holds is away for a moment. */

import { spawn } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { newEndpointId, newSandboxId, type Address } from '../../src/base/index.ts';
import type { HoldRequest, KeeperLink } from '../../src/keeper/index.ts';
import { FakeManager } from './fake-manager.ts';
import {
  afterTest,
  askRaw,
  connectTcp,
  decode,
  eventually,
  isAlive,
  keeperLab,
  names,
  parentOf,
  query,
  type Lab,
} from './keeper-lab.ts';

vi.setConfig({ testTimeout: 120_000 });

const WAIT_MS = 30_000;
const ROUNDS = 6;
const owner = newSandboxId();
const hold = (port: number, protocol: HoldRequest['protocol'] = 'tcp'): HoldRequest => ({
  protocol,
  port,
  addresses: ['0.0.0.0', '::'] as Address[],
});

/** Tries to bind the ports, again and again; says so when it could, and every hundred times that it could not. */
const THIEF = `
const { createServer } = require('node:net');
const { createSocket } = require('node:dgram');
let refused = 0;
const again = (act) => { if (++refused % 100 === 0) console.log('refused'); setImmediate(act); };
const tcp = () => createServer().on('error', () => again(tcp)).listen(8080, '0.0.0.0', () => console.log('won'));
const udp = () => {
  const socket = createSocket('udp4').on('error', () => { socket.close(); again(udp); });
  socket.bind(8081, () => console.log('won'));
};
tcp();
udp();
`;

class Thief {
  readonly said: string[] = [];

  constructor(lab: Lab) {
    const child = spawn('nsenter', [`--net=${lab.host.path}`, process.execPath, '-e', THIEF], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    createInterface({ input: child.stdout }).on('line', (line) => this.said.push(line));
    afterTest(() => void child.kill('SIGKILL'));
  }

  async says(word: string): Promise<void> {
    const before = this.said.length;
    await eventually(() => (this.said.slice(before).includes(word) ? true : undefined), `the thief says ${word}`, WAIT_MS);
  }
}

async function another(link: KeeperLink, pid: number | undefined): Promise<number> {
  return await eventually(() => (link.pid !== undefined && link.pid !== pid ? link.pid : undefined), 'the link is up', WAIT_MS);
}

const socketsOf = (pid: number): string[] =>
  readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
      return target.startsWith('socket:') ? [target] : [];
    } catch {
      return [];
    }
  });

const stored = (manager: FakeManager, count: number): Promise<true> =>
  eventually(() => (manager.store.size === count ? true : undefined), `${count} descriptors are in the store`, WAIT_MS);

test('no process gets a held port while the keeper is killed or restarted again and again', async () => {
  const lab = await keeperLab();
  const manager = new FakeManager(lab);
  await manager.start();
  const link = await lab.open();
  expect(link.pid).toBe(manager.pid);
  expect(await link.holds(owner, [hold(8080), hold(8081, 'udp')])).toEqual([{ ok: true }, { ok: true }]);
  await stored(manager, 4);
  const inodes = [...manager.store.values()].map((fd) => readlinkSync(`/proc/self/fd/${fd}`));
  const thief = new Thief(lab);
  for (let round = 0; round < ROUNDS; round++) {
    await thief.says('refused');
    const pid = link.pid!;
    process.kill(pid, round % 3 === 2 ? 'SIGTERM' : 'SIGKILL');
    const now = await another(link, pid);
    expect(now).toBe(manager.pid);
    expect(link.conflicts).toEqual([]);
    expect(socketsOf(now)).toEqual(expect.arrayContaining(inodes));
    await stored(manager, 4);
  }
  await thief.says('refused');
  expect(thief.said).not.toContain('won');
  // What is let go is let go by the manager too.
  await link.holds(owner, [hold(8081, 'udp')]);
  await eventually(() => (thief.said.includes('won') ? true : undefined), 'the thief wins', WAIT_MS);
  await stored(manager, 2);
});

test('a question that comes while the keeper is dead is answered by the next one, by UDP and TCP', async () => {
  const lab = await keeperLab();
  const manager = new FakeManager(lab);
  await manager.start();
  const link = await lab.open();
  const box = await lab.sandbox(link);
  await link.names(newEndpointId(), names('c1').to('10.0.0.2'));
  await stored(manager, 2);
  manager.restarts = false;
  const pid = link.pid!;
  process.kill(pid, 'SIGKILL');
  await eventually(() => (isAlive(pid) ? undefined : true), 'the keeper is dead');
  const asked = askRaw(box.inside.host, box.ports.udp, query('c1'), WAIT_MS);
  const socket = await connectTcp(box.inside.host, box.ports.tcp);
  const question = query('c1');
  socket.write(Buffer.concat([Buffer.from([0, question.length]), question]));
  const answered = new Promise<Buffer>((resolve) => socket.once('data', resolve));
  manager.restarts = true;
  await manager.start();
  expect(decode((await asked)!).answers).toMatchObject([{ data: '10.0.0.2' }]);
  expect(decode((await answered).subarray(2)).answers).toMatchObject([{ data: '10.0.0.2' }]);
  await another(link, pid);
  expect(await link.sandbox(box.id, box.wish)).toEqual(box.ports);
  await link.sandbox(box.id, null);
  await stored(manager, 0);
});

test('what nobody wishes any more is let go at the next start', async () => {
  const lab = await keeperLab();
  const manager = new FakeManager(lab);
  await manager.start();
  const link = await lab.open();
  const box = await lab.sandbox(link);
  await link.holds(owner, [hold(8080)]);
  await stored(manager, 4);
  manager.restarts = false;
  const pid = link.pid!;
  process.kill(pid, 'SIGKILL');
  // The file is gone at once, the word follows when a keeper hears it.
  await expect(link.holds(owner, [])).rejects.toMatchObject({ code: 'resolver_unavailable' });
  manager.restarts = true;
  await manager.start();
  await another(link, pid);
  await stored(manager, 2);
  expect((await link.inventory()).sandboxes).toEqual([box.id]);
});

test("the manager's keeper takes over from one that a daemon started, and stays although it has nothing to do", async () => {
  const lab = await keeperLab();
  const link = await lab.open();
  const { pid } = link;
  const supervisor = parentOf(pid!);
  await link.holds(owner, [hold(8080)]);
  const manager = new FakeManager(lab);
  await manager.start();
  expect(await another(link, pid)).toBe(manager.pid);
  await eventually(() => (isAlive(pid!) || isAlive(supervisor) ? undefined : true), 'the other one has ended', WAIT_MS);
  expect((await link.inventory()).holds).toEqual([{ ...hold(8080), owner }]);
  await stored(manager, 2);
  await link.holds(owner, []);
  await link.close();
  const { pid: service } = manager;
  await sleep(6500);
  expect([manager.pid, isAlive(service!)]).toEqual([service, true]);
});

test('a daemon leaves the start of its keeper to the manager, but not for ever', async () => {
  const lab = await keeperLab();
  const manager = new FakeManager(lab);
  await manager.start();
  const link = await lab.open();
  await link.holds(owner, [hold(8080)]);
  await stored(manager, 2);
  manager.restarts = false;
  const { pid } = link;
  process.kill(pid!, 'SIGKILL');
  await eventually(() => (isAlive(pid!) ? undefined : true), 'the keeper is dead');
  for (const fd of manager.store.values()) expect(readlinkSync(`/proc/self/fd/${fd}`)).toMatch(/^socket:/);
  expect(await another(link, pid)).not.toBe(manager.pid);
  // Its ports are with the manager yet: a conflict like any other, which ends when the manager's keeper is back.
  expect(link.conflicts.map(({ port }) => port)).toEqual([8080, 8080]);
  manager.restarts = true;
  const own = link.pid;
  await manager.start();
  expect(await another(link, own)).toBe(manager.pid);
  expect(link.conflicts).toEqual([]);
  expect((await link.inventory()).holds).toHaveLength(1);
});

test('a manager that asks for signs of life gets them from the keeper', async () => {
  const manager = new FakeManager(await keeperLab(), { WATCHDOG_USEC: '400000' });
  await manager.start();
  const alive = (): boolean => manager.notices.filter((line) => line === 'WATCHDOG=1').length > 2;
  await eventually(() => alive() || undefined, 'the keeper says that it is alive', WAIT_MS);
});
