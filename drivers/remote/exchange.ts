/** One request and its answer, within bounds of time and size. Who may ask again, and what is said, is client.ts. */

import { type ClientRequest, type IncomingMessage, type RequestOptions, request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { wire } from '../../src/driver/index.ts';
import type { PluginPlace } from './discovery.ts';

/** Most octets of an answer; a join or a pool takes a few hundred. */
export const MAX_ANSWER_OCTETS = 1024 * 1024;
/** Of its head. */
const MAX_HEAD_OCTETS = 16 * 1024;

/** What engines say where there is no host. */
const HOST = 'plugin.moby.localhost';

export interface Reply {
  readonly status: number;
  readonly body: string;
}

/** No answer. `isSent` false: no connection came about, hence nothing was done and it may be tried again. */
export class NoReply extends Error {
  readonly isSent: boolean;

  constructor(message: string, isSent: boolean, cause: unknown) {
    super(message, { cause });
    this.name = 'NoReply';
    this.isSent = isSent;
  }
}

/** Posts `body` to `path` on a connection of its own. Throws NoReply, also when `signal` aborts or no connection comes about in time. */
export function exchange(place: PluginPlace, path: string, body: string, signal: AbortSignal, connectMs: number): Promise<Reply> {
  return new Promise((resolve, reject) => {
    let isSent = false;
    const fail = (error: Error): void => reject(new NoReply(signal.aborted ? 'no answer in time' : error.message, isSent, error));
    if (signal.aborted) return fail(new Error('no answer in time'));
    const call = begin(place, path, body, signal, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        chunks.push(chunk);
        if (size <= MAX_ANSWER_OCTETS) return;
        fail(new Error(`an answer of more than ${MAX_ANSWER_OCTETS} octets`));
        response.destroy();
      });
      response.once('error', (cause) => fail(new Error('the connection ended within the answer', { cause })));
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }));
    });
    const timer = setTimeout(() => call.destroy(new Error('no connection in time')), connectMs);
    call.once('socket', (socket) =>
      socket.once('connect', () => {
        isSent = true;
        clearTimeout(timer);
      }),
    );
    call.once('error', fail);
    call.once('close', () => clearTimeout(timer));
    call.end(body);
  });
}

function begin(
  place: PluginPlace,
  path: string,
  body: string,
  signal: AbortSignal,
  answer: (response: IncomingMessage) => void,
): ClientRequest {
  const headers = { Accept: wire.PLUGIN_MEDIA_TYPE, 'Content-Length': Buffer.byteLength(body) };
  const common: RequestOptions = {
    method: 'POST',
    path,
    // A connection that is kept may be one that the plugin has just closed.
    agent: false,
    signal,
    maxHeaderSize: MAX_HEAD_OCTETS,
    headers,
  };
  if ('socketPath' in place) {
    return plainRequest({ ...common, socketPath: place.socketPath, headers: { ...headers, Host: HOST } }, answer);
  }
  const { host, port, tls } = place;
  if (tls === undefined) return plainRequest({ ...common, host, port }, answer);
  const { isVerified, ...files } = tls;
  return tlsRequest({ ...common, host, port, ...files, rejectUnauthorized: isVerified }, answer);
}
