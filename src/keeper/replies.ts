/**
 * Sockets on which replies of upstreams are awaited, one for each question. The loop's thread tells when some have come, and they
 * are read on this one: Node's own sockets cost several times as much, most of it in collecting what they leave behind.
 */

import type { DialEvents } from '../dns/index.ts';
import { EpollSet, libc } from '../kernel/index.ts';

/** Sockets read between two turns of the event loop. */
const BATCH = 32;
/** No datagram is longer. */
const LONGEST = 1 << 16;

export class Replies implements Disposable {
  readonly #ready = new EpollSet(BATCH);
  readonly #waiting = new Map<number, DialEvents>();
  readonly #incoming = Buffer.allocUnsafeSlow(LONGEST);

  /** Readable while replies wait. */
  get descriptor(): number {
    return this.#ready.descriptor;
  }

  /** Takes over `fd`, which is connected and does not block. Events come until close(), which is repeatable. */
  watch(fd: number, events: DialEvents): { close(): void } {
    this.#ready.add(fd);
    this.#waiting.set(fd, events);
    let isOpen = true;
    const close = (): void => {
      if (!isOpen) return;
      isOpen = false;
      this.#waiting.delete(fd);
      this.#ready.remove(fd);
      libc.close(fd);
    };
    return { close };
  }

  /** Reads one reply from each of some sockets that have any. */
  read(): void {
    this.#ready.wait(0, (fd) => {
      // Closed by an event before it, in which case the number may be another socket's already: that one just has nothing yet.
      const events = this.#waiting.get(fd);
      if (events === undefined) return;
      let length: number;
      try {
        length = libc.receive(fd, this.#incoming, libc.MSG.dontwait);
      } catch (error) {
        return events.failed(error instanceof Error ? error : new Error(String(error)));
      }
      if (length >= 0) events.message(new Uint8Array(this.#incoming.subarray(0, length)));
    });
  }

  [Symbol.dispose](): void {
    this.#ready[Symbol.dispose]();
  }
}
