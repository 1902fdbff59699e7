/**
 * The only foreign-function door: system calls by their libc names, on plain numbers and buffers. Wrappers throw
 * KernelError with the errno's name unless they say otherwise. Little-endian 64-bit machines only.
 */

import { endianness } from 'node:os';
import koffi, { type KoffiFunc } from 'koffi';
import { CnmError, KernelError } from '../base/index.ts';
import { errnoName } from './errno.ts';

if (endianness() !== 'LE' || !['x64', 'arm64', 'riscv64', 'loong64'].includes(process.arch)) {
  throw new CnmError('kernel_lacks', `the ${process.arch} processor is not supported: 64-bit little-endian only`);
}

/** Memory as the kernel may be given it: a typed array, or an address inside NativeMemory. */
type Pointer = Uint8Array | bigint | null;

// The program itself links against libc, so no library name (which differs between glibc and musl) is needed.
const library = koffi.load(null);
const define = (
  name: string,
  args: readonly string[],
  result = 'int',
): KoffiFunc<(...args: (number | bigint | string | Pointer)[]) => number> => library.func(name, result, [...args]);

const fn = {
  setns: define('setns', ['int', 'int']),
  unshare: define('unshare', ['int']),
  mount: define('mount', ['str', 'str', 'str', 'ulong', 'str']),
  umount2: define('umount2', ['str', 'int']),
  close: define('close', ['int']),
  socket: define('socket', ['int', 'int', 'int']),
  bind: define('bind', ['int', 'void *', 'uint']),
  connect: define('connect', ['int', 'void *', 'uint']),
  listen: define('listen', ['int', 'int']),
  getsockname: define('getsockname', ['int', 'void *', 'void *']),
  setsockopt: define('setsockopt', ['int', 'int', 'int', 'void *', 'uint']),
  getsockopt: define('getsockopt', ['int', 'int', 'int', 'void *', 'void *']),
  send: define('send', ['int', 'void *', 'size_t', 'int'], 'long'),
  sendto: define('sendto', ['int', 'void *', 'size_t', 'int', 'void *', 'uint'], 'long'),
  recv: define('recv', ['int', 'void *', 'size_t', 'int'], 'long'),
  recvfrom: define('recvfrom', ['int', 'void *', 'size_t', 'int', 'void *', 'void *'], 'long'),
  sendmmsg: define('sendmmsg', ['int', 'void *', 'uint', 'int']),
  recvmmsg: define('recvmmsg', ['int', 'void *', 'uint', 'int', 'void *']),
  epoll_create1: define('epoll_create1', ['int']),
  epoll_ctl: define('epoll_ctl', ['int', 'int', 'int', 'void *']),
  epoll_wait: define('epoll_wait', ['int', 'void *', 'int', 'int']),
  eventfd: define('eventfd', ['uint', 'int']),
  pipe2: define('pipe2', ['void *', 'int']),
  read: define('read', ['int', 'void *', 'size_t'], 'long'),
  write: define('write', ['int', 'void *', 'size_t'], 'long'),
  flock: define('flock', ['int', 'int']),
  fcntl: define('fcntl', ['int', 'int', 'long']),
  ioctl: define('ioctl', ['int', 'ulong', 'ulong']),
  ioctl_into: define('ioctl', ['int', 'ulong', 'void *']),
  abort: define('abort', [], 'void'),
  prctl: define('prctl', ['int', 'ulong', 'ulong', 'ulong', 'ulong']),
  syscall: define('syscall', ['long', 'long', 'long', 'long', 'long'], 'long'),
  timer_create: define('syscall', ['long', 'long', 'void *', 'void *'], 'long'),
  timer_settime: define('syscall', ['long', 'long', 'long', 'void *', 'void *'], 'long'),
  sched_attr: define('syscall', ['long', 'long', 'void *', 'long', 'long'], 'long'),
} as const;

// Arrays of texts, which end with a null.
const execve: KoffiFunc<(path: string, args: readonly (string | null)[], env: readonly (string | null)[]) => number> =
  library.func('execve', 'int', ['str', 'const char **', 'const char **']);

