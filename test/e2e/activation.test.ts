/** A service manager listens for the daemon: callers wait until it serves, and the sockets outlive it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { callPlugin } from '../engine/replay/call.ts';
import { DIST, Lab, waitUntil } from './lab.ts';

let lab: Lab;
let manager: ChildProcess | undefined;
let log = '';

const plugin = (): string => join(lab.folder, 'plugins/patchbay-bridge.sock');
const extra = (): string => join(lab.folder, 'extra.sock');

/** Starts the daemon by the words of `before`. */
function begin(...before: readonly string[]): ChildProcess {
  const daemon = [process.execPath, join(DIST, 'patchbayd.js'), '--host', `unix://${lab.socket}`, '--bridge', 'none'];
  const folders = ['--state-dir', lab.stateDir, '--run-dir', lab.runDir, '--plugin-dir', join(lab.folder, 'plugins')];
  const words = [...before, ...daemon, ...folders, '--engine', 'none'];
  const child = spawn('nsenter', [`--net=/run/netns/${lab.host}`, ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
  manager = child;
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
  return child;
}

/** Listens as systemd does, and becomes the daemon with the first caller. */
async function listen(...sockets: readonly string[]): Promise<void> {
  begin('systemd-socket-activate', ...sockets.flatMap((path) => ['-l', path]));
  await waitUntil(() => sockets.every((path) => log.includes(`Listening on ${path}`)), 10_000);
}

async function end(): Promise<number | null> {
  const child = manager;
  manager = undefined;
  if (child === undefined || child.exitCode !== null) return null;
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  return ended;
}

beforeAll(async () => {
  lab = await Lab.open({ flags: ['--bridge', 'none'] });
  await lab.stop();
  mkdirSync(join(lab.folder, 'plugins'), { recursive: true });
});
afterAll(async () => {
  await end();
  await lab.close();
});

test('an engine that calls before the daemon runs is answered, and so is the command line', async () => {
  await listen(lab.socket, plugin());
  const answer = await callPlugin(plugin(), 'Plugin.Activate');
  expect(JSON.parse(answer.text)).toEqual({ Implements: ['NetworkDriver', 'IpamDriver'] });
  await lab.ok('create', 'net');
  expect(await lab.ok('ls', '-q')).not.toBe('');
  const pid = manager?.pid ?? 0;
  const sockets = readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  });
  expect(sockets.length).toBeGreaterThan(1);
});

test('the sockets outlive the daemon: nobody takes them away, nor changes their mode', async () => {
  const modes = [lab.socket, plugin()].map((path) => statSync(path).mode);
  expect(await end()).toBe(0);
  expect([lab.socket, plugin()].map((path) => statSync(path).mode)).toEqual(modes);
  // The tool for tests does not bind over what is there, a service manager would still listen.
  await lab.start();
  expect(await lab.ok('ls', '-q')).not.toBe('');
  await lab.ok('rm', 'net');
  await lab.stop();
});

test('a socket at a path that is not served is closed, and the log names it', async () => {
  log = '';
  for (const path of [lab.socket, plugin()]) expect(existsSync(path)).toBe(false);
  await listen(lab.socket, extra());
  await lab.ok('ls', '-q');
  await waitUntil(() => log.includes('hands over what nobody is served at'), 10_000);
  expect(log).toContain(extra());
  // What is not handed over is opened as ever.
  expect((await callPlugin(plugin(), 'Plugin.Activate')).status).toBe(200);
  expect(await end()).toBe(0);
});

test.each(['1', '1000', '9007199254740991', '0x9'])(
  'a count of sockets that were never handed over (%s) takes nothing away from the daemon',
  async (count) => {
    log = '';
    // The tool for tests leaves it.
    rmSync(lab.socket, { force: true });
    const child = begin('sh', '-c', `LISTEN_PID=$$ LISTEN_FDS=${count} exec "$@"`, 'sh');
    await waitUntil(
      async () => child.exitCode !== null || child.signalCode !== null || (await lab.cli('ls')).exitCode === 0,
      20_000,
    );
    expect(await lab.ok('ls', '-q')).not.toBe('');
    // It has given up what it does not need, too.
    expect(log).not.toContain('capabilities that are not needed');
    expect(log).not.toContain('hands over');
    expect(await end()).toBe(0);
  },
);
