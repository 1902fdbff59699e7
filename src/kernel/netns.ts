/** Network namespaces: open, create, pin, remove a pin, and work inside one. */

import { closeSync, constants, lstatSync, openSync, statfsSync, unlinkSync } from 'node:fs';
import { CnmError, KernelError, errnoOf, messageOf } from '../base/index.ts';
import type { Netns } from './contract.ts';
import { netnsOfSocket } from './cookie.ts';
import * as libc from './libc.ts';
import { openRtnl } from './rtnl.ts';

/** statfs type of a namespace file (linux/magic.h). */
const NSFS_MAGIC = 0x6e736673;
/** ioctl that answers the CLONE_NEW… flag of a namespace (linux/nsfs.h). */
const NS_GET_NSTYPE = 0xb703;
/** Answers a descriptor of the user namespace that owns a namespace, and the uid of who made that one (linux/nsfs.h). */
const NS_GET_USERNS = 0xb701;
const NS_GET_OWNER_UID = 0xb704;
const O_PATH = 0o10000000;
/** The calling thread's own; /proc/self would be the main thread's. */
const THREAD_NETNS = '/proc/thread-self/ns/net';
/** Mounts that may lie on top of each other on one pin before its removal gives up. */
const MAX_STACKED_MOUNTS = 16;

/** The thread's own namespace: the module is loaded there. */
const HOME = openSync(THREAD_NETNS, constants.O_RDONLY);
/** Namespace this thread is in now. */
let current = HOME;
let homeIdentity: string | undefined;

