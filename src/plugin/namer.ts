/**
 * What engines call their containers in networks of the cluster, asked over their API: the plugin protocol tells no names. Other
 * hosts find a container by its name some tenths of a second after it has started.
 */

import { type Logger, messageOf } from '../base/index.ts';
import type { GuestEndpoint, Guests } from '../cnm/index.ts';
import type { Engine } from './engine.ts';

/** Time between two looks at everybody, since names change; and after a join until somebody is named, milliseconds. */
const LOOK_MS = 5000;
const SOON_MS = 100;
/** Quick looks after the last join. */
const QUICK_LOOKS = 50;
/** Names of one container. */
const MAX_NAMES = 64;

export interface NamerParts {
  readonly guests: Guests;
  readonly log: Logger;
  readonly engines: readonly Engine[];
}

export class Namer {
  readonly #parts: NamerParts;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #quick = 0;
  #isLooking = false;
  #isStopped = false;

  constructor(parts: NamerParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#next();
  }

  /** Somebody has joined: his engine will say his name in a moment. */
  soon(): void {
    this.#quick = QUICK_LOOKS;
    if (!this.#isLooking) this.#next();
  }

  /** Resolves when no look is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #next(): void {
    clearTimeout(this.#timer);
    if (this.#isStopped || this.#parts.engines.length === 0) return;
    const isQuick = this.#quick > 0;
    if (isQuick) this.#quick--;
    this.#timer = setTimeout(
      () => {
        this.#isLooking = true;
        this.#running = this.#look(isQuick);
        void this.#running.finally(() => {
          this.#isLooking = false;
          this.#next();
        });
      },
      isQuick ? SOON_MS : LOOK_MS,
    ).unref();
  }

  /** Never throws. `onlyNew`: those that have a name already are left for another look. */
  async #look(onlyNew: boolean): Promise<void> {
    const { guests, log, engines } = this.#parts;
    const homes = new Set(guests.networks().flatMap(({ id, home }) => (home === undefined ? [] : [id])));
    const joined = guests.endpoints().filter((ep) => ep.phase === 'joined' && homes.has(ep.network));
    const wanted = onlyNew ? joined.filter(({ names }) => names === undefined) : joined;
    if (onlyNew && wanted.length === 0) this.#quick = 0;
    for (const network of new Set(wanted.map((ep) => ep.network))) {
      const own = wanted.filter((ep) => ep.network === network);
      for (const engine of engines) {
        try {
          await this.#ask(engine, network, own, onlyNew);
        } catch (error) {
          log.debug({ socket: engine.socket, problem: messageOf(error) }, 'an engine does not say the names of its containers');
        }
      }
    }
  }

  async #ask(engine: Engine, network: GuestEndpoint['network'], own: readonly GuestEndpoint[], isFirst: boolean): Promise<void> {
    const members = await engine.members(network);
    for (const { id } of own) {
      const member = members.get(id);
      if (member === undefined) continue;
      // A container that is starting is not told of before it has started: its own name is known before.
      if (isFirst && member.name !== '') await this.#tell(network, id, [member.name, member.container.slice(0, 12)]);
      await this.#tell(network, id, (await engine.namesOf(member.container)).get(id) ?? []);
    }
  }

  async #tell(network: GuestEndpoint['network'], id: GuestEndpoint['id'], names: readonly string[]): Promise<void> {
    const usable = [...new Set(names.map((name) => name.toLowerCase()))].filter((name) => /^[\w.-]{1,255}$/.test(name));
    if (usable.length > 0) await this.#parts.guests.nameEndpoint(network, id, usable.slice(0, MAX_NAMES));
  }
}
