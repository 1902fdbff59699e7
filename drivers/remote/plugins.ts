/** All foreign plugins: one client each, which serves its network driver and its IPAM driver alike. */

import type { Env } from '../../src/base/index.ts';
import type { Driver, ForeignDrivers } from '../../src/driver/index.ts';
import type { IpamDriver } from '../../src/ipam/index.ts';
import type { Mark, Netns } from '../../src/kernel/index.ts';
import type { Store } from '../../src/store/index.ts';
import { type Role, PluginClient } from './client.ts';
import { Debts } from './debts.ts';
import { Discovery, isPluginName } from './discovery.ts';
import { RemoteDriver } from './driver.ts';
import { RemoteIpam } from './ipam.ts';

/** Time for an answer that somebody needs, milliseconds. */
const REPLY_MS = 20_000;

export interface PluginsParts {
  readonly host: Netns;
  readonly mark: Mark;
  readonly env: Env;
  /** Keeps what plugins still have to be told. */
  readonly store: Store;
  /** Where plugins are looked for. */
  readonly folders: readonly string[];
  /** Folder of the sockets that we serve ourselves. */
  readonly own?: string;
  /** Default 20 s. */
  readonly replyMs?: number;
}

export interface Plugins {
  readonly drivers: ForeignDrivers<Driver>;
  readonly ipams: ForeignDrivers<IpamDriver>;
  close(): Promise<void>;
}

/** Asks nobody yet. */
export async function openPlugins(parts: PluginsParts): Promise<Plugins> {
  const { host, mark, env, store, folders, own, replyMs = REPLY_MS } = parts;
  const { log } = env;
  const discovery = new Discovery(folders, own);
  const debts = await Debts.open(store, env);
  const clients = new Map<string, PluginClient>();
  const clientOf = (name: string): PluginClient | undefined => {
    if (!isPluginName(name)) return undefined;
    const client = clients.get(name) ?? new PluginClient(name, { discovery, debts, log, replyMs });
    clients.set(name, client);
    return client;
  };
  debts.debtor = clientOf;

  const kind = <T>(role: Role, make: (client: PluginClient) => T): ForeignDrivers<T> => {
    const made = new Map<string, T>();
    const recorded = (name: string): T | undefined => {
      const client = clientOf(name);
      if (client === undefined) return undefined;
      const driver = made.get(name) ?? make(client);
      made.set(name, driver);
      return driver;
    };
    return {
      recorded,
      async resolve(name) {
        // Whoever asks for what is not there leaves nothing behind.
        if (clients.get(name)?.manifest === undefined && (await discovery.find(name)) === undefined) return undefined;
        await clientOf(name)?.activate(role);
        return recorded(name);
      },
    };
  };
  return {
    drivers: kind('NetworkDriver', (client) => new RemoteDriver(client, { host, mark, log })),
    ipams: kind('IpamDriver', (client) => new RemoteIpam(client)),
    close: () => debts.close(),
  };
}
