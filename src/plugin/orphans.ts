/**
 * What engines have forgotten: a removal that did not reach us, since engines go on without the plugin's word. An orphan is
 * removed when the very engine that was seen to have it says twice that it has it no longer. In doubt it stays.
 */

import { type Logger, messageOf, shortId } from '../base/index.ts';
import type { GuestNetwork, Guests } from '../cnm/index.ts';
import type { Engine } from './engine.ts';

/** Time between two looks, milliseconds. */
const LOOK_MS = 5000;
/** Age from which on a thing can be an orphan: before, the engine may not have written it down yet. */
const SETTLED_MS = 10_000;

export interface OrphanParts {
  readonly guests: Guests;
  readonly log: Logger;
  readonly now: () => number;
  readonly engines: readonly Engine[];
}

export class Orphans {
  readonly #parts: OrphanParts;
  /** Missed at the last look. */
  #missed: ReadonlySet<string> = new Set();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(parts: OrphanParts) {
    this.#parts = parts;
  }

  start(): void {
    if (this.#parts.engines.length === 0 || this.#isStopped) return;
    this.#timer = setTimeout(() => {
      this.#running = this.look();
      void this.#running.finally(() => this.start());
    }, LOOK_MS).unref();
  }

  /** Resolves when no look is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** One look at all engines. Never throws. */
  async look(): Promise<void> {
    if (this.#parts.guests.networks().length === 0 && this.#parts.guests.pools().length === 0) return;
    const missed = new Set<string>();
    for (const engine of this.#parts.engines) {
      try {
        await this.#ask(engine, missed);
      } catch (error) {
        this.#parts.log.debug({ socket: engine.socket, problem: messageOf(error) }, 'an engine cannot be asked what it has');
      }
    }
    this.#missed = missed;
  }

  async #ask(engine: Engine, missed: Set<string>): Promise<void> {
    const { guests } = this.#parts;
    const id = await engine.id();
    const { ids, subnets } = await engine.networks();
    for (const net of guests.networks()) {
      if (net.phase !== 'ready') continue;
      if (ids.has(net.id)) {
        if (net.engine !== id) await guests.noteEngine(net.id, id);
        await this.#askOf(engine, net, missed);
      } else if (net.engine === id && this.#isOrphan(net, missed)) {
        await this.#remove('network', shortId(net.id), () => guests.deleteNetwork(net.id));
      }
    }
    const { local } = await guests.addressSpaces();
    for (const { id: own, pool, space, prefix, engine: owner, created } of guests.pools()) {
      // Those of the global space are the cluster's.
      if (space !== local) continue;
      if (subnets.has(prefix)) {
        if (owner !== id) await guests.notePoolEngine(pool, id);
      } else if (owner === id && this.#isOrphan({ id: own, created }, missed)) {
        await this.#remove('pool', pool, () => guests.releasePool(pool));
      }
    }
  }

  async #askOf(engine: Engine, net: GuestNetwork, missed: Set<string>): Promise<void> {
    const { guests } = this.#parts;
    const mine = guests.endpoints().filter((ep) => ep.network === net.id);
    if (mine.length === 0) return;
    const has = await engine.endpoints(net.id);
    for (const ep of mine) {
      if (!has.has(ep.id) && this.#isOrphan(ep, missed))
        await this.#remove('endpoint', shortId(ep.id), () => guests.forgetEndpoint(net.id, ep.id));
    }
  }

  #isOrphan({ id, created }: { readonly id: string; readonly created: number }, missed: Set<string>): boolean {
    const ageMs = this.#parts.now() - created;
    // What is of a time that is still to come is of before the clock was set back.
    if (ageMs >= 0 && ageMs < SETTLED_MS) return false;
    missed.add(id);
    return this.#missed.has(id);
  }

  async #remove(what: string, id: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#parts.log.warn({ id }, `an engine has forgotten a ${what}: it is removed`);
    } catch (error) {
      this.#parts.log.error({ id, err: error }, `a ${what} that an engine has forgotten cannot be removed`);
    }
  }
}
