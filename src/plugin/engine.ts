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
  Containers: z.record(z.string(), z.object({ EndpointID: z.string(), Name: z.string().nullish() })).nullish(),
});

const texts = z.array(z.string()).nullish();
const containerSchema = z.object({
  Name: z.string(),
  Config: z.object({ Hostname: z.string().nullish() }).nullish(),
  NetworkSettings: z
    .object({
      Networks: z.record(z.string(), z.object({ EndpointID: z.string().nullish(), Aliases: texts, DNSNames: texts })).nullish(),
    })
    .nullish(),
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
    return new Set((await this.members(network)).keys());
  }

  /** The same with their containers. */
  async members(network: string): Promise<ReadonlyMap<string, { readonly container: string; readonly name: string }>> {
    const { Containers } = parseWith(networkSchema, await this.#get(`/networks/${network}`), 'network');
    const all = Object.entries(Containers ?? {});
    return new Map(all.map(([container, { EndpointID, Name }]) => [EndpointID, { container, name: Name ?? '' }]));
  }

  /** What a container is called in each of its networks, by the endpoint there: its own name first, then aliases. */
  async namesOf(container: string): Promise<ReadonlyMap<string, readonly string[]>> {
    const { Name, Config, NetworkSettings } = parseWith(
      containerSchema,
      await this.#get(`/containers/${container}/json`),
      'container',
    );
    const own = [Name.replace(/^\//, ''), container.slice(0, 12), ...(Config?.Hostname ? [Config.Hostname] : [])];
    const all = Object.values(NetworkSettings?.Networks ?? {});
    return new Map(
      all.flatMap(({ EndpointID, Aliases, DNSNames }) =>
        EndpointID ? [[EndpointID, [...own, ...(Aliases ?? []), ...(DNSNames ?? [])]] as const] : [],
      ),
    );
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
