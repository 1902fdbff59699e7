/** Shares one thread among sandboxes: what each asks for waits in a queue of its own, and the queues take turns. */

/** Time for what waits before sockets and timers have theirs, milliseconds. */
const TURN_MS = 1;

/** Queues have no bound of their own: callers bound what they add. */
export class FairTurns<Owner> {
  /** Who has work, in the order of turns. */
  readonly #queues = new Map<Owner, (() => void)[]>();
  #isScheduled = false;

  /** Does `work` when it is the owner's turn, never before this returns. It must not throw. */
  add(owner: Owner, work: () => void): void {
    const queue = this.#queues.get(owner);
    if (queue === undefined) this.#queues.set(owner, [work]);
    else queue.push(work);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#queues.size === 0) return;
    this.#isScheduled = true;
    // What is scheduled from within a turn runs in the loop's next one, so that sockets are looked at in between.
    setImmediate(() => {
      this.#isScheduled = false;
      this.#turn();
      this.#schedule();
    });
  }

  #turn(): void {
    const end = performance.now() + TURN_MS;
    // A map is walked in the order of insertion, also over what is inserted meanwhile.
    for (const [owner, queue] of this.#queues) {
      queue.shift()?.();
      // Behind all others.
      this.#queues.delete(owner);
      if (queue.length > 0) this.#queues.set(owner, queue);
      if (performance.now() >= end) return;
    }
  }
}
