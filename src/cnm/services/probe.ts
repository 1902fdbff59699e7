/** One look at a member: a command in its network namespace, or a question to its own address from inside. */

import { spawn } from 'node:child_process';
import { request } from 'node:http';
import { Socket } from 'node:net';
import { type Address, CnmError, familyOf, messageOf } from '../../base/index.ts';
import { type Netns, openTcpClient } from '../../kernel/index.ts';
import type { HealthCheck } from '../records.ts';

/** Answers of HTTP's class 1xx before the one that counts: some are usual, and reading them without end takes a processor. */
const MAX_NEWS = 16;

/** What is wrong, in words; undefined: the member is well. Ends within the check's time, or with `signal`. Never rejects. */
export async function probe(
  netns: Netns,
  address: Address | undefined,
  { probe: asked, timeoutMs }: HealthCheck,
  signal: AbortSignal,
): Promise<string | undefined> {
  // Not a signal made of both: on Node 20 each would stay as long as the member.
  const limit = new AbortController();
  const end = (): void => limit.abort();
  const timer = setTimeout(end, timeoutMs);
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  try {
    if (asked.kind === 'command') return await runCommand(netns, asked.command, limit.signal);
    if (address === undefined) return 'it has no address';
    if (asked.kind === 'tcp') return await openPort(netns, address, asked.port, limit.signal);
    return await getPath(netns, address, asked, limit.signal);
  } catch (error) {
    return limit.signal.aborted ? `no answer within ${timeoutMs} ms` : messageOf(error);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
  }
}

/** Nothing is read, so that nothing is waited for but the shell; with it ends whatever it has started. */
function runCommand(netns: Netns, command: string, limit: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const env = { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
    // It is the user's, who knows nothing of the daemon's mask. Started on this thread before spawn returns, hence in the member's namespace.
    const child = netns.run(() => spawn('/bin/sh', ['-c', `umask 022\n${command}`], { stdio: 'ignore', detached: true, env }));
    const end = (): void => endGroup(child.pid);
    limit.addEventListener('abort', end, { once: true });
    if (limit.aborted) end();
    child.once('error', reject);
    child.once('exit', (code, by) => {
      limit.removeEventListener('abort', end);
      end();
      if (limit.aborted) reject(new CnmError('internal', 'the command was ended'));
      else resolve(code === 0 ? undefined : `the command ended with ${code ?? by ?? 'an error'}`);
    });
  });
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // All of it has ended.
  }
}

/** A socket of the member's namespace on its way to the address. */
function connecting(netns: Netns, address: Address, port: number, signal: AbortSignal): Socket {
  const fd = netns.run(() => openTcpClient(familyOf(address)));
  return new Socket({ fd, signal }).connect({ host: address, port });
}

function openPort(netns: Netns, address: Address, port: number, signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve, reject) => {
    const socket = connecting(netns, address, port, signal);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
  });
}

/** 2xx and 3xx are well; the body is not read. */
function getPath(
  netns: Netns,
  address: Address,
  { port, path }: { readonly port: number; readonly path: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const host = familyOf(address) === 6 ? `[${address}]` : address;
    const createConnection = (): Socket => connecting(netns, address, port, signal);
    const headers = { host: `${host}:${port}`, connection: 'close' };
    const asking = request({ createConnection, path, headers, signal }, (answer) => {
      const status = answer.statusCode ?? 0;
      asking.destroy();
      resolve(status >= 200 && status < 400 ? undefined : `HTTP status ${status}`);
    });
    let news = 0;
    asking.on('information', () => {
      if (++news > MAX_NEWS) asking.destroy(new CnmError('internal', 'it says much before its answer'));
    });
    asking.once('error', reject);
    // Whatever ends without an answer, as an upgrade that nobody has asked for.
    asking.once('close', () => reject(new CnmError('internal', 'it closed the connection without an answer')));
    asking.end();
  });
}
