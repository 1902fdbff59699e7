/**
 * Faults in what use cases call directly: functions of the kernel room, and the sandbox's files. Their modules are replaced by
 * themselves, each call led past the faults that are armed. Only for vi.mock in a test file.
 */

import { afterEach } from 'vitest';
import type * as files from '../../src/cnm/files.ts';
import type * as shared from '../../src/cnm/shared/shared.ts';
import type * as kernel from '../../src/kernel/index.ts';
import type { Netns } from '../../src/kernel/index.ts';
import type { Faults, Moment } from './faults.ts';

const both: readonly Moment[] = ['before', 'after'];
/** What throws has left nothing behind: such a call is not broken after its work. */
const nothingLeft: readonly Moment[] = ['before'];

let armed: Faults | undefined;
afterEach(() => (armed = undefined));

/** Leads the modules' calls past these faults, until the test ends. */
export const arm = (faults: Faults): void => void (armed = faults);

type AnyFunction = (...args: never[]) => unknown;

function wrapped<T extends object>(real: T, moments: Partial<Record<keyof T & string, readonly Moment[]>>): T {
  const changed = Object.entries(moments).map(([name, at]) => {
    const work = Reflect.get(real, name) as AnyFunction;
    const call = (...args: never[]): unknown => {
      if (armed === undefined) return work(...args);
      const isAsync = work.constructor.name === 'AsyncFunction';
      const run = (): unknown => work(...args);
      return isAsync
        ? armed.later(name, at as readonly Moment[], run as () => Promise<unknown>)
        : armed.atOnce(name, at as readonly Moment[], run);
    };
    return [name, call];
  });
  return { ...real, ...(Object.fromEntries(changed) as Partial<T>) };
}

export function kernelWithFaults(real: typeof kernel): typeof kernel {
  const openNetns: typeof real.openNetns = (path) =>
    armed === undefined ? real.openNetns(path) : inside(real.openNetns(path), armed);
  const createNetns: typeof real.createNetns = (path) =>
    armed === undefined
      ? real.createNetns(path)
      : armed.atOnce('createNetns', nothingLeft, () => inside(real.createNetns(path), armed as Faults));
  return {
    ...wrapped(real, {
      pinNetns: nothingLeft,
      removeNetnsPin: both,
      writeSysctl: both,
      installResolverRedirect: both,
      removeResolverRedirect: both,
    }),
    openNetns,
    createNetns,
  };
}

/** A sandbox's namespace whose batches are counted too. */
const inside = (netns: Netns, faults: Faults): Netns =>
  new Proxy(netns, {
    get: (target, key) => {
      if (key === 'rtnl') return () => faults.rtnl(target.rtnl(), 'rtnl in the sandbox');
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });

/** Networks that hosts share: what use cases ask of them. What goes on by itself is not led past the faults. */
export function sharedWithFaults(real: typeof shared, also: readonly 'rewrite'[] = []): typeof shared {
  const led = <T extends object>(name: string, target: T, methods: readonly (keyof T & string)[]): T =>
    new Proxy(target, {
      get: (object, key) => {
        const value: unknown = Reflect.get(object, key, object);
        if (typeof value !== 'function') return value;
        const work = value.bind(object) as (...args: unknown[]) => Promise<unknown>;
        if (!(methods as readonly (string | symbol)[]).includes(key)) return work;
        return (...args: unknown[]) =>
          armed === undefined ? work(...args) : armed.later(`${name}.${String(key)}`, both, () => work(...args));
      },
    });
  class Shared extends real.Shared {
    constructor(...args: ConstructorParameters<typeof real.Shared>) {
      super(...args);
      Object.assign(this, {
        networks: led('shared.networks', this.networks, ['claim', 'publish', 'remove']),
        endpoints: led('shared.endpoints', this.endpoints, ['write', 'writeWaiting', 'withdraw', ...also]),
      });
      return led<InstanceType<typeof real.Shared>>('shared', this, ['enter', 'exit']) as this;
    }
  }
  return { ...real, Shared };
}

export const filesWithFaults = (real: typeof files): typeof files =>
  wrapped(real, {
    createFiles: both,
    removeFiles: both,
    addHostLines: both,
    removeHostLines: both,
    writeResolverResolvConf: both,
    writeLegacyResolvConf: both,
  });
