/**
 * Requests to the daemon: HTTP/1.0 on a unix socket by hand, which starts 10 ms faster than node:http. HTTP/1.0 means no
 * chunks, and an answer that ends when the connection does (RFC 1945).
 */

import type { ErrorAnswer } from '../base/index.ts';
import { type Place, type TlsPaths, openSocket, placeOf } from './place.ts';
import { UsageError } from './usage.ts';

/** Largest answer, octets. */
const MAX_ANSWER = 256 * 1024 * 1024;

/** The daemon said no. */
export class DaemonError extends Error {
  readonly status: number;
  readonly code: string | undefined;

  constructor(status: number, answer: ErrorAnswer) {
    super(`Error response from daemon: ${answer.message}`);
    this.status = status;
    this.code = answer.code;
  }
}

export { UsageError } from './usage.ts';

export class Client {
  readonly #place: Place;

  /** `host`: unix:///PATH, or tcp://ADDRESS:PORT with the files of TLS. Throws UsageError for anything else. */
  constructor(host: string, tls: TlsPaths = {}) {
    this.#place = placeOf(host, tls);
  }

  /** Whether the daemon is on this machine, hence its paths are. */
  get isLocal(): boolean {
    return this.#place.path !== undefined;
  }

  get<T>(path: string): Promise<T> {
    return this.#request<T>('GET', path);
  }

  post<T = undefined>(path: string, body?: unknown): Promise<T> {
    return this.#request<T>('POST', path, body);
  }

  delete(path: string): Promise<undefined> {
    return this.#request('DELETE', path);
  }

  /** Follows an answer that goes on, line by line, until the daemon ends it. */
  async lines(path: string, onLine: (line: string) => void): Promise<void> {
    const socket = await openSocket(this.#place);
    return await new Promise((resolve, reject) => {
      let text = '';
      let status: number | undefined;
      // Kept until the connection is there.
      socket.write(`GET ${path} HTTP/1.0\r\nHost: patchbay\r\n\r\n`);
      socket.setEncoding('utf8');
      socket.on('data', (chunk) => {
        text += String(chunk);
        if (status === undefined) {
          const end = text.indexOf('\r\n\r\n');
          if (end < 0) return;
          status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1]);
          text = text.slice(end + 4);
        }
        if (text.length > MAX_ANSWER) socket.destroy(new Error('the answer of the daemon is too large'));
        if (status !== 200) return;
        const whole = text.split('\n');
        text = whole.pop() ?? '';
        try {
          for (const line of whole) onLine(line);
        } catch (error) {
          // Nobody else would catch it, and the daemon is not to blame.
          reject(error as Error);
          socket.destroy();
        }
      });
      socket.on('end', () => {
        if (status === 200) resolve();
        else reject(status ? new DaemonError(status, errorOf(text)) : this.#noAnswer(text === ''));
      });
      socket.on('error', (error: NodeJS.ErrnoException) => reject(this.#connectionError(error)));
    });
  }

  async #request<T>(method: string, path: string, body?: unknown): Promise<T> {
    const text = body === undefined ? '' : JSON.stringify(body);
    const type = body === undefined ? '' : 'Content-Type: application/json\r\n';
    const head = `${method} ${path} HTTP/1.0\r\nHost: patchbay\r\n${type}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n`;
    const answer = await this.#exchange(head + text);
    const split = answer.indexOf('\r\n\r\n');
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(answer.subarray(0, 16).toString('latin1'))?.[1]);
    if (split < 0 || !status) throw this.#noAnswer(answer.length === 0);
    const payload = answer.subarray(split + 4).toString('utf8');
    if (status >= 400) throw new DaemonError(status, errorOf(payload));
    return (payload.trim() === '' ? undefined : JSON.parse(payload)) as T;
  }

  async #exchange(request: string): Promise<Buffer> {
    const socket = await openSocket(this.#place);
    return await new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let size = 0;
      // Kept until the connection is there.
      socket.write(request);
      socket.on('data', (chunk) => {
        chunks.push(chunk);
        size += chunk.length;
        if (size > MAX_ANSWER) socket.destroy(new Error('the answer of the daemon is too large'));
      });
      socket.on('end', () => resolve(Buffer.concat(chunks)));
      socket.on('error', (error: NodeJS.ErrnoException) => reject(this.#connectionError(error)));
    });
  }

  /** With TLS 1.3 a daemon that refuses our certificate has let us connect by then. */
  #noAnswer(isSilent: boolean): Error {
    const { url, tcp } = this.#place;
    return isSilent && tcp !== undefined
      ? new Error(`the daemon at ${url} ended the connection: use a certificate for clients that its own --tlscacert has signed`)
      : new Error(`${url} does not speak HTTP`);
  }

  #connectionError(error: NodeJS.ErrnoException): Error {
    if (error.code === 'EACCES') {
      return new Error(`permission denied on ${this.#place.url}: become root, or a member of the socket's group`);
    }
    if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
      return new Error(`Cannot connect to the Patchbay daemon at ${this.#place.url}. Is patchbayd running?`);
    }
    return new Error(`the daemon at ${this.#place.url} went away: ${error.message}`);
  }
}

function errorOf(payload: string): ErrorAnswer {
  try {
    const value = JSON.parse(payload) as Partial<ErrorAnswer>;
    return { message: value.message ?? payload, ...(value.code !== undefined && { code: value.code }) };
  } catch {
    return { message: payload.trim() || 'no message' };
  }
}

/** A name or id as one path segment. Throws UsageError for an empty one, whose path would be that of all of them. */
export function segment(term: string): string {
  if (term === '') throw new UsageError('a name is empty: give a name, an id, or the beginning of an id');
  return encodeURIComponent(term);
}

/** `?filters=` from `key=value` texts. Throws UsageError. */
export function filterQuery(filters: readonly string[]): string {
  if (filters.length === 0) return '';
  const byKey: Record<string, string[]> = Object.create(null) as Record<string, string[]>;
  for (const text of filters) {
    const at = text.indexOf('=');
    if (at < 1) throw new UsageError(`invalid argument ${JSON.stringify(text)} for "-f, --filter" flag: use key=value`);
    // `label!=x` is the key `label!`.
    (byKey[text.slice(0, at).trim().toLowerCase()] ??= []).push(text.slice(at + 1).trim());
  }
  return `?filters=${encodeURIComponent(JSON.stringify(byKey))}`;
}