/** Throws KernelError when a call answered -1. */
function checked(result: number, operation: string, subject: string): number {
  if (result < 0) throw new KernelError(operation, subject, errnoName(koffi.errno()));
  return result;
}

const { EAGAIN, EINTR } = koffi.os.errno;

/** Repeats a call interrupted by a signal; -1 when it would block, else throws on failure. */
function retried(call: () => number, operation: string, fd: number): number {
  for (;;) {
    const result = call();
    if (result >= 0) return result;
    const errno = koffi.errno();
    if (errno === EAGAIN) return -1;
    if (errno !== EINTR) throw new KernelError(operation, `descriptor ${fd}`, errnoName(errno));
  }
}

/** Memory outside the JavaScript heap, for buffers whose address the kernel keeps between calls. */
export interface NativeMemory {
  readonly address: bigint;
  readonly bytes: Buffer;
}

/** Zeroed memory that is never freed: for buffers that live as long as the process or its worker. */
export function allocateForever(size: number): NativeMemory {
  const address: bigint = koffi.alloc('uint8_t', size);
  const bytes = Buffer.from(koffi.view(address, size));
  bytes.fill(0);
  return { address, bytes };
}

/** Ends the whole process with SIGABRT. Unlike process.abort, from a worker thread too. */
export const abort = (): void => void fn.abort();

// Namespaces and mounts

export const CLONE_NEWNET = 0x40000000;
const MS_BIND = 0x1000;
export const MNT_DETACH = 2;
export const UMOUNT_NOFOLLOW = 8;

export const unshare = (flags: number): void => void checked(fn.unshare(flags), 'unshare', 'this thread');

/** Does not throw: 0, or the errno's name. */
export const setns = (fd: number, type: number): 0 | string => (fn.setns(fd, type) === 0 ? 0 : errnoName(koffi.errno()));

export function bindMount(source: string, target: string): void {
  checked(fn.mount(source, target, '', MS_BIND, null), 'bind mount', target);
}

export function unmount(target: string, flags: number): void {
  checked(fn.umount2(target, flags), 'umount', target);
}

/** ioctl that takes no argument and answers a number. */
export const ioctlNumber = (fd: number, request: number): number =>
  checked(fn.ioctl(fd, request, 0), 'ioctl', `descriptor ${fd}`);

/** ioctl that fills a buffer. */
export const ioctlInto = (fd: number, request: number, into: Uint8Array): void =>
  void checked(fn.ioctl_into(fd, request, into), 'ioctl', `descriptor ${fd}`);

// Sockets

export const AF = { unix: 1, inet: 2, inet6: 10, netlink: 16, packet: 17 } as const;
export const SOCK = { stream: 1, datagram: 2, raw: 3, nonblock: 0o4000, cloexec: 0o2000000 } as const;
export const SOL = { socket: 1, ip: 0, ipv6: 41, netlink: 270 } as const;
export const MSG = { peek: 2, trunc: 0x20, dontwait: 0x40, nosignal: 0x4000 } as const;

export const socket = (domain: number, type: number, protocol: number): number =>
  checked(fn.socket(domain, type | SOCK.cloexec, protocol), 'socket', `family ${domain} type ${type & 0xf} protocol ${protocol}`);

/** Closes any descriptor; closing what is closed already is not an error. */
export const close = (fd: number): void => void fn.close(fd);

/** Closes on a pool thread. For `closer.ts`, which bounds how many run. */
export const closeAsync = (fd: number, done: () => void): void => fn.close.async(fd, done);

/** `subject` appears in the error, such as `udp 127.0.0.1:53`. */
export const bind = (fd: number, address: Uint8Array, subject: string): void =>
  void checked(fn.bind(fd, address, address.length), 'bind', subject);

export const connect = (fd: number, address: Uint8Array, subject: string): void =>
  void checked(fn.connect(fd, address, address.length), 'connect', subject);

export const listen = (fd: number, backlog: number, subject: string): void =>
  void checked(fn.listen(fd, backlog), 'listen', subject);

/** The local address as a raw sockaddr. */
export function socketName(fd: number): Buffer {
  const address = Buffer.alloc(128);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(address.length);
  checked(fn.getsockname(fd, address, size), 'getsockname', `descriptor ${fd}`);
  return address.subarray(0, Math.min(size.readUInt32LE(), address.length));
}

