/**
 * Descriptors that a service manager keeps for us over our restarts: pushed to it as they are opened (sd_pid_notify_with_fds(3),
 * FDSTORE=1), found again at the next start (sd_listen_fds(3)).
 */

import { fstatSync } from 'node:fs';
import { type Env, errnoOf } from '../base/index.ts';
import * as libc from './libc.ts';
import { unixAddress } from './notify.ts';

/** The first one that a service manager hands over. */
const FIRST_DESCRIPTOR = 3;
/** Pause before the next try when the manager does not read, milliseconds. */
const RETRY_MS = 50;
/** Texts that may wait for that; further ones are not sent. */
const MAX_WAITING = 65_536;

export interface InheritedDescriptor {
  /** Given with it to `keep`. */
  readonly name: string;
  readonly fd: number;
}

/**
 * Those that were handed to this process. Only its first caller may take them over; after `execve` they are there again when
 * they were made inheritable. A number that is larger than what was handed over names descriptors of Node's own, none of which is
 * a socket so early: they are passed over, as is what else is no socket.
 */
export function inheritedDescriptors(env: Readonly<Record<string, string | undefined>>): readonly InheritedDescriptor[] {
  const text = env['LISTEN_FDS'] ?? '';
  if (env['LISTEN_PID'] !== String(process.pid) || !/^\d+$/.test(text)) return [];
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  const found: InheritedDescriptor[] = [];
  for (let i = 0; i < Number(text); i++) {
    const fd = FIRST_DESCRIPTOR + i;
    const is = kindOf(fd);
    // They are handed over without gaps.
    if (is === 'nothing') break;
    if (is === 'socket') found.push({ fd, name: names[i] ?? '' });
  }
  return found;
}

function kindOf(fd: number): 'socket' | 'other' | 'nothing' {
  try {
    return fstatSync(fd).isSocket() ? 'socket' : 'other';
  } catch (error) {
    if (errnoOf(error) === 'EBADF') return 'nothing';
    throw error;
  }
}

interface Waiting {
  readonly name: string;
  readonly text: string;
  readonly fd?: number;
}

export class DescriptorStore {
  readonly #address: Buffer;
  readonly #log: Env['log'];
  readonly #socket = libc.socket(libc.AF.unix, libc.SOCK.datagram, 0);
  readonly #message = new Message();
  #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #hasFailed = false;

  /** `socketPath`: the value of NOTIFY_SOCKET. */
  constructor(socketPath: string, log: Env['log']) {
    this.#address = unixAddress(socketPath);
    this.#log = log;
  }

  /** `name`: letters and digits, as short as can be, since all of them must fit into one variable of the environment. */
  keep(name: string, fd: number): void {
    // FDPOLL=0: a socket that is bound only counts as hung up, and would be let go at once.
    this.#send({ name, text: `FDSTORE=1\nFDNAME=${name}\nFDPOLL=0`, fd });
  }

  /** To be called before the descriptor is closed. */
  release(name: string): void {
    const before = this.#waiting.length;
    this.#waiting = this.#waiting.filter((one) => one.name !== name);
    if (this.#waiting.length === before) this.#send({ name, text: `FDSTOREREMOVE=1\nFDNAME=${name}` });
  }

  #send(one: Waiting): void {
    if (this.#waiting.length >= MAX_WAITING) return;
    this.#waiting.push(one);
    if (this.#timer === undefined) this.#flush();
  }

  #flush(): void {
    this.#timer = undefined;
    while (this.#waiting[0] !== undefined) {
      const { text, fd } = this.#waiting[0];
      try {
        if (!this.#message.send(this.#socket, this.#address, text, fd)) break;
      } catch (error) {
        if (!this.#hasFailed) this.#log.error({ error: String(error) }, 'the service manager does not take descriptors');
        this.#hasFailed = true;
      }
      this.#waiting.shift();
    }
    if (this.#waiting.length > 0) this.#timer = setTimeout(() => this.#flush(), RETRY_MS).unref();
  }
}

// struct mmsghdr, iovec and cmsghdr on 64-bit Linux (bits/socket.h).
const HEADER_OCTETS = 64;
const HEADER = { name: 0, nameLength: 8, iov: 16, iovCount: 24, control: 32, controlLength: 40 } as const;
const CONTROL_OCTETS = 24;
const CONTROL_LENGTH = 20n;
const SCM_RIGHTS = 1;
const MAX_TEXT = 512;
const MAX_ADDRESS = 128;

/** One datagram with at most one descriptor, in memory that stays in its place. */
class Message {
  readonly #header = libc.allocateForever(HEADER_OCTETS);
  readonly #parts = libc.allocateForever(16 + CONTROL_OCTETS + MAX_ADDRESS + MAX_TEXT);

  /** False when the receiver does not read at the moment. */
  send(socket: number, address: Uint8Array, text: string, fd?: number): boolean {
    const { bytes, address: base } = this.#parts;
    const [control, name, content] = [16, 16 + CONTROL_OCTETS, 16 + CONTROL_OCTETS + MAX_ADDRESS];
    const size = bytes.write(text, content);
    bytes.set(address, name);
    bytes.writeBigUInt64LE(base + BigInt(content), 0);
    bytes.writeBigUInt64LE(BigInt(size), 8);
    bytes.writeBigUInt64LE(CONTROL_LENGTH, control);
    bytes.writeInt32LE(libc.SOL.socket, control + 8);
    bytes.writeInt32LE(SCM_RIGHTS, control + 12);
    bytes.writeInt32LE(fd ?? 0, control + 16);
    const header = this.#header.bytes;
    header.writeBigUInt64LE(base + BigInt(name), HEADER.name);
    header.writeUInt32LE(address.length, HEADER.nameLength);
    header.writeBigUInt64LE(base, HEADER.iov);
    header.writeBigUInt64LE(1n, HEADER.iovCount);
    header.writeBigUInt64LE(fd === undefined ? 0n : base + BigInt(control), HEADER.control);
    header.writeBigUInt64LE(fd === undefined ? 0n : BigInt(CONTROL_OCTETS), HEADER.controlLength);
    return libc.sendMany(socket, this.#header.address, 1, libc.MSG.dontwait) === 1;
  }
}
