/** A set of descriptors watched by one blocking thread, with a wake-up from other threads. */

import * as libc from './libc.ts';

const EPOLLIN = 1;
const EPOLLONESHOT = 1 << 30;
const EPOLL_CTL = { add: 1, remove: 2, change: 3 } as const;
/** struct epoll_event is packed on x86-64 only: the data lies behind padding elsewhere. */
const EVENT_SIZE = process.arch === 'x64' ? 12 : 16;
const DATA_OFFSET = process.arch === 'x64' ? 4 : 8;

const ONE = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

/** Wakes a thread that waits on the eventfd `fd`; from any thread of the process. */
export const wake = (fd: number): void => void libc.write(fd, ONE);

function watched(fd: number, events: number): Buffer {
  const event = Buffer.alloc(EVENT_SIZE);
  event.writeUInt32LE(events, 0);
  event.writeUInt32LE(fd, DATA_OFFSET);
  return event;
}

/** A descriptor of the set `epoll` that was told of once, with addOnce, is told of once more; from any thread of the process. */
export const watchOnceMore = (epoll: number, fd: number): void =>
  libc.epollControl(epoll, EPOLL_CTL.change, fd, watched(fd, EPOLLIN | EPOLLONESHOT));

/** Level-triggered readability. Belongs to the thread that waits on it. */
export class EpollSet implements Disposable {
  /** Give it to `wake` on another thread. */
  readonly wakeDescriptor = libc.eventDescriptor();
  readonly #epoll = libc.epollCreate();
  readonly #events: libc.NativeMemory;
  readonly #capacity: number;
  readonly #scratch = Buffer.alloc(8);

  constructor(capacity = 64) {
    this.#capacity = capacity;
    this.#events = libc.allocateForever(EVENT_SIZE * capacity);
    this.add(this.wakeDescriptor);
  }

  /** Of the set itself: readable while one of its descriptors is. */
  get descriptor(): number {
    return this.#epoll;
  }

  add(fd: number): void {
    libc.epollControl(this.#epoll, EPOLL_CTL.add, fd, watched(fd, EPOLLIN));
  }

  /** As add, but it is told of once, and then again after watchOnceMore. */
  addOnce(fd: number): void {
    libc.epollControl(this.#epoll, EPOLL_CTL.add, fd, watched(fd, EPOLLIN | EPOLLONESHOT));
  }

  /** Must precede the descriptor's close. */
  remove(fd: number): void {
    libc.epollControl(this.#epoll, EPOLL_CTL.remove, fd, null);
  }

  /**
   * Blocks up to `timeout` milliseconds (-1: for ever) and calls `ready` with each readable descriptor. True when the
   * thread was woken: then `ready` was still called for the others.
   */
  wait(timeout: number, ready: (fd: number) => void): boolean {
    const count = libc.epollWait(this.#epoll, this.#events.address, this.#capacity, timeout);
    let woken = false;
    for (let i = 0; i < count; i++) {
      const fd = this.#events.bytes.readUInt32LE(i * EVENT_SIZE + DATA_OFFSET);
      if (fd === this.wakeDescriptor) {
        libc.read(fd, this.#scratch);
        woken = true;
      } else {
        ready(fd);
      }
    }
    return woken;
  }

  [Symbol.dispose](): void {
    libc.close(this.#epoll);
    libc.close(this.wakeDescriptor);
  }
}
