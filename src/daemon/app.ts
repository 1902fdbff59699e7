/** The HTTP application: version prefix, headers, bodies, errors, and the table of routes (spec 02 §1). */

import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { CnmError, type Logger, NO_SCHEMAS, shown, within } from '../base/index.ts';
import { parseBody } from './body.ts';
import { callerOf } from './caller.ts';
import { containerRoutes } from './containers.ts';
import { boundConnections } from './crowd.ts';
import { endpointRoutes } from './endpoints.ts';
import { guestRoutes } from './guests.ts';
import { nodeRoutes } from './nodes.ts';
import { errorAnswer } from './errors.ts';
import { BODY_LIMIT, MAX_REQUESTS, SERVER_LIMITS } from './limits.ts';
import { eventRoutes } from './events.ts';
import { answerHalfClosed, endWithSender } from './half-closed.ts';
import { networkRoutes } from './networks.ts';
import { parseQuery } from './query.ts';
import { refuseNonsense, refuseOddities } from './nonsense.ts';
import { sandboxRoutes } from './sandboxes.ts';
import { serviceRoutes } from './services.ts';
import type { Answer, DaemonParts, Route, Stream } from './route.ts';
import { Turns } from './turns.ts';
import { API_VERSION, MIN_API_VERSION, PRODUCT_VERSION, systemRoutes } from './system.ts';

/** Time for answers under way when the daemon stops, milliseconds. */
const DRAIN_MS = 10_000;

/** Builds the application. Listening and closing are server.ts. */
export function createApp(parts: DaemonParts): FastifyInstance {
  const routes = [
    ...systemRoutes(parts),
    ...networkRoutes(parts),
    ...sandboxRoutes(parts),
    ...endpointRoutes(parts),
    ...guestRoutes(parts),
    ...nodeRoutes(parts),
    ...serviceRoutes(parts),
    ...eventRoutes(parts),
    ...containerRoutes(parts),
  ].map(compiled);
  const turns = new Turns();
  const app = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT,
    exposeHeadRoutes: false,
    schemaController: NO_SCHEMAS,
    forceCloseConnections: 'idle',
    keepAliveTimeout: SERVER_LIMITS.keepAliveTimeout,
    requestTimeout: SERVER_LIMITS.requestTimeout,
    http: SERVER_LIMITS,
    routerOptions: { maxParamLength: 2048 },
    frameworkErrors: (error, _request, reply) => void send(reply, failure(error, parts.log)),
    clientErrorHandler: (error, socket) => {
      const refuse = (): void => refuseNonsense(error, socket);
      // After Connection: close nothing can be told any more once the answer has gone out.
      if (error.code === 'HPE_CLOSED_CONNECTION') refuse();
      else turns.endAfter(socket, refuse);
    },
  });
  const underWay = new Set<Promise<unknown>>();
  boundConnections(app.server, 'connection');
  answerHalfClosed(app.server);
  refuseOddities(app.server);
  const serve = (request: FastifyRequest, reply: FastifyReply): FastifyReply | Promise<FastifyReply> => {
    if (underWay.size >= MAX_REQUESTS) return send(reply, failure(tooBusy(), parts.log));
    const work = dispatch(routes, parts, request, reply).finally(() => underWay.delete(work));
    underWay.add(work);
    return work;
  };
  app.addHook('onRequest', (request, reply, done) => {
    if (!turns.take(request.raw.socket, reply.raw, done)) void send(reply, failure(tooBusy(), parts.log));
  });
  app.addHook('preClose', () => drain(app, underWay));
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.setErrorHandler((error, _request, reply) => send(reply, failure(error, parts.log)));
  app.setNotFoundHandler(serve);
  // All paths come here: names with slashes and the 404 for a wrong method are beyond a routing tree.
  app.route({
    method: ['GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS', 'PUT', 'PATCH'],
    url: '/*',
    handler: serve,
  });
  return app;
}

/** Waits for answers under way; then nobody is waited for, neither who has not sent his request nor who does not read. */
async function drain(app: FastifyInstance, underWay: ReadonlySet<Promise<unknown>>): Promise<void> {
  await within(DRAIN_MS, Promise.allSettled(underWay));
  app.server.closeAllConnections();
}

const tooBusy = (): CnmError =>
  new CnmError('too_busy', `${MAX_REQUESTS} requests are being served already: try again in a moment`);

interface CompiledRoute extends Route {
  readonly pattern: RegExp;
}

const compiled = (route: Route): CompiledRoute => ({
  ...route,
  pattern: new RegExp(`^${route.path.replace(':term', '(.+)')}/?$`),
});

async function dispatch(
  routes: readonly CompiledRoute[],
  parts: DaemonParts,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const abort = new AbortController();
  const gone = (): void => abort.abort();
  reply.raw.once('close', gone);
  try {
    return await send(reply, await answer(routes, request, abort.signal));
  } catch (error) {
    return await send(reply, failure(error, parts.log));
  } finally {
    reply.raw.off('close', gone);
  }
}

