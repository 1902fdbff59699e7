/**
 * Shares one thread among sandboxes: what each asks for waits in a queue of its own, and the queues take turns. While more than
 * one has work, none gets more than its share of the time, so that what arrives finds the thread free.
 */

import { Contention, Quota, type Allowance } from './quota.ts';

/** Time for what waits before sockets and timers have theirs, milliseconds. */
const TURN_MS = 1;
/** Milliseconds of this thread for each owner while others have work too. Sockets and collected memory come on top. */
const SHARE: Allowance = { rate: 350, burst: 1 };
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
  #next: NodeJS.Immediate | undefined;
  /** Instead of `next`: everybody who has work has overdrawn. */
  #pause: NodeJS.Timeout | undefined;

  /** `now` counts milliseconds and never goes back. */
  constructor(now = (): number => performance.now()) {
    this.#now = now;
  }

  /** Does `work` when it is the owner's turn, never before this returns. It must not throw. */
  add(owner: Owner, work: () => void): void {
    const line = this.#queues.get(owner);
    if (line === undefined) this.#queues.set(owner, { quota: this.#quotaOf(owner), works: [work] });
    else line.works.push(work);
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

  #schedule(): void {
    if (this.#next !== undefined || this.#queues.size === 0) return;
    if (this.#isAnyCovered()) {
      clearTimeout(this.#pause);
      // What is scheduled from within a turn runs in the loop's next one, so that sockets are looked at in between.
      this.#next = setImmediate(() => this.#turn());
    } else {
      this.#pause ??= setTimeout(() => this.#turn(), PAUSE_MS);
    }
  }

  #isAnyCovered(): boolean {
    const now = this.#now();
    for (const { quota } of this.#queues.values()) if (quota.isCovered(now)) return true;
    return false;
  }

  #turn(): void {
    this.#next = undefined;
    this.#pause = undefined;
    this.#work();
    this.#schedule();
  }

  #work(): void {
    let now = this.#now();
    const end = now + TURN_MS;
    // A map is walked in the order of insertion, also over what is inserted meanwhile.
    for (const [owner, line] of this.#queues) {
      if (!line.quota.isCovered(now)) continue;
      line.works.shift()?.();
      const before = now;
      now = this.#now();
      if (this.#contention.note(line.quota, now)) line.quota.spend(now - before, now);
      // Behind all others.
      this.#queues.delete(owner);
      if (line.works.length > 0) this.#queues.set(owner, line);
      if (now >= end) return;
    }
  }
}