/** `value`: a 32-bit integer or raw bytes. */
export function setSocketOption(fd: number, level: number, option: number, value: number | Uint8Array): void {
  let raw = value;
  if (typeof raw === 'number') {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(raw);
    raw = bytes;
  }
  checked(fn.setsockopt(fd, level, option, raw, raw.length), 'setsockopt', `level ${level} option ${option}`);
}

/** `size`: how many octets to ask for, or a buffer of that size that holds the question. */
export function getSocketOption(fd: number, level: number, option: number, size: number | Buffer): Buffer {
  const value = typeof size === 'number' ? Buffer.alloc(size) : size;
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  checked(fn.getsockopt(fd, level, option, value, length), 'getsockopt', `level ${level} option ${option}`);
  return value.subarray(0, length.readUInt32LE());
}

/** Octets sent; -1 when it would block. */
export const send = (fd: number, data: Uint8Array, flags = 0): number =>
  retried(() => fn.send(fd, data, data.length, flags | MSG.nosignal), 'send', fd);

/** Octets sent; -1 when it would block. */
export const sendTo = (fd: number, data: Uint8Array, address: Uint8Array, flags = 0): number =>
  retried(() => fn.sendto(fd, data, data.length, flags | MSG.nosignal, address, address.length), 'sendto', fd);

/** Octets received (the whole message's length with MSG.trunc); -1 when it would block. */
export const receive = (fd: number, into: Uint8Array, flags = 0): number =>
  retried(() => fn.recv(fd, into, into.length, flags), 'recv', fd);

/** Sends on a pool thread, for requests that the kernel answers slowly inside the call. `data` must not change meanwhile. */
export function sendOffThread(fd: number, data: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    fn.send.async(fd, data, data.length, MSG.nosignal, (error: unknown, result: number) => {
      if (error) reject(error);
      else if (result < 0) reject(new KernelError('send', `descriptor ${fd}`, errnoName(koffi.errno())));
      // Naming `data` here keeps it referenced until the call has ended.
      else if (result !== data.length) reject(new KernelError('send', `descriptor ${fd}`, 'EMSGSIZE'));
      else resolve();
    });
  });
}

/** Messages received into an mmsghdr array at `headers`; -1 when none waits. See packets.ts. */
export const receiveMany = (fd: number, headers: bigint, count: number, flags: number): number =>
  retried(() => fn.recvmmsg(fd, headers, count, flags, null), 'recvmmsg', fd);

/** Messages sent from an mmsghdr array at `headers`; -1 when it would block. See packets.ts. */
export const sendMany = (fd: number, headers: bigint, count: number, flags: number): number =>
  retried(() => fn.sendmmsg(fd, headers, count, flags | MSG.nosignal), 'sendmmsg', fd);

// Readiness

/** Adds (1), removes (2) or modifies (3). See epoll.ts. */
export const epollControl = (epoll: number, operation: 1 | 2 | 3, fd: number, event: Uint8Array | null): void =>
  void checked(fn.epoll_ctl(epoll, operation, fd, event), 'epoll_ctl', `descriptor ${fd}`);

export const epollCreate = (): number => checked(fn.epoll_create1(SOCK.cloexec), 'epoll_create1', '');

/** Ready descriptors; 0 after `timeout` milliseconds (-1: for ever) or a signal. Blocks its thread. */
export function epollWait(epoll: number, events: bigint, count: number, timeout: number): number {
  const ready = fn.epoll_wait(epoll, events, count, timeout);
  if (ready >= 0) return ready;
  const errno = koffi.errno();
  if (errno === EINTR) return 0;
  throw new KernelError('epoll_wait', `descriptor ${epoll}`, errnoName(errno));
}

export const eventDescriptor = (): number => checked(fn.eventfd(0, SOCK.cloexec | SOCK.nonblock), 'eventfd', '');

/** Both ends close-on-exec. */
export function pipe(): { readonly read: number; readonly write: number } {
  const ends = new Int32Array(2);
  checked(fn.pipe2(new Uint8Array(ends.buffer), SOCK.cloexec), 'pipe2', '');
  return { read: ends[0] as number, write: ends[1] as number };
}