async function answer(routes: readonly CompiledRoute[], request: FastifyRequest, signal: AbortSignal): Promise<Answer> {
  if (request.method === 'OPTIONS') return { status: 200 };
  checkHost(request);
  const { path, query } = split(request.url);
  const { version, rest } = versionOf(path);
  for (const route of routes) {
    const match = route.method === request.method ? route.pattern.exec(rest) : null;
    if (match === null) continue;
    checkVersion(version);
    const term = decode(match[1] ?? '');
    return route.handle({
      term,
      query: parseQuery(query, route.takes),
      headers: request.headers,
      body: parseBody(request.headers, request.body),
      signal,
      caller: callerOf(request.raw.socket),
      version: version ?? API_VERSION,
    });
  }
  throw new CnmError('no_page', 'page not found');
}

/** Node takes the first of several hosts and is content with none. */
function checkHost({ raw }: FastifyRequest): void {
  const count = raw.headersDistinct['host']?.length ?? 0;
  if (count === 0 && raw.httpVersion !== '1.0')
    throw new CnmError('bad_request', 'the header Host is missing, which HTTP/1.1 wants: send it with any value');
  if (count > 1) throw new CnmError('bad_request', `the header Host is there ${count} times: send it once`);
}

function split(target: string): { path: string; query: string } {
  // A client of a proxy names the host too (RFC 9112 §3.2.2).
  const url = target.replace(/^https?:\/\/[^/?]*/i, '');
  const at = url.indexOf('?');
  return at < 0 ? { path: url, query: '' } : { path: url.slice(0, at), query: url.slice(at + 1) };
}

function versionOf(path: string): { version: string | undefined; rest: string } {
  const match = /^\/v([0-9.]+)(\/.*)$/.exec(path);
  return match?.[2] === undefined ? { version: undefined, rest: path } : { version: match[1], rest: match[2] };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new CnmError('bad_request', `the path has a broken escape: ${shown(text)}`);
  }
}

function checkVersion(version: string | undefined): void {
  if (version === undefined) return;
  const number = (text: string): number => {
    const [major = '', minor = ''] = text.split('.');
    return Number(major) * 1000 + Number(minor);
  };
  if (!/^\d{1,3}\.\d{1,3}$/.test(version)) {
    throw new CnmError(
      'bad_api_version',
      `invalid API version ${shown(version)}: use one from ${MIN_API_VERSION} to ${API_VERSION}`,
    );
  }
  if (number(version) < number(MIN_API_VERSION)) {
    throw new CnmError(
      'bad_api_version',
      `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`,
    );
  }
  if (number(version) > number(API_VERSION)) {
    throw new CnmError(
      'bad_api_version',
      `client version ${version} is too new. Maximum supported API version is ${API_VERSION}`,
    );
  }
}

function failure(error: unknown, log: Logger): Answer {
  if (error instanceof Error && 'code' in error && error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    const message = `the body is larger than ${BODY_LIMIT / 1024 / 1024} MiB`;
    return { status: 413, json: { message, code: 'bad_request' } };
  }
  const { status, body } = errorAnswer(asOurs(error), log);
  return { status, json: body };
}

/** The framework looks at the type of a body before we do, and wants one of the method QUERY even without a body. */
function asOurs(error: unknown): unknown {
  if (!(error instanceof Error && 'code' in error)) return error;
  if (error.code === 'FST_ERR_ROUTE_MISSING_CONTENT_TYPE') return new CnmError('no_page', 'page not found');
  if (error.code !== 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return error;
  return new CnmError('bad_content_type', "malformed Content-Type header: must be 'application/json'");
}

async function send(reply: FastifyReply, answer: Answer): Promise<FastifyReply> {
  if (answer.stream !== undefined) return sendStream(reply, answer.stream);
  void reply
    .code(answer.status)
    .header('Server', `Patchbay/${PRODUCT_VERSION} (linux)`)
    .header('Api-Version', API_VERSION)
    .header('Ostype', 'linux');
  for (const [name, value] of Object.entries(answer.headers ?? {})) void reply.header(name, value);
  // As octets: to text a charset would be added, and stock clients read an error only from exactly this type.
  if (answer.json !== undefined)
    return reply.header('Content-Type', 'application/json').send(Buffer.from(`${JSON.stringify(answer.json)}\n`));
  return reply.send(answer.text ?? '');
}

/** The head goes out at once: a client waits for it before it does anything. */
function sendStream(reply: FastifyReply, { contentType, start }: Stream): FastifyReply {
  void reply.hijack();
  reply.raw.writeHead(200, {
    'Content-Type': contentType,
    Server: `Patchbay/${PRODUCT_VERSION} (linux)`,
    'Api-Version': API_VERSION,
    Ostype: 'linux',
  });
  reply.raw.flushHeaders();
  start(reply.raw);
  endWithSender(reply.raw, reply.request.raw.socket);
  return reply;
}
