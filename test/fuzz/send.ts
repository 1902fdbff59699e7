/** Octets to a socket that speaks HTTP, whatever they are. */

import { connect } from 'node:net';

/** Longest wait for one answer, milliseconds: nothing that is asked takes a tenth of it. */
const ANSWER_MS = 30_000;

/** The answer's text. A request without an end is given up by us: what it says is over then. */
export function sendOctets(path: string, request: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect({ path, allowHalfOpen: true });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no end of the answer within ${ANSWER_MS} ms to ${JSON.stringify(request.toString('latin1'))}`));
    }, ANSWER_MS);
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text);
    };
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    socket.on('end', done);
    socket.on('close', done);
    // Closed while we still send: the answer may be there all the same.
    socket.on('error', () => {});
    socket.end(request);
  });
}
