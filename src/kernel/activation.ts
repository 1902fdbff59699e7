/** Sockets that a service manager listens on for us: unix sockets, by their paths (sd_listen_fds(3)). */

import { errnoOf } from '../base/index.ts';
import { inheritedDescriptors } from './fdstore.ts';
import * as libc from './libc.ts';

// asm-generic/socket.h
const SO_TYPE = 3;
const SO_ACCEPTCONN = 30;
/** Offset of sun_path (linux/un.h). */
const PATH_OFFSET = 2;

export interface Listeners {
  /** Descriptor by the path that the socket is bound to. They are the caller's. */
  readonly byPath: ReadonlyMap<string, number>;
  /** Paths, else names, of what was handed over too; closed. */
  readonly refused: readonly string[];
}

/** Takes over those at the paths `wanted`: no child inherits them or hears of them. To be called once, before there are children. */
export function takeListeners(env: Record<string, string | undefined>, wanted: readonly string[]): Listeners {
  const byPath = new Map<string, number>();
  const refused: string[] = [];
  for (const { name, fd } of inheritedDescriptors(env)) {
    const path = listeningPath(fd);
    if (path === undefined || byPath.has(path) || !wanted.includes(path)) {
      refused.push(path ?? name);
      libc.close(fd);
    } else {
      libc.setInheritable(fd, false);
      byPath.set(path, fd);
    }
  }
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  return { byPath, refused };
}

/** Undefined for what is no unix stream socket that listens at a path. */
function listeningPath(fd: number): string | undefined {
  try {
    const name = libc.socketName(fd);
    if (name.readUInt16LE(0) !== libc.AF.unix || name.length <= PATH_OFFSET || name[PATH_OFFSET] === 0) return undefined;
    const option = (which: number): number => libc.getSocketOption(fd, libc.SOL.socket, which, 4).readInt32LE();
    if (option(SO_TYPE) !== libc.SOCK.stream || option(SO_ACCEPTCONN) !== 1) return undefined;
    const end = name.indexOf(0, PATH_OFFSET);
    return name.toString('utf8', PATH_OFFSET, end < 0 ? name.length : end);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}
