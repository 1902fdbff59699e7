/** A plain HTTP client on the daemon's socket, fast enough for load. The daemon may die under a request. */

import { request, type ClientRequest } from 'node:http';
import type { Lab } from '../e2e/lab.ts';

export interface Reply<T> {
  /** 0: the connection broke before the answer; whether the request was performed is unknown. */
  readonly status: number;
  readonly json: T;
  readonly text: string;
}

/** Longest wait for an answer, milliseconds: longer than the daemon itself waits for anything. */
const ANSWER_MS = 90_000;

/** Never rejects. `begun` is given the request, to break it off. */
export function ask<T = unknown>(
  lab: Lab,
  method: string,
  path: string,
  body?: unknown,
  begun?: (request: ClientRequest) => void,
): Promise<Reply<T>> {
  return new Promise((resolve) => {
    const lost = (): void => resolve({ status: 0, json: undefined as T, text: '' });
    const headers = body === undefined ? {} : { 'Content-Type': 'application/json' };
    const call = request(
      { socketPath: lab.socket, method, path, headers, agent: false, signal: AbortSignal.timeout(ANSWER_MS) },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (chunk: string) => (text += chunk));
        answer.on('error', lost);
        answer.on('end', () => {
          const status = answer.statusCode ?? 0;
          if (answer.complete) resolve({ status, json: (text.trim() === '' ? undefined : JSON.parse(text)) as T, text });
          else lost();
        });
        answer.on('close', lost);
      },
    );
    call.on('error', lost);
    call.end(body === undefined ? undefined : JSON.stringify(body));
    begun?.(call);
  });
}
