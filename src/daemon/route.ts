/** What a route is: a method, a path and what answers it. */

import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Logger } from '../base/index.ts';
import type { Caller, NetworkController } from '../cnm/index.ts';

export interface Request {
  /** Captured by the route's pattern, decoded. */
  readonly term: string;
  readonly query: Readonly<Record<string, string | undefined>>;
  /** Parsed JSON, undefined when there was no body. */
  readonly body: unknown;
  readonly headers: IncomingHttpHeaders;
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal;
  /** Who asks. */
  readonly caller: Caller;
  /** Asked-for API version, `1.56` without a prefix. */
  readonly version: string;
}

/** What goes on being written after the head of the answer. */
export interface Stream {
  readonly contentType: string;
  /** The stream is over when `out` has ended or closed. */
  start(out: ServerResponse): void;
}

export interface Answer {
  readonly status: number;
  /** JSON, or text as it is; absent: empty. */
  readonly json?: unknown;
  readonly text?: string;
  readonly stream?: Stream;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Route {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'DELETE' | 'OPTIONS';
  /** Path without the version. `:term` captures one or more segments, since network names may hold slashes. */
  readonly path: string;
  /** Parameters of the query that one of our own routes takes; absent: any, as the engine's routes do. */
  readonly takes?: readonly string[];
  readonly handle: (request: Request) => Promise<Answer> | Answer;
}

export interface DaemonParts {
  readonly controller: NetworkController;
  readonly log: Logger;
  now(): number;
}
