/** What a flood has left on a thread's heap: V8 collects a heap when it is full, and one that nobody fills any more keeps it for good. */

import { getHeapStatistics } from 'node:v8';
import { collectInSteps } from '../kernel/index.ts';

/** Pause between two looks whether there is something to give back, milliseconds. */
export const LOOK_MS = 5000;
/** Growth since the last collection that is worth another one, octets. */
const WORTH_OCTETS = 4 << 20;

const taken = (): number => getHeapStatistics().total_heap_size;

/** The heap of the thread that makes it. */
export class LeftHeap {
  /** What it took after the last collection, octets. */
  #settled = taken();

  /** True when a collection is worth its time. Ask it when the thread has nothing else to do. */
  get isDue(): boolean {
    return taken() - this.#settled >= WORTH_OCTETS;
  }

  /** The thread's event loop must go round meanwhile. */
  async collect(): Promise<void> {
    const before = taken();
    await collectInSteps();
    const after = taken();
    // One collection finds what is garbage, and only the next one moves the rest together: then it is looked once more.
    this.#settled = before - after >= WORTH_OCTETS ? after - WORTH_OCTETS : after;
  }
}
