/** Network and IPAM drivers by name: those of this program, and those that others serve. */

import { CnmError } from '../base/index.ts';
import type { IpamDriver } from '../ipam/index.ts';
import type { Driver } from './contract.ts';

/** Drivers that are no part of this program. */
export interface ForeignDrivers<T> {
  /** Asks whoever serves the name; undefined when nobody does. Throws plugin_unreachable, plugin_failed. */
  resolve(name: string, signal?: AbortSignal): Promise<T | undefined>;
  /** The driver of a record, resolved perhaps by an earlier process. Asks nobody; undefined for what cannot be a name. */
  recorded(name: string): T | undefined;
}

/** Drivers by name; our own are never shadowed. */
export class Registry<T extends { readonly name: string }> {
  readonly #what: string;
  readonly #byName: ReadonlyMap<string, T>;
  readonly foreign: ForeignDrivers<T> | undefined;

  constructor(what: string, drivers: readonly T[], foreign?: ForeignDrivers<T>) {
    this.#what = what;
    this.#byName = new Map(drivers.map((driver) => [driver.name, driver]));
    this.foreign = foreign;
  }

  /** For something new: a foreign driver is asked whether it is there. Throws no_driver, plugin_unreachable, plugin_failed. */
  async resolve(name: string, signal?: AbortSignal): Promise<T> {
    const driver = this.#byName.get(name) ?? (await this.foreign?.resolve(name, signal));
    if (driver === undefined) throw this.#missing(name);
    return driver;
  }

  /** For what a record names. Throws no_driver, naming what is there. */
  get(name: string): T {
    const driver = this.find(name);
    if (driver === undefined) throw this.#missing(name);
    return driver;
  }

  find(name: string): T | undefined {
    return this.#byName.get(name) ?? this.foreign?.recorded(name);
  }

  isForeign(name: string): boolean {
    return !this.#byName.has(name);
  }

  /** Our own. */
  names(): string[] {
    return [...this.#byName.keys()].sort();
  }

  /** Our own. */
  all(): T[] {
    return [...this.#byName.values()];
  }

  #missing(name: string): CnmError {
    return new CnmError(
      'no_driver',
      `could not find ${this.#what} ${JSON.stringify(name)}: plugin not found; there are ${this.names().join(', ')}`,
    );
  }
}

export type DriverRegistry = Registry<Driver>;
export type IpamRegistry = Registry<IpamDriver>;
