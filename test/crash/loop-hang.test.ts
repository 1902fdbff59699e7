/** Only the keeper's thread that answers names hangs, its main thread goes on: a tracer holds the one thread, as a fault in it would. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { Lab, waitUntil } from '../e2e/lab.ts';
import { ask } from './client.ts';
import { untruths } from './truth.ts';

/** Its kernel timer ends the keeper after 15 seconds. */
const ENDED_MS = 60_000;
const HELD_S = 120;

const closers: (() => Promise<void> | void)[] = [];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

/** The number of the call that a thread waits in, as the kernel shows it; `running` otherwise. */
const callOf = (pid: number, thread: string): string =>
  readFileSync(`/proc/${pid}/task/${thread}/syscall`, 'utf8').split(' ')[0] ?? '';

/** The thread that waits in the same call, with the longest limit that the loop ever has. */
function loopOf(pid: number): string {
  const waits = readdirSync(`/proc/${pid}/task`).filter((thread) => {
    if (thread === String(pid)) return false;
    const [, , , , limit] = readFileSync(`/proc/${pid}/task/${thread}/syscall`, 'utf8').split(' ');
    return ['232', '22', '281'].includes(callOf(pid, thread)) && limit === '0x1388';
  });
  expect(waits).toHaveLength(1);
  return waits[0] ?? '';
}

test('a keeper of which only the loop hangs is ended and replaced, with a daemon and without', { timeout: 180_000 }, async () => {
  const lab = await Lab.open();
  closers.push(() => lab.close());
  expect((await ask(lab, 'POST', '/networks/create', { Name: 'net' })).status).toBe(201);
  for (const Name of ['one', 'two'])
    expect((await ask(lab, 'POST', '/sandboxes/create', { Name, Networks: { net: {} } })).status).toBe(201);
  for (const isAlone of [false, true]) {
    if (isAlone) await lab.stop('SIGKILL');
    const { keeper } = await lab.keeperProcesses();
    const hold = ['-p', loopOf(keeper), '-o', '/dev/null', '-e', `inject=all:delay_enter=${HELD_S}s`];
    const tracer = spawn('strace', hold, { stdio: 'ignore' });
    const ended = once(tracer, 'exit');
    // What is left of the thread is the tracer's to take away.
    await waitUntil(async () => / Z /.test(readFileSync(`/proc/${keeper}/stat`, 'utf8')), ENDED_MS);
    tracer.kill('SIGKILL');
    await ended;
    await waitUntil(async () => (await lab.keeperProcesses()).keeper !== keeper, ENDED_MS);
    if (isAlone) await lab.start();
    await waitUntil(async () => (await untruths(lab)).length === 0, ENDED_MS);
  }
});