/** Octets read; -1 when it would block. */
export const read = (fd: number, into: Uint8Array): number => retried(() => fn.read(fd, into, into.length), 'read', fd);

/** Octets written; -1 when it would block. */
export const write = (fd: number, data: Uint8Array): number => retried(() => fn.write(fd, data, data.length), 'write', fd);

/** Calls `ready` on the event loop while `fd` is readable, until closed; does not keep the process alive. For any kind of descriptor. */
export function watchReadable(fd: number, ready: () => void): { close(): void } {
  const handle = koffi.node.poll(fd, { readable: true }, ready);
  handle.unref();
  return { close: () => handle.close() };
}

// Files and processes

const LOCK_EX = 2;
const LOCK_NB = 4;

/** True when the exclusive lock is ours now, false when another open file holds it. */
export function tryLockDescriptor(fd: number): boolean {
  return retried(() => fn.flock(fd, LOCK_EX | LOCK_NB), 'flock', fd) === 0;
}

const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;

export const pidfdOpen = (pid: number): number =>
  checked(fn.syscall(SYS_PIDFD_OPEN, pid, 0, 0, 0), 'pidfd_open', `process ${pid}`);

export const pidfdSendSignal = (pidfd: number, signal: number, pid: number): void =>
  void checked(fn.syscall(SYS_PIDFD_SEND_SIGNAL, pidfd, signal, 0, 0), 'pidfd_send_signal', `process ${pid}`);

// By number: C libraries have had no functions for these for long.
const [SYS_SCHED_SETATTR, SYS_SCHED_GETATTR] = process.arch === 'x64' ? [314, 315] : [274, 275];

/** Fills `attributes`, a struct sched_attr, with those of the calling thread. */
export function schedulerOf(attributes: Buffer): Buffer {
  checked(fn.sched_attr(SYS_SCHED_GETATTR, 0, attributes, attributes.length, 0), 'sched_getattr', 'this thread');
  return attributes;
}

/** For the calling thread: a struct sched_attr as schedulerOf fills it. */
export const setScheduler = (attributes: Buffer): void =>
  void checked(fn.sched_attr(SYS_SCHED_SETATTR, 0, attributes, 0, 0), 'sched_setattr', 'this thread');

// By number: older C libraries have timers in a library of their own. All but x86 share their numbers.
const [SYS_TIMER_CREATE, SYS_TIMER_SETTIME] = process.arch === 'x64' ? [222, 223] : [107, 110];

/** Id of a new timer that does what `event`, a struct sigevent, says. */
export function timerCreate(clock: number, event: Uint8Array): number {
  const id = new Int32Array(1);
  checked(fn.timer_create(SYS_TIMER_CREATE, clock, event, new Uint8Array(id.buffer)), 'timer_create', `clock ${clock}`);
  return id[0] as number;
}

/** Arms a timer by a struct itimerspec, relative to now. */
export const timerSet = (timer: number, time: Uint8Array): void =>
  void checked(fn.timer_settime(SYS_TIMER_SETTIME, timer, 0, time, null), 'timer_settime', `timer ${timer}`);

/**
 * Replaces this process by another program, which gets the standard three descriptors and `further` ones. Returns only by a
 * KernelError.
 */
export function execute(path: string, args: readonly string[], env: readonly string[], further: readonly number[] = []): never {
  // Node marks what it was given as close-on-exec.
  for (const fd of [0, 1, 2, ...further]) setInheritable(fd, true);
  execve(path, [...args, null], [...env, null]);
  throw new KernelError('execve', path, errnoName(koffi.errno()));
}

/** prctl with one argument. */
export const prctl = (option: number, argument: number): number =>
  checked(fn.prctl(option, argument, 0, 0, 0), 'prctl', `option ${option}`);

/** Lets children keep the descriptor over exec, or not. */
export const setInheritable = (fd: number, inheritable: boolean): void =>
  void checked(fn.fcntl(fd, 2, inheritable ? 0 : 1), 'fcntl', `descriptor ${fd}`);
