/** The sockets that an engine finds its plugins by: one a driver, so that each has a scope of its own (spec 03 §1 to §3). */

import { chmodSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { CnmError, type Logger, forFlag, isNoSocket, isServed, listenOnDescriptor, makeOpenFolder } from '../base/index.ts';
import type { Guests } from '../cnm/index.ts';
import { createPlugin } from './app.ts';
import { Engine } from './engine.ts';
import { Namer } from './namer.ts';
import { Orphans } from './orphans.ts';

/** Drivers that engines may use, by the name of their plugin. */
const PLUGINS: Readonly<Record<string, string>> = {
  'patchbay-bridge': 'bridge',
  'patchbay-macvlan': 'macvlan',
  'patchbay-ipvlan': 'ipvlan',
  'patchbay-overlay': 'overlay',
};

export interface PluginParts {
  readonly guests: Guests;
  readonly log: Logger;
  readonly now: () => number;
  /** Paths of the API sockets of engines that may be asked what they have. */
  readonly engines: readonly string[];
}

/** Sockets that a service manager listens on for us, by their paths. It keeps them when we stop. */
type Inherited = ReadonlyMap<string, number>;

export interface PluginServer {
  /** Answers what is under way, then takes the sockets away: a stale one holds an engine up for seconds. */
  close(): Promise<void>;
}

/** Makes the folder, and sees that nobody else serves the plugins, before anything is made in the kernel. Throws bad_config or daemon_running. */
export async function checkPluginsFree(folder: string, inherited: Inherited): Promise<void> {
  forFlag('--plugin-dir', folder, () => makeOpenFolder(folder));
  for (const path of pluginPaths(folder)) if (!inherited.has(path)) await refuseServed(path);
}

/** Paths of all plugins' sockets. */
export const pluginPaths = (folder: string): string[] => Object.keys(PLUGINS).map((plugin) => socketOf(folder, plugin));

const socketOf = (folder: string, plugin: string): string => join(folder, `${plugin}.sock`);

/** Serves every plugin under `folder`, after checkPluginsFree. Throws daemon_running when another process serves one of them. */
export async function servePlugins(parts: PluginParts, folder: string, inherited: Inherited): Promise<PluginServer> {
  const served: { readonly app: FastifyInstance; readonly path: string }[] = [];
  const engines = parts.engines.map((path) => new Engine(path));
  const orphans = new Orphans({ ...parts, engines });
  const namer = new Namer({ ...parts, engines });
  const close = async (): Promise<void> => {
    await Promise.all([orphans.stop(), namer.stop()]);
    for (const { app, path } of served.splice(0)) {
      await app.close();
      if (!inherited.has(path)) rmSync(path, { force: true });
    }
  };
  try {
    for (const [plugin, driver] of Object.entries(PLUGINS)) {
      const path = socketOf(folder, plugin);
      const app = createPlugin(parts.guests, parts.log, driver, namer);
      const fd = inherited.get(path);
      if (fd === undefined) await listen(app, path);
      else await app.ready().then(() => listenOnDescriptor(app.server, fd));
      served.push({ app, path });
    }
  } catch (error) {
    await close();
    throw error;
  }
  orphans.start();
  namer.start();
  return { close };
}

async function listen(app: FastifyInstance, path: string): Promise<void> {
  await refuseServed(path);
  rmSync(path, { force: true });
  // Between bind and chmod nobody else may connect.
  const before = process.umask(0o177);
  try {
    await app.listen({ path });
  } finally {
    process.umask(before);
  }
  chmodSync(path, 0o600);
}

async function refuseServed(path: string): Promise<void> {
  if (isNoSocket(path))
    throw new CnmError('bad_config', `--plugin-dir: ${path} is there and is no socket: move it away, or use another folder`);
  if (await isServed(path))
    throw new CnmError('daemon_running', `another process serves ${path}: stop it, or use another --plugin-dir`);
}
