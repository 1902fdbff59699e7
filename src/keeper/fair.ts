/**
 * Shares one thread among sandboxes: what each asks for waits in a queue of its own, and the queues take turns. While more than
 * one has work, none gets more than its share of the time, so that what arrives finds the thread free.
 */

import { Contention, Quota, type Allowance } from './quota.ts';

/** Time for what waits before sockets and timers have theirs, milliseconds; and pieces of work. */
const TURN_MS = 1;
const MAX_PIECES = 16;
/** Milliseconds of this thread for each owner while others have work too. Sockets and collected memory come on top. */
const SHARE: Allowance = { rate: 250, burst: 1 };
/** Until one that has overdrawn is looked at again, milliseconds. */
const PAUSE_MS = 1;

interface Line {
  readonly quota: Quota;
  readonly works: (() => void)[];
}

/** Queues have no bound of their own: callers bound what they add. */
export class FairTurns<Owner> {
  /** Who has work, in the order of turns. */
  readonly #queues = new Map<Owner, Line>();
  readonly #quotas = new Map<Owner, Quota>();
  readonly #contention = new Contention();
  readonly #now: () => number;
  #count = 0;
  #isScheduled = false;
  /** Everybody who has work has overdrawn. */
  #pause: NodeJS.Timeout | undefined;
  #end = Infinity;
  /** Whose work began last, and when. */
  #working: { readonly quota: Quota; readonly since: number } | undefined;

  /** `now` counts milliseconds and never goes back. */
  constructor(now = (): number => performance.now()) {
    this.#now = now;
  }

  /** Does `work` when it is the owner's turn, never before this returns. It must not throw. */
  add(owner: Owner, work: () => void): void {
    const line = this.#queues.get(owner);
    if (line === undefined) this.#queues.set(owner, { quota: this.#quotaOf(owner), works: [work] });
    else line.works.push(work);
    this.#count++;
    this.#schedule();
  }

  /** The owner is gone: its account is closed. Work that waits is done nevertheless. */
  forget(owner: Owner): void {
    this.#quotas.delete(owner);
  }

  #quotaOf(owner: Owner): Quota {
    const known = this.#quotas.get(owner);
    if (known !== undefined) return known;
    const quota = new Quota(SHARE);
    this.#quotas.set(owner, quota);
    return quota;
  }

  /**
   * A callback for each piece: what a piece has promised to go on with is done between two of them, on its owner's account and
   * within the turn. What is scheduled from within runs in the loop's next round, so that sockets are looked at in between.
   */
  #schedule(): void {
    if (this.#isScheduled || this.#count === 0) return;
    if (!this.#isAnyCovered()) {
      this.#pause ??= setTimeout(() => {
        this.#pause = undefined;
        this.#schedule();
      }, PAUSE_MS);
      return;
    }
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#isScheduled = true;
    setImmediate(() => (this.#end = this.#now() + TURN_MS));
    for (let piece = Math.min(MAX_PIECES, this.#count); piece > 0; piece--) setImmediate(() => this.#work());
    setImmediate(() => {
      this.#charge();
      this.#isScheduled = false;
      this.#schedule();
    });
  }

  #isAnyCovered(): boolean {
    const now = this.#now();
    for (const { quota } of this.#queues.values()) if (quota.isCovered(now)) return true;
    return false;
  }

  #work(): void {
    const now = this.#charge();
    if (now >= this.#end) return;
    for (const [owner, line] of this.#queues) {
      if (!line.quota.isCovered(now)) continue;
      const work = line.works.shift();
      // Behind all others.
      this.#queues.delete(owner);
      if (line.works.length > 0) this.#queues.set(owner, line);
      this.#count--;
      this.#working = { quota: line.quota, since: now };
      return work?.();
    }
  }

  #charge(): number {
    const now = this.#now();
    const working = this.#working;
    this.#working = undefined;
    if (working !== undefined && this.#contention.note(working.quota, now)) working.quota.spend(now - working.since, now);
    return now;
  }
}
