/** What an engine says that it has, over its own API: the plugin protocol tells of no engine's loss of memory. */

import { request } from 'node:http';
import { z } from 'zod';
import { CnmError, messageOf, parseWith } from '../base/index.ts';

/** Time for one answer, milliseconds, and its most octets. */
const ANSWER_MS = 5000;
const MAX_ANSWER_OCTETS = 64 * 1024 * 1024;

const infoSchema = z.object({ ID: z.string().min(1), DockerRootDir: z.string().min(1) });
const networksSchema = z.array(
  z.object({
    Id: z.string(),
    IPAM: z.object({ Config: z.array(z.object({ Subnet: z.string().nullish() })).nullish() }).nullish(),
  }),
);
const networkSchema = z.object({
  Containers: z.record(z.string(), z.object({ EndpointID: z.string() })).nullish(),
});

/** One engine, by the path of its API socket. Every method throws plugin_unreachable when it does not answer. */
export class Engine {
  readonly socket: string;

  constructor(socket: string) {
    this.socket = socket;
  }

  /**
   * Stays over the engine's restarts. With the folder of its memory, since older engines of one machine share the id: what one
   * of them does not know, the other may.
   */
  async id(): Promise<string> {
    const { ID, DockerRootDir } = parseWith(infoSchema, await this.#get('/info'), '/info');
    return `${ID} ${DockerRootDir}`;
  }

  /** Ids and subnets of all networks. */
  async networks(): Promise<{ readonly ids: ReadonlySet<string>; readonly subnets: ReadonlySet<string> }> {
    const all = parseWith(networksSchema, await this.#get('/networks'), '/networks');
    const subnets = all.flatMap(({ IPAM }) => IPAM?.Config ?? []).flatMap(({ Subnet }) => Subnet ?? []);
    return { ids: new Set(all.map(({ Id }) => Id)), subnets: new Set(subnets) };
  }

  /** Ids of a network's endpoints in containers that run. */
  async endpoints(network: string): Promise<ReadonlySet<string>> {
    const { Containers } = parseWith(networkSchema, await this.#get(`/networks/${network}`), 'network');
    return new Set(Object.values(Containers ?? {}).map(({ EndpointID }) => EndpointID));
  }

  #get(path: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void =>
        reject(new CnmError('plugin_unreachable', `the engine at ${this.socket} does not answer ${path}: ${messageOf(error)}`));
      const call = request({ socketPath: this.socket, path, headers: { host: 'engine' }, timeout: ANSWER_MS }, (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_ANSWER_OCTETS) return void response.destroy(new Error('the answer is too long'));
          chunks.push(chunk);
        });
        response.once('error', fail);
        response.once('end', () => {
          if (response.statusCode !== 200) return fail(new Error(`status ${response.statusCode}`));
          try {
            resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')));
          } catch (error) {
            fail(error);
          }
        });
      });
      call.once('timeout', () => call.destroy(new Error('no answer in time')));
      call.once('error', fail);
      call.end();
    });
  }
}
