/** One call of an engine: POST of a method to a plugin's socket, with the header that engines send. */

import { request } from 'node:http';
import { PLUGIN_MEDIA_TYPE } from '../../../src/driver/wire.ts';

/** Longest wait for an answer, milliseconds. */
const ANSWER_MS = 30_000;

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

/** `body`: octets as they are sent; absent for a method without argument. */
export function callPlugin(socketPath: string, method: string, body?: string | Buffer, verb = 'POST'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = {
      accept: PLUGIN_MEDIA_TYPE,
      host: 'plugin.moby.localhost',
      'content-length': Buffer.byteLength(body ?? ''),
    };
    const sent = request({ socketPath, path: `/${method}`, method: verb, headers, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('error', reject);
      answer.on('end', () =>
        resolve({
          status: answer.statusCode ?? 0,
          type: answer.headers['content-type'] ?? '',
          text: Buffer.concat(chunks).toString(),
        }),
      );
    });
    sent.setTimeout(ANSWER_MS, () => sent.destroy(new Error(`${method}: no answer within ${ANSWER_MS} ms`)));
    sent.on('error', reject);
    sent.end(body);
  });
}
