/**
 * Sockets that a service manager keeps over the keeper's restarts, so that no port is free for a moment and no question is
 * refused. Without such a manager all of this does nothing.
 */

import type { Address, Logger } from '../base/index.ts';
import { currentNetns, describeSocket, DescriptorStore, inheritedDescriptors, libc } from '../kernel/index.ts';
import type { Protocol } from './contract.ts';

/** Where a socket is bound; `netns` as Netns.identity, absent: this thread's. */
interface Place {
  readonly protocol: Protocol;
  readonly address: Address;
  readonly port: number;
  readonly netns?: string;
}

const keyOf = ({ protocol, address, port }: Place, netns: string): string => `${netns} ${protocol} ${address} ${port}`;

const NAME = /^p([0-9a-z]+)$/;

export class KeptSockets {
  readonly #store: DescriptorStore | undefined;
  readonly #here: string;
  /** Of an earlier life, not taken yet. */
  readonly #found = new Map<string, number>();
  readonly #names = new Map<number, string>();
  #count = 0;

  /** `socketPath`: the value of NOTIFY_SOCKET; undefined: there is no service manager. */
  constructor(socketPath: string | undefined, log: Logger) {
    using here = currentNetns();
    this.#here = here.identity;
    if (socketPath === undefined) return;
    this.#store = new DescriptorStore(socketPath, log);
    for (const { name, fd } of inheritedDescriptors(process.env)) this.#adopt(name, fd);
  }

  #adopt(name: string, fd: number): void {
    libc.setInheritable(fd, false);
    this.#names.set(fd, name);
    this.#count = Math.max(this.#count, Number.parseInt(NAME.exec(name)?.[1] ?? '0', 36));
    const place = describeSocket(fd);
    const key = place === undefined ? undefined : keyOf(place, place.netns);
    if (key === undefined || this.#found.has(key)) this.close(fd);
    else this.#found.set(key, fd);
  }

  /** The socket that is bound there since an earlier life. It is the caller's then. */
  take(place: Place): number | undefined {
    const key = keyOf(place, place.netns ?? this.#here);
    const fd = this.#found.get(key);
    this.#found.delete(key);
    return fd;
  }

  /** The socket outlives this process from now on. Repeatable. */
  keep(fd: number): void {
    if (this.#store === undefined || this.#names.has(fd)) return;
    const name = `p${(++this.#count).toString(36)}`;
    this.#names.set(fd, name);
    this.#store.keep(name, fd);
  }

  /** It does not any more. To be called before it is closed. */
  release(fd: number): void {
    const name = this.#names.get(fd);
    if (name === undefined) return;
    this.#names.delete(fd);
    this.#store?.release(name);
  }

  close(fd: number): void {
    this.release(fd);
    libc.close(fd);
  }

  /** Lets go of what nobody has taken: nobody wishes it any more. */
  sweep(): void {
    for (const fd of this.#found.values()) this.close(fd);
    this.#found.clear();
  }
}
