/**
 * Tracked flows that must be forgotten when a published port no longer leads where it led: they would go on by the old
 * translation, UDP for as long as it talks (spec 04 P3). The kernel needs 10 ms for a walk through its table, hence what can
 * wait is forgotten behind the caller's back, many in one walk; who gets one of these addresses next waits for it.
 */

import { type Address, messageOf } from '../../src/base/index.ts';
import type { DriverParts } from '../../src/driver/index.ts';
import { type ConntrackMatch, deleteFlows } from '../../src/kernel/index.ts';

interface Batch {
  readonly matches: ConntrackMatch[];
  readonly done: Promise<void>;
}

export class FlowKeeper {
  readonly #parts: DriverParts;
  /** Walk under way. */
  #running: Batch | undefined;
  /** Walk that begins after it. */
  #next: Batch | undefined;

  constructor(parts: DriverParts) {
    this.#parts = parts;
  }

  /** Resolves when the flows are gone; a failure is logged, since the rules are what counts. */
  forget(matches: readonly ConntrackMatch[]): Promise<void> {
    if (matches.length === 0) return Promise.resolve();
    if (this.#next === undefined) {
      const fresh: ConntrackMatch[] = [];
      const before = this.#running?.done ?? Promise.resolve();
      this.#next = { matches: fresh, done: before.then(() => this.#walk()) };
    }
    this.#next.matches.push(...matches);
    return this.#next.done;
  }

  /** Resolves when no flow of these addresses waits to be forgotten. */
  async settled(addresses: readonly Address[]): Promise<void> {
    const concerns = (batch: Batch | undefined): boolean =>
      batch !== undefined && batch.matches.some(({ address }) => address !== undefined && addresses.includes(address));
    if (concerns(this.#next)) await this.#next?.done;
    else if (concerns(this.#running)) await this.#running?.done;
  }

  async #walk(): Promise<void> {
    const batch = this.#next;
    this.#next = undefined;
    this.#running = batch;
    try {
      await deleteFlows(this.#parts.host, batch?.matches ?? []);
    } catch (error) {
      this.#parts.env.log.warn({ error: messageOf(error) }, 'flows of withdrawn ports were not forgotten');
    } finally {
      if (this.#running === batch) this.#running = undefined;
    }
  }
}
