/** The sockets that an engine finds its plugins by: one a driver, so that each has a scope of its own (spec 03 §1 to §3). */

import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { CnmError, type Json, type Logger, isCnmError, isServed, messageOf } from '../base/index.ts';
import type { Guests } from '../cnm/index.ts';
import { wire } from '../driver/index.ts';
import { readBody } from './body.ts';
import { ipamFace } from './ipam-face.ts';
import { type Method, networkFace } from './network-face.ts';
import { Orphans } from './orphans.ts';

/** Drivers that engines may use, by the name of their plugin. */
const PLUGINS: Readonly<Record<string, string>> = { 'patchbay-bridge': 'bridge' };

/** Octets of the largest body; an endpoint with thousands of published ports stays below. */
const BODY_LIMIT = 4 * 1024 * 1024;

export interface PluginParts {
  readonly guests: Guests;
  readonly log: Logger;
  readonly now: () => number;
  /** Paths of the API sockets of engines that may be asked what they have. */
  readonly engines: readonly string[];
}

export interface PluginServer {
  /** Answers what is under way, then takes the sockets away: a stale one holds an engine up for seconds. */
  close(): Promise<void>;
}

/** Whether nobody else serves the plugins, before anything is made in the kernel. Throws daemon_running. */
export async function checkPluginsFree(folder: string): Promise<void> {
  for (const plugin of Object.keys(PLUGINS)) await refuseServed(socketOf(folder, plugin));
}

const socketOf = (folder: string, plugin: string): string => join(folder, `${plugin}.sock`);

/** Serves every plugin under `folder`. Throws daemon_running when another process serves one of them. */
export async function servePlugins(parts: PluginParts, folder: string): Promise<PluginServer> {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const served: { readonly app: FastifyInstance; readonly path: string }[] = [];
  const orphans = new Orphans({ ...parts, sockets: parts.engines });
  const close = async (): Promise<void> => {
    await orphans.stop();
    for (const { app, path } of served.splice(0)) {
      await app.close();
      rmSync(path, { force: true });
    }
  };
  try {
    for (const [plugin, driver] of Object.entries(PLUGINS)) {
      const path = socketOf(folder, plugin);
      const app = createPlugin(parts, driver);
      await listen(app, path);
      served.push({ app, path });
    }
  } catch (error) {
    await close();
    throw error;
  }
  orphans.start();
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
  if (await isServed(path))
    throw new CnmError('daemon_running', `another process serves ${path}: stop it, or use another --plugin-dir`);
}

/** One plugin: the network driver and the IPAM. */
function createPlugin({ guests, log }: PluginParts, driver: string): FastifyInstance {
  const methods: Readonly<Record<string, Method>> = {
    'Plugin.Activate': async () => ({ Implements: ['NetworkDriver', 'IpamDriver'] }),
    ...networkFace(guests, guests.driver(driver)),
    ...ipamFace(guests),
  };
  const app = fastify({ logger: false, bodyLimit: BODY_LIMIT, exposeHeadRoutes: false, forceCloseConnections: true });
  app.removeAllContentTypeParsers();
  // Engines send no content type, and no body where a method takes no argument.
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.setErrorHandler((error, request, reply) => refuse(reply, 400, methodOf(request), error));
  app.setNotFoundHandler((request, reply) =>
    refuse(reply, 404, methodOf(request), new CnmError('no_page', `${request.method} ${request.url} is not served`)),
  );
  app.post('/:method', async (request, reply) => {
    const name = methodOf(request);
    const serve = Object.hasOwn(methods, name) ? methods[name] : undefined;
    if (serve === undefined) return refuse(reply, 404, name, new CnmError('no_page', `${name} is not implemented`));
    const abort = new AbortController();
    const gone = (): void => abort.abort();
    reply.raw.once('close', gone);
    try {
      return await send(reply, 200, await serve(readBody(request.body, name), abort.signal));
    } catch (error) {
      if (!isCnmError(error)) log.error({ method: name, err: error }, 'a call of an engine failed');
      else log.warn({ method: name, code: error.code, problem: error.message }, 'a call of an engine was refused');
      // With 200: another status would be told to the user as a failure of the protocol.
      return refuse(reply, 200, name, error);
    } finally {
      reply.raw.off('close', gone);
    }
  });
  return app;
}

const methodOf = (request: FastifyRequest): string => request.url.slice(1);

/** Network drivers tell an error by `Err`, IPAM drivers by `Error`, and either ignores the other's key. */
const refuse = (reply: FastifyReply, status: number, method: string, error: unknown): FastifyReply =>
  send(reply, status, method.startsWith('IpamDriver.') ? { Error: messageOf(error) } : { Err: messageOf(error) });

const send = (reply: FastifyReply, status: number, answer: Json): FastifyReply =>
  reply
    .code(status)
    .header('Content-Type', wire.PLUGIN_MEDIA_TYPE)
    // As octets: to a text, a charset would be added to the type.
    .send(Buffer.from(`${JSON.stringify(answer)}\n`));
