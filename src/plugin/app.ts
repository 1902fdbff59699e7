/** One plugin over HTTP: methods by their names, errors as engines read them, and bounds for whoever calls. */

import type { Socket } from 'node:net';
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { CnmError, type Json, type Logger, NO_SCHEMAS, isCnmError, messageOf, plain, within } from '../base/index.ts';
import type { Guests } from '../cnm/index.ts';
import { wire } from '../driver/index.ts';
import { readBody } from './body.ts';
import { homeIpamFace, ipamFace } from './ipam-face.ts';
import type { Namer } from './namer.ts';
import { type Method, networkFace } from './network-face.ts';

/** Octets of the largest body; an endpoint with thousands of published ports stays below. */
const BODY_LIMIT = 4 * 1024 * 1024;

/** Connections to one plugin at once; engines have a few. */
const MAX_CONNECTIONS = 512;

/** Longest wait at the stop for calls that are under way, milliseconds. */
const DRAIN_MS = 10_000;

/** Times in milliseconds: all headers, the whole request, how often is looked. */
const HTTP = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 60_000,
  connectionsCheckingInterval: 1000,
} as const;

/** The network driver and the IPAM. */
export function createPlugin(guests: Guests, log: Logger, name: string, namer: Namer): FastifyInstance {
  const driver = guests.driver(name);
  const methods: Readonly<Record<string, Method>> = {
    'Plugin.Activate': async () => ({ Implements: ['NetworkDriver', 'IpamDriver'] }),
    ...networkFace(guests, driver, namer),
    ...(driver.cluster === undefined ? ipamFace(guests) : homeIpamFace(guests)),
  };
  const app = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT,
    exposeHeadRoutes: false,
    schemaController: NO_SCHEMAS,
    forceCloseConnections: true,
    requestTimeout: HTTP.requestTimeout,
    // An engine that sends on a connection which we just close calls again, without the body.
    keepAliveTimeout: 0,
    http: HTTP,
    routerOptions: { maxParamLength: 2048 },
    frameworkErrors: (error, request, reply) => void refuse(reply, 400, request.url.slice(1), error),
    clientErrorHandler: refuseNonsense,
  });
  app.server.maxConnections = MAX_CONNECTIONS;
  app.removeAllContentTypeParsers();
  // Engines send no content type, and no body where a method takes no argument.
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.setErrorHandler((error: FastifyError, request, reply) =>
    refuse(reply, error.statusCode ?? 400, methodOf(request), error.code === 'FST_ERR_CTP_BODY_TOO_LARGE' ? TOO_LARGE : error),
  );
  app.setNotFoundHandler((request, reply) =>
    refuse(reply, 404, methodOf(request), new CnmError('no_page', `${request.method} ${request.url} is not served: use POST`)),
  );
  const underWay = new Set<Promise<unknown>>();
  app.addHook('preClose', async () => {
    await within(DRAIN_MS, Promise.allSettled(underWay));
    app.server.closeAllConnections();
  });
  app.post('/:method', (request, reply) => {
    const work = answer(methods, log, request, reply).finally(() => underWay.delete(work));
    underWay.add(work);
    return work;
  });
  return app;
}

async function answer(
  methods: Readonly<Record<string, Method>>,
  log: Logger,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
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
}

const TOO_LARGE = new CnmError('bad_request', `the body is larger than ${BODY_LIMIT / 1024 / 1024} MiB`);

/** What is no HTTP, or does not come to an end. */
function refuseNonsense(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable) return void socket.destroy();
  const status = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request';
  const body = `${JSON.stringify({ Err: `${status.slice(4)}: ${messageOf(error)}` })}\n`;
  const head = `HTTP/1.1 ${status}\r\nContent-Type: ${wire.PLUGIN_MEDIA_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
  socket.end(`${head}Connection: close\r\n\r\n${body}`, () => socket.destroy());
}

const methodOf = (request: FastifyRequest): string => request.url.slice(1);

/** Network drivers tell an error by `Err`, IPAM drivers by `Error`, and either ignores the other's key. */
const refuse = (reply: FastifyReply, status: number, method: string, error: unknown): FastifyReply =>
  send(reply, status, { [method.startsWith('IpamDriver.') ? 'Error' : 'Err']: plain(messageOf(error)) });

const send = (reply: FastifyReply, status: number, answer: Json): FastifyReply =>
  reply
    .code(status)
    .header('Content-Type', wire.PLUGIN_MEDIA_TYPE)
    // As octets: to a text, a charset would be added to the type.
    .send(Buffer.from(`${JSON.stringify(answer)}\n`));
