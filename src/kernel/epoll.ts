/** A set of descriptors watched by one blocking thread, with a wake-up from other threads. */

import * as libc from './libc.ts';

const EPOLLIN = 1;
/** struct epoll_event is packed on x86-64 only: the data lies behind padding elsewhere. */
const EVENT_SIZE = process.arch === 'x64' ? 12 : 16;
const DATA_OFFSET = process.arch === 'x64' ? 4 : 8;

const ONE = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

/** Wakes a thread that waits on the eventfd `fd`; from any thread of the process. */
export const wake = (fd: number): void => void libc.write(fd, ONE);

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

  add(fd: number): void {
    const event = Buffer.alloc(EVENT_SIZE);
    event.writeUInt32LE(EPOLLIN, 0);
    event.writeUInt32LE(fd, DATA_OFFSET);
    libc.epollControl(this.#epoll, 1, fd, event);
  }

  /** Must precede the descriptor's close. */
  remove(fd: number): void {
    libc.epollControl(this.#epoll, 2, fd, null);
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
