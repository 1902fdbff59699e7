/** One look at a member: a command in its network namespace, or a question to its own address from inside. */

import { request } from 'node:http';
import { Socket } from 'node:net';
import { execa } from 'execa';
import { type Address, CnmError, familyOf, messageOf } from '../../base/index.ts';
import { type Netns, openTcpClient } from '../../kernel/index.ts';
import type { HealthCheck } from '../records.ts';

/** Octets of a command's output that are read. */
const MAX_OUTPUT = 64 * 1024;
/** From SIGTERM to SIGKILL of a command that takes too long, milliseconds. */
const GRACE_MS = 1000;

/** What is wrong, in words; undefined: the member is well. Ends within the check's time and the grace, or with `signal`. Never rejects. */
export async function probe(
  netns: Netns,
  address: Address | undefined,
  { probe: asked, timeoutMs }: HealthCheck,
  signal: AbortSignal,
): Promise<string | undefined> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  try {
    if (asked.kind === 'command') return await runCommand(netns, asked.command, timeoutMs, signal);
    if (address === undefined) return 'it has no address';
    if (asked.kind === 'tcp') return await openPort(netns, address, asked.port, limit);
    return await getPath(netns, address, asked, limit);
  } catch (error) {
    return limit.aborted ? `no answer within ${timeoutMs} ms` : messageOf(error);
  }
}

async function runCommand(netns: Netns, command: string, timeout: number, signal: AbortSignal): Promise<string | undefined> {
  const start = () =>
    execa('/bin/sh', ['-c', command], {
      reject: false,
      stdin: 'ignore',
      cancelSignal: signal,
      timeout,
      forceKillAfterDelay: GRACE_MS,
      maxBuffer: MAX_OUTPUT,
      extendEnv: false,
      env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
    });
  let child: ReturnType<typeof start> | undefined;
  // It is started on this thread before execa returns, hence in the member's namespace.
  netns.run(() => {
    child = start();
  });
  if (child === undefined) throw new CnmError('internal', 'a health command was not started');
  const result = await child;
  if (result.timedOut) return `no answer within ${timeout} ms`;
  return result.exitCode === 0 ? undefined : `the command ended with ${result.exitCode ?? result.signal ?? 'an error'}`;
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
    asking.once('error', reject);
    asking.end();
  });
}
