/** Network and IPAM drivers by name. */

import { CnmError } from '../base/index.ts';
import type { IpamDriver } from '../ipam/index.ts';
import type { Driver } from './contract.ts';

/** Drivers by name. Throws no_driver, naming what is there. */
export class Registry<T extends { readonly name: string }> {
  readonly #what: string;
  readonly #byName: ReadonlyMap<string, T>;

  constructor(what: string, drivers: readonly T[]) {
    this.#what = what;
    this.#byName = new Map(drivers.map((driver) => [driver.name, driver]));
  }

  get(name: string): T {
    const driver = this.#byName.get(name);
    if (driver === undefined) {
      throw new CnmError(
        'no_driver',
        `could not find ${this.#what} ${JSON.stringify(name)}: plugin not found; there are ${this.names().join(', ')}`,
      );
    }
    return driver;
  }

  find(name: string): T | undefined {
    return this.#byName.get(name);
  }

  names(): string[] {
    return [...this.#byName.keys()].sort();
  }

  all(): T[] {
    return [...this.#byName.values()];
  }
}

export type DriverRegistry = Registry<Driver>;
export type IpamRegistry = Registry<IpamDriver>;
