/** The daemon once it has only the rights that it needs: configuration, composition, listening, stopping. */

import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Logger, checkSocketPath, errorCatalogue, harmless, isCnmError, messageOf } from './base/index.ts';
import { type House, openHouse } from './compose.ts';
import {
  AskedForHelp,
  type DaemonConfig,
  PRODUCT_VERSION,
  checkFree,
  checkServer,
  createApp,
  createLogger,
  listen,
  readConfig,
} from './daemon/index.ts';
import { type PluginServer, checkPluginsFree, pluginPaths, servePlugins } from './plugin/index.ts';
import { ServiceManager, growSlowly, requireCapabilities, takeListeners, withstandSignals } from './kernel/index.ts';

const UMASK = 0o077;
/** Exit code for a wrong flag or file, as for wrong usage of the CLI. */
const WRONG_USAGE = 125;
/** Longest stop, milliseconds: then the process goes anyway; a restart completes what was under way. */
const STOP_LIMIT_MS = 15_000;

/** Runs until a signal. `notice`: what the start has to tell the log. */
export async function runDaemon(notice: string | undefined): Promise<void> {
  const config = configOrExit();
  // Whatever it was when we were started. What others shall read is opened where it is made; the store makes files by itself.
  process.umask(UMASK);
  const log = createLogger(config.logLevel);
  if (notice !== undefined) log.warn({}, notice);
  withstandSignals((signal) => log.info({ signal }, 'nothing is read anew: restart the daemon for another configuration'));
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'an error went unhandled'));
  try {
    await serve(config, log);
  } catch (error) {
    if (!isCnmError(error)) log.error({ err: error }, 'the daemon cannot start');
    process.stderr.write(`patchbayd: ${wordsOf(error)}\n`);
    if (isCnmError(error)) process.stderr.write(`patchbayd: ${error.code}: ${errorCatalogue[error.code].remedy}\n`);
    process.exit(1);
  }
}

const wordsOf = (error: unknown): string => harmless(messageOf(error), process.argv.slice(2));

function configOrExit(): DaemonConfig {
  try {
    return readConfig(process.argv.slice(2));
  } catch (error) {
    if (error instanceof AskedForHelp) {
      process.stdout.write(error.message);
      process.exit(0);
    }
    process.stderr.write(`patchbayd: ${wordsOf(error)}\n`);
    process.exit(WRONG_USAGE);
  }
}

async function serve(config: DaemonConfig, log: Logger): Promise<void> {
  requireCapabilities();
  const { byPath: inherited, refused } = takeListeners(process.env, [config.socket, ...pluginPaths(config.pluginDir)]);
  if (refused.length > 0)
    log.warn({ refused }, 'the service manager hands over what nobody is served at: see --host, --plugin-dir');
  const server = {
    path: config.socket,
    ...(config.group !== undefined && { group: config.group }),
    ...(config.tcp && { tcp: config.tcp }),
    ...(inherited.has(config.socket) && { inherited: inherited.get(config.socket) }),
  };
  // A wrong flag must not leave a bridge and rules behind.
  checkServer(server);
  for (const path of pluginPaths(config.pluginDir)) checkSocketPath('--plugin-dir', path);
  const house = await openHouse({
    stateDir: config.stateDir,
    runDir: config.runDir,
    keeperEntry: join(dirname(realpathSync(process.argv[1] ?? '')), 'keeper.js'),
    env: { log, now: Date.now },
    firewall: config.firewall,
    serviceBalancer: config.serviceBalancer,
    pools: config.pools,
    bridge: config.bridge,
    dns: config.dns,
    ...(config.cluster && { cluster: { ...config.cluster, version: PRODUCT_VERSION } }),
    plugins: { folders: config.pluginPath, own: config.pluginDir, replyMs: config.pluginTimeoutMs },
    check: async () => {
      await checkFree(server);
      await checkPluginsFree(config.pluginDir, inherited);
    },
  });
  const app = createApp({ controller: house.controller, log, now: Date.now });
  const plugins = await servePlugins(
    { guests: house.controller.guests, log, now: Date.now, engines: config.engines },
    config.pluginDir,
    inherited,
  );
  await listen(app, server);
  const manager = new ServiceManager(process.env['NOTIFY_SOCKET'], log);
  stopOnSignals(house, [plugins, app], log, manager);
  manager.tell(['READY=1', `STATUS=serving ${config.socket}`]);
  manager.keepAlive(process.env);
  process.stdout.write(`ready unix://${config.socket}\n`);
  // Not before: while everything is read each step of growth would be a collection that finds nothing.
  growSlowly();
}

function stopOnSignals(
  house: House,
  doors: readonly (PluginServer | ReturnType<typeof createApp>)[],
  log: Logger,
  manager: ServiceManager,
): void {
  let stopping = false;
  const stop = async (): Promise<void> => {
    if (stopping) return;
    stopping = true;
    log.info({}, 'stopping: sandboxes stay connected');
    manager.tell(['STOPPING=1']);
    setTimeout(() => process.exit(1), STOP_LIMIT_MS).unref();
    try {
      await Promise.all(doors.map((door) => door.close()));
      await house[Symbol.asyncDispose]();
      process.exit(0);
    } catch (error) {
      log.error({ err: error }, 'the stop was not clean');
      process.exit(1);
    }
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop());
}