function identify(): string {
  const fd = libc.socket(libc.AF.unix, libc.SOCK.datagram, 0);
  try {
    return netnsOfSocket(fd);
  } finally {
    libc.close(fd);
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';

class OpenNetns implements Netns {
  readonly path: string;
  readonly identity: string;
  readonly fd: number;
  #rtnl: ReturnType<typeof openRtnl> | undefined;
  #inside = 0;
  #closed = false;

  /** It is the thread's own: nobody at home need enter it. */
  readonly #isHome: boolean = false;

  /** Takes over `fd`. */
  constructor(path: string, fd: number, { isForLinks }: Opening) {
    this.path = path;
    this.fd = fd;
    this.identity = isForLinks === true ? this.rtnl().identity : this.run(identify);
    if (current === HOME) homeIdentity ??= identify();
    this.#isHome = this.identity === homeIdentity;
  }

  run<T>(work: () => T extends PromiseLike<unknown> ? never : T): T {
    if (this.#closed) throw new CnmError('internal', `namespace ${this.path} is closed`);
    const before = current;
    const isThere = before === this.fd || (this.#isHome && before === HOME);
    if (!isThere) this.#enter();
    this.#inside++;
    let value: T;
    try {
      value = work();
    } finally {
      this.#inside--;
      current = before;
      // Whatever ran next on this thread would act on the wrong namespace.
      if (!isThere && libc.setns(before, libc.CLONE_NEWNET) !== 0) libc.abort();
    }
    if (isThenable(value)) {
      value.then(
        () => {},
        () => {},
      );
      throw new CnmError('internal', 'work inside a namespace must be synchronous: it returned a promise');
    }
    return value;
  }

  #enter(): void {
    const entered = libc.setns(this.fd, libc.CLONE_NEWNET);
    if (entered !== 0) throw new KernelError('setns', this.path, entered);
    current = this.fd;
  }

  rtnl(): ReturnType<typeof openRtnl> {
    this.#rtnl ??= openRtnl(this);
    return this.#rtnl;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    if (this.#inside > 0) throw new CnmError('internal', `namespace ${this.path} is in use`);
    this.#closed = true;
    this.#rtnl?.[Symbol.dispose]();
    closeSync(this.fd);
  }
}

interface Opening {
  /** Its links will be worked on: the façade is opened at once, and tells the identity on the way. */
  readonly isForLinks?: true;
}

/**
 * Opens a network namespace by the path of its pin or of /proc/PID/ns/net. Throws bad_netns for anything else; nothing
 * but a namespace is ever opened for reading, so that a path to a device or pipe has no effect.
 */
export function openNetns(path: string, opening: Opening = {}): Netns {
  let handle: number;
  try {
    handle = openSync(path, O_PATH);
  } catch (error) {
    throw new CnmError('bad_netns', `cannot open namespace ${JSON.stringify(path)}: ${messageOf(error)}`, { cause: error });
  }
  try {
    const fd = namespaceBehind(handle);
    if (fd === undefined) throw new CnmError('bad_netns', `${JSON.stringify(path)} is not a namespace`);
    return adopt(path, fd, opening);
  } finally {
    closeSync(handle);
  }
}

/** Opens what an O_PATH descriptor names, where that is a namespace. */
function namespaceBehind(handle: number): number | undefined {
  const link = `/proc/self/fd/${handle}`;
  return statfsSync(link).type === NSFS_MAGIC ? openSync(link, constants.O_RDONLY) : undefined;
}

/** A descriptor that keeps the namespace at `path` alive; undefined where there is none. Whoever asks closes it. */
export function openNetnsDescriptor(path: string): number | undefined {
  let handle: number | undefined;
  try {
    handle = openSync(path, O_PATH);
    return namespaceBehind(handle);
  } catch {
    return undefined;
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}

/** Takes over `fd`; closes it when it is no network namespace. */
function adopt(path: string, fd: number, opening: Opening = {}): Netns {
  try {
    if (libc.ioctlNumber(fd, NS_GET_NSTYPE) !== libc.CLONE_NEWNET) {
      throw new CnmError('bad_netns', `${JSON.stringify(path)} is a namespace, but not a network namespace`);
    }
    return new OpenNetns(path, fd, opening);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Uid of who owns the user namespace that the namespace belongs to; undefined where the kernel does not tell us. */
export function netnsOwner(netns: Netns): number | undefined {
  let owner: number | undefined;
  try {
    owner = libc.ioctlNumber(netns.fd, NS_GET_USERNS);
    const uid = Buffer.alloc(4);
    libc.ioctlInto(owner, NS_GET_OWNER_UID, uid);
    return uid.readUInt32LE();
  } catch (error) {
    if (['EPERM', 'EINVAL', 'ENOTTY'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  } finally {
    if (owner !== undefined) closeSync(owner);
  }
}

/** The namespace that the calling thread is in, its home unless called inside `run`. */
export const currentNetns = (): Netns => openNetns(THREAD_NETNS);

/**
 * Makes an empty namespace, lo down, and pins it at `pinPath`, which must not exist. The pin keeps it until
 * removeNetnsPin. A failure leaves no pin.
 */
export function createNetns(pinPath: string): Netns {
  return pinned(pinPath, () => {
    libc.unshare(libc.CLONE_NEWNET);
    try {
      libc.bindMount(THREAD_NETNS, pinPath);
    } finally {
      if (libc.setns(current, libc.CLONE_NEWNET) !== 0) libc.abort();
    }
  });
}

/** An empty namespace without a pin, gone when it is closed. For probes. */
export function temporaryNetns(): Netns {
  libc.unshare(libc.CLONE_NEWNET);
  try {
    return adopt(THREAD_NETNS, openSync(THREAD_NETNS, constants.O_RDONLY));
  } finally {
    if (libc.setns(current, libc.CLONE_NEWNET) !== 0) libc.abort();
  }
}

/** A pin of our own for a namespace that someone else made, so that it outlives their path. As createNetns. */
export function pinNetns(source: Netns, pinPath: string): Netns {
  return pinned(pinPath, () => libc.bindMount(`/proc/self/fd/${source.fd}`, pinPath));
}

function pinned(pinPath: string, mount: () => void): Netns {
  closeSync(openSync(pinPath, constants.O_RDONLY | constants.O_CREAT | constants.O_EXCL, 0o444));
  try {
    mount();
    return openNetns(pinPath);
  } catch (error) {
    removeNetnsPin(pinPath);
    throw error;
  }
}

/**
 * Removes a pin: the namespace goes when its last process and socket go. Accepts what is gone already. Unlinks only a
 * namespace mount or an empty regular file, and throws bad_netns for anything else.
 */
export function removeNetnsPin(path: string): void {
  for (let mounts = 0; mounts <= MAX_STACKED_MOUNTS; mounts++) {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return;
    if (stat.isFile() && statfsSync(path).type === NSFS_MAGIC) {
      libc.unmount(path, libc.MNT_DETACH | libc.UMOUNT_NOFOLLOW);
      continue;
    }
    if (!stat.isFile() || stat.size !== 0) throw new CnmError('bad_netns', `${JSON.stringify(path)} is not a namespace pin`);
    unlinkSync(path);
    return;
  }
  throw new CnmError('bad_netns', `${JSON.stringify(path)} has more than ${MAX_STACKED_MOUNTS} mounts on it`);
}
