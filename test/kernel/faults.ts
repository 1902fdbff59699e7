/** Makes one call fail, or never return, so that what a use case leaves behind can be looked at. */

import { type DriverRegistry, type ForeignDrivers, type IpamRegistry, Registry } from '../../src/driver/index.ts';
import type { Rtnl } from '../../src/kernel/index.ts';

/** `before`: the call does nothing. `after`: it does all of its work first. */
export type Moment = 'before' | 'after';

/** Counts calls of what it has wrapped, and breaks the one that it is told to break. */
export class Faults {
  #count = 0;
  #at = 0;
  #moment: Moment = 'before';
  #isDeath = false;
  #isDead = false;
  /** The call that was broken since the last reset. */
  broke: string | undefined;
  #reached: (() => void) | undefined;
  readonly #losesAnswers: boolean;

  /** `losesAnswers`: a lease of the cluster may have been made, or ended, when the call fails. */
  constructor({ losesAnswers = false }: { readonly losesAnswers?: boolean } = {}) {
    this.#losesAnswers = losesAnswers;
  }

  /** Counts from 0 again and breaks nothing. */
  reset(): void {
    this.#count = 0;
    this.#at = 0;
    this.#isDeath = false;
    this.broke = undefined;
  }

  /** The `at`-th call from now on throws. */
  breakAt(at: number, moment: Moment): void {
    this.reset();
    this.#at = at;
    this.#moment = moment;
  }

  /** The `at`-th call from now on never returns, nor does any after it: as if the process had been killed. */
  dieAt(at: number, moment: Moment): Promise<void> {
    this.breakAt(at, moment);
    this.#isDeath = true;
    return new Promise((resolve) => (this.#reached = resolve));
  }

  /** An object whose named async methods are counted under `name`. */
  wrap<T extends object>(name: string, target: T, methods: readonly (keyof T & string)[], moments: readonly Moment[]): T {
    return new Proxy(target, {
      get: (object, key) => {
        const value: unknown = Reflect.get(object, key, object);
        if (typeof value !== 'function') return value;
        const bound = value.bind(object) as (...args: unknown[]) => Promise<unknown>;
        if (!(methods as readonly (string | symbol)[]).includes(key)) return bound;
        return (...args: unknown[]) => this.#call(`${name}.${String(key)}`, moments, () => bound(...args));
      },
    });
  }

  /** An rtnetlink façade whose batches and moves are counted. */
  rtnl(target: Rtnl, name = 'rtnl'): Rtnl {
    const link = this.wrap(`${name}.link`, target.link, ['add', 'move'], ['before', 'after']);
    const withMoves = new Proxy(target, {
      get: (object, key) => {
        if (key === 'link') return link;
        const value: unknown = Reflect.get(object, key, object);
        return typeof value === 'function' ? (value.bind(object) as unknown) : value;
      },
    });
    return this.wrap(name, withMoves, ['batch', 'batchOffThread'], ['before', 'after']);
  }

  /** IPAM drivers whose leases are counted. */
  registry(target: IpamRegistry): IpamRegistry {
    const leases = ['requestPool', 'requestAddress', 'releasePool', 'releaseAddress'] as const;
    const wrap = (ipam: ReturnType<IpamRegistry['get']>): typeof ipam =>
      this.#losesAnswers && ipam.name === 'cluster'
        ? this.wrap('ipam', ipam, [...leases, 'releaseAll'], ['before', 'after'])
        : this.wrap('ipam', ipam, leases, ['before']);
    return new Registry('IPAM driver', target.all().map(wrap), foreign(target.foreign, wrap));
  }

  /** Drivers whose deletes are counted; what they do on the way in is counted call by call. */
  drivers(target: DriverRegistry): DriverRegistry {
    const wrap = (driver: ReturnType<DriverRegistry['get']>): typeof driver =>
      this.wrap('driver', driver, ['deleteEndpoint', 'deleteNetwork'], ['before']);
    // What a foreign driver does is done by another process: it is counted call by call of the contract.
    const wrapForeign = (driver: ReturnType<DriverRegistry['get']>): typeof driver =>
      this.wrap(
        'foreign driver',
        driver,
        ['createNetwork', 'createEndpoint', 'join', 'deleteEndpoint', 'deleteNetwork'],
        ['before'],
      );
    return new Registry('driver', target.all().map(wrap), foreign(target.foreign, wrapForeign));
  }

  /**
   * A call that works at once, of a module's function. It can only be broken: whoever is killed at such a call has done, or
   * not done, what another kill finds before or after the next asynchronous one.
   */
  atOnce<T>(name: string, moments: readonly Moment[], work: () => T): T {
    if (this.#isDeath || !moments.includes(this.#moment) || ++this.#count !== this.#at) return work();
    this.broke = name;
    if (this.#moment === 'after') work();
    throw new Error(`broken on purpose: ${name}`);
  }

  /** As a wrapped method: an asynchronous function of a module. */
  later(name: string, moments: readonly Moment[], work: () => Promise<unknown>): Promise<unknown> {
    return this.#call(name, moments, work);
  }

  async #call(name: string, moments: readonly Moment[], work: () => Promise<unknown>): Promise<unknown> {
    if (this.#isDead) return never();
    // A part that promises to have done nothing when it throws is not broken after its work.
    if (!moments.includes(this.#moment) || ++this.#count !== this.#at) return work();
    this.broke = name;
    // Its own failure, such as a neighbour entry that is gone already, is one that callers may bear with: this one is not.
    if (this.#moment === 'after') await work().catch(() => undefined);
    if (!this.#isDeath) throw new Error(`broken on purpose: ${name}`);
    this.#isDead = true;
    this.#reached?.();
    return never();
  }
}

const foreign = <T>(target: ForeignDrivers<T> | undefined, wrap: (driver: T) => T): ForeignDrivers<T> => ({
  recorded(name) {
    const driver = target?.recorded(name);
    return driver && wrap(driver);
  },
  async resolve(name, signal) {
    const driver = await target?.resolve(name, signal);
    return driver && wrap(driver);
  },
});

const never = (): Promise<never> => new Promise(() => {});
