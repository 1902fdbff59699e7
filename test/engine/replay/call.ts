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

/** `body`: octets as they are sent; absent for a method without argument. `announces`: another length, the rest never comes. */
export function callPlugin(
  socketPath: string,
  method: string,
  body?: string | Buffer,
  { verb = 'POST', announces }: { readonly verb?: string; readonly announces?: number } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = {
      accept: PLUGIN_MEDIA_TYPE,
      host: 'plugin.moby.localhost',
      'content-length': announces ?? Buffer.byteLength(body ?? ''),
    };
    let isAnswered = false;
    const sent = request({ socketPath, path: `/${method}`, method: verb, headers, agent: false }, (answer) => {
      isAnswered = true;
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
    // Node 20 reports EPIPE of a large body that was sent and answered.
    sent.on('error', (error) => {
      if (!isAnswered) reject(error);
    });
    if (announces === undefined) sent.end(body);
    else sent.write(body ?? '');
  });
}
