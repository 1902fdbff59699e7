/**
 * A small plugin of somebody else, for tests: a bridge a network, a veth pair an endpoint, addresses counted up. Each method can be
 * made to answer something else, or nothing.
 */

import { mkdirSync, rmSync } from 'node:fs';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { dirname } from 'node:path';

type Body = Record<string, unknown>;
type Command = (command: string, args: readonly string[]) => Promise<unknown>;

export interface Call {
  readonly method: string;
  readonly body: Body | undefined;
  readonly headers: IncomingMessage['headers'];
}

/** Answers instead of the plugin: a value, or by hand on the response. */
type Answer = (body: Body, response: ServerResponse) => unknown;

export const GATEWAY = '10.77.0.1';

export class ForeignPlugin {
  readonly path: string;
  readonly #run: Command;
  #server: Server | undefined;
  readonly calls: Call[] = [];
  /** Ids of what the plugin has. */
  readonly networks = new Set<string>();
  readonly endpoints = new Set<string>();
  readonly pools = new Set<string>();
  readonly addresses = new Set<string>();
  /** By method. */
  instead: Readonly<Record<string, Answer>> = {};
  roles = ['NetworkDriver', 'IpamDriver'];

  private constructor(path: string, run: Command) {
    this.path = path;
    this.#run = run;
  }

  /** Serves at `path`; `run` runs a command in the namespace that stands for the host. */
  static async open(path: string, run: Command): Promise<ForeignPlugin> {
    const plugin = new ForeignPlugin(path, run);
    await plugin.start();
    return plugin;
  }

  async start(): Promise<void> {
    mkdirSync(dirname(this.path), { recursive: true });
    rmSync(this.path, { force: true });
    const server = createServer((request, response) => void this.#serve(request, response));
    this.#server = server;
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(this.path, resolve));
  }

  /** Its socket goes too, as with a service that ends. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
    rmSync(this.path, { force: true });
  }

  /** Answers this once more, and is not there for anybody else. */
  endWith(response: ServerResponse, answer: unknown): void {
    this.#server?.close();
    this.#server = undefined;
    rmSync(this.path, { force: true });
    response.end(JSON.stringify(answer));
  }

  /** Methods in their order, without those of the start. */
  methods(): string[] {
    return this.calls.map(({ method }) => method).filter((method) => !/Activate|GetCapabilities|GetDefault/.test(method));
  }

  bodies(method: string): Body[] {
    return this.calls.filter((call) => call.method === method).map(({ body }) => body ?? {});
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const method = (request.url ?? '').slice(1);
    const body = text === '' ? undefined : (JSON.parse(text) as Body);
    this.calls.push({ method, body, headers: request.headers });
    const instead = this.instead[method];
    try {
      const answer = instead === undefined ? await this.#answer(method, body ?? {}) : await instead(body ?? {}, response);
      if (!response.writableEnded && !response.headersSent && answer !== undefined) response.end(JSON.stringify(answer));
    } catch (error) {
      response.end(JSON.stringify(method.startsWith('Ipam') ? { Error: String(error) } : { Err: String(error) }));
    }
  }

  /** What it does when nobody has it do something else. */
  async #answer(method: string, body: Body): Promise<unknown> {
    const [net, ep] = [String(body['NetworkID']), String(body['EndpointID'])];
    switch (method) {
      case 'Plugin.Activate':
        return { Implements: this.roles };
      case 'NetworkDriver.GetCapabilities':
        return { Scope: 'local' };
      case 'IpamDriver.GetCapabilities':
        return { RequiresMACAddress: false, RequiresRequestReplay: false };
      case 'IpamDriver.GetDefaultAddressSpaces':
        return { LocalDefaultAddressSpace: 'ForeignLocal', GlobalDefaultAddressSpace: 'ForeignGlobal' };
      case 'NetworkDriver.CreateNetwork':
        if (this.networks.has(net)) throw new Error(`network ${net} is here already`);
        this.networks.add(net);
        await this.#sh(
          `ip link show ${bridgeOf(net)} 2>/dev/null || ip link add ${bridgeOf(net)} address 02:00:00:00:00:fb type bridge`,
        );
        await this.#sh(`ip link set ${bridgeOf(net)} up`);
        return {};
      case 'NetworkDriver.DeleteNetwork':
        if (!this.networks.delete(net)) throw new Error(`no network ${net}`);
        await this.#sh(`ip link del ${bridgeOf(net)}`);
        return {};
      case 'NetworkDriver.CreateEndpoint':
        if (!this.networks.has(net)) throw new Error(`no network ${net}`);
        this.endpoints.add(ep);
        await this.#sh(`ip link add ${outerOf(ep)} type veth peer name ${innerOf(ep)}`);
        await this.#sh(`ip link set ${outerOf(ep)} master ${bridgeOf(net)} up`);
        return { Interface: {} };
      case 'NetworkDriver.DeleteEndpoint':
        if (!this.endpoints.delete(ep)) throw new Error(`no endpoint ${ep}`);
        await this.#sh(`ip link del ${outerOf(ep)}`);
        return {};
      case 'NetworkDriver.Join':
        if (!this.endpoints.has(ep)) throw new Error(`no endpoint ${ep}`);
        return { InterfaceName: { SrcName: innerOf(ep), DstPrefix: 'eth' } };
      case 'NetworkDriver.EndpointOperInfo':
        return { Value: { 'foreign.link': outerOf(ep) } };
      case 'IpamDriver.RequestPool':
        return this.#requestPool(String(body['Pool'] ?? '') || (body['V6'] === true ? 'fd77::/64' : '10.77.0.0/24'));
      case 'IpamDriver.ReleasePool':
        this.pools.delete(String(body['PoolID']));
        return {};
      case 'IpamDriver.RequestAddress':
        return this.#requestAddress(String(body['PoolID']), String(body['Address'] ?? ''));
      case 'IpamDriver.ReleaseAddress':
        this.addresses.delete(String(body['Address']));
        return {};
      default:
        return {};
    }
  }

  #requestPool(pool: string): unknown {
    const id = `ForeignLocal/${pool}`;
    this.pools.add(id);
    return { PoolID: id, Pool: pool };
  }

  #requestAddress(pool: string, asked: string): unknown {
    const [, network = '', length = ''] = /^ForeignLocal\/(.*?)0?\/(\d+)$/.exec(pool) ?? [];
    const free = Array.from({ length: 50 }, (_, n) => `${network}${n + 1}`).find((one) => !this.addresses.has(one));
    const address = asked || free;
    if (address === undefined || (asked !== '' && this.addresses.has(asked))) throw new Error(`no address ${asked} in ${pool}`);
    this.addresses.add(address);
    return { Address: `${address}/${length}` };
  }

  #sh(command: string): Promise<unknown> {
    return this.#run('sh', ['-ec', command]);
  }
}

export const bridgeOf = (net: string): string => `fb${net.slice(0, 10)}`;
export const outerOf = (ep: string): string => `fo${ep.slice(0, 10)}`;
export const innerOf = (ep: string): string => `fi${ep.slice(0, 10)}`;
