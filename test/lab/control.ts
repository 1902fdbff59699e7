/** Where the shell's words reach the lab: a unix socket in the run's folder, one request a verb. */

import { type Server, createServer } from 'node:http';
import { once } from 'node:events';
import type { Lab } from './lab.ts';
import { VERBS } from './verbs.ts';

/** Words of a verb, octets. */
const MAX_WORDS = 1000;

/** Serves until it is closed. `POST /VERB` with its words as the body. */
export async function serveVerbs(lab: Lab, path: string): Promise<Server> {
  // One at a time: two changes of one place would disturb each other.
  let last: Promise<unknown> = Promise.resolve();
  const server = createServer((req, res) => {
    let words = '';
    req.on('data', (chunk: Buffer) => (words = `${words}${chunk.toString()}`.slice(0, MAX_WORDS)));
    req.on('end', () => {
      const verb = VERBS[(req.url ?? '').slice(1)];
      const args = words.split(/\s+/).filter((word) => word !== '');
      const done = last.then(async () => {
        if (verb === undefined) throw new Error('there is no such verb');
        return await verb.run(lab, args);
      });
      last = done.catch(() => {});
      done.then(
        (text) => res.end(`${text}\n`),
        (error: Error) => res.writeHead(400).end(`${error.message}\n`),
      );
    });
  });
  server.listen(path);
  await once(server, 'listening');
  return server;
}
