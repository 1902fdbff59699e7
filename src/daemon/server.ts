/** The unix socket, beside which others may be: made with its final mode and group, taken over from a dead daemon, never from a living one. */

import { chmodSync, chownSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { FastifyInstance } from 'fastify';
import {
  CnmError,
  checkSocketPath,
  forFlag,
  isNoSocket,
  isServed,
  listenOnDescriptor,
  makeOpenFolder,
  type TlsFiles,
} from '../base/index.ts';
import { type TcpHost, createTcpServers, readTls, refuseTaken } from './tcp.ts';

export interface ServerOptions {
  /** Path of the socket. */
  readonly path: string;
  /** Group that may connect; absent: `patchbay` where it exists, else root only. */
  readonly group?: string;
  readonly tcp?: TcpOptions;
  /** Descriptor of the socket when a service manager listens already: mode, group and file are the manager's then. */
  readonly inherited?: number | undefined;
}

export interface TcpOptions {
  readonly hosts: readonly TcpHost[];
  readonly tls: TlsFiles;
}

/** The last number that a group can have (chown(2)). */
const MAX_GROUP = 2 ** 32 - 2;

/** What can be known to be wrong before anything is opened. Throws bad_config. */
export function checkServer({ path, group, tcp }: ServerOptions): void {
  checkSocketPath('--host', path);
  groupId(group);
  if (tcp !== undefined) readTls(tcp.tls);
}

/** Makes the folder, and sees that nobody else serves there, before anything is made in the kernel. Throws daemon_running or bad_config. */
export async function checkFree({ path, tcp, inherited }: ServerOptions): Promise<void> {
  if (inherited === undefined) {
    forFlag('--host', `unix://${path}`, () => makeOpenFolder(dirname(path)));
    await refuseServed(path);
  }
  await refuseTaken(tcp?.hosts ?? []);
}

/** Listens, after checkFree; resolves when requests are served. Throws bad_config or daemon_running. */
export async function listen(app: FastifyInstance, { path, group, tcp, inherited }: ServerOptions): Promise<void> {
  const gid = groupId(group);
  const further = tcp === undefined ? undefined : createTcpServers(app, tcp.hosts, tcp.tls);
  if (inherited !== undefined) {
    await app.ready();
    await listenOnDescriptor(app.server, inherited);
    return further?.open();
  }
  await refuseServed(path);
  // Before the old file goes: who connects in between finds no socket at all.
  await app.ready();
  rmSync(path, { force: true });
  // Between bind and chmod nobody else may connect.
  const before = process.umask(0o177);
  try {
    await app.listen({ path });
  } finally {
    process.umask(before);
  }
  if (gid !== undefined) chownSync(path, 0, gid);
  chmodSync(path, 0o660);
  await further?.open();
}

function groupId(group: string | undefined): number | undefined {
  const entries = existsSync('/etc/group') ? readFileSync('/etc/group', 'utf8').split('\n') : [];
  const line = entries.find((entry) => entry.startsWith(`${group ?? 'patchbay'}:`));
  const gid = Number(line?.split(':')[2]);
  if (line !== undefined && Number.isInteger(gid)) return gid;
  if (group === undefined) return undefined;
  if (/^\d+$/.test(group) && Number(group) <= MAX_GROUP) return Number(group);
  throw new CnmError('bad_config', `--group ${group}: there is no such group; use the name or the number of one`);
}

async function refuseServed(path: string): Promise<void> {
  if (isNoSocket(path)) throw new CnmError('bad_config', `--host: ${path} is there and is no socket: use another path`);
  if (await isServed(path)) throw new CnmError('daemon_running', `another daemon serves ${path}`);
}
