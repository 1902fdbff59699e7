/** A network driver that a plugin serves (spec 03 §4 to §6). Links that it makes are moved by the model (src/cnm/moved.ts). */

import { CnmError, type Json, type Logger, type NetworkId, messageOf, quoted } from '../../src/base/index.ts';
import {
  type Ctx,
  type Driver,
  type DriverCapabilities,
  type DriverEndpoint,
  type DriverNetwork,
  type EndpointRequest,
  type GatewayQuestion,
  type JoinPlace,
  type JoinResult,
  type PublisherFacet,
  type RestoreFacet,
  type RestoreNetwork,
  type RestoreReport,
  type SandboxPorts,
  asking,
  parseEndpointSysctls,
} from '../../src/driver/index.ts';
import type { Mark, Netns } from '../../src/kernel/index.ts';
import { type Patience, type PluginClient, PluginError, mayBeDone } from './client.ts';
import { checkLink, linksNow } from './links.ts';

const { answers } = asking;

export interface RemoteDriverParts {
  readonly host: Netns;
  readonly mark: Mark;
  readonly log: Logger;
}

/** What an endpoint's record keeps. */
interface EndpointState {
  /** Links of the host when the endpoint was made. */
  readonly before: string;
}

const stateOf = (ep: DriverEndpoint): EndpointState => (ep.state as unknown as EndpointState | null) ?? { before: '' };

const idsOf = (net: DriverNetwork, ep: EndpointRequest): { NetworkID: string; EndpointID: string } => ({
  NetworkID: net.id,
  EndpointID: ep.id,
});

export class RemoteDriver implements Driver {
  readonly name: string;
  readonly #client: PluginClient;
  readonly #parts: RemoteDriverParts;
  /** The plugin's era in which it was told of a network. */
  readonly #told = new Map<NetworkId, string>();
  readonly #telling = new Map<NetworkId, Promise<void>>();
  readonly publisher: PublisherFacet;
  readonly restorer: RestoreFacet;

  constructor(client: PluginClient, parts: RemoteDriverParts) {
    this.name = client.name;
    this.#client = client;
    this.#parts = parts;
    this.publisher = {
      program: (ctx, net, ep, roles, ports) =>
        this.#program(ctx, { ...idsOf(net, ep), Options: asking.programOptions(roles, ports) }),
      revoke: async (_ctx, net, ep) => void (await client.dismiss('NetworkDriver.RevokeExternalConnectivity', idsOf(net, ep))),
    };
    this.restorer = {
      restore: (ctx, desired) => this.#restore(ctx, desired),
      observe: (desired) => this.#observe(desired),
      linksOf: () => [],
    };
  }

  /** Scope and connectivity are those of the plugin once it is activated; what else counts is the same for all plugins. */
  get capabilities(): DriverCapabilities {
    const { scope = 'local', connectivity = scope } = this.#client.manifest?.network ?? {};
    return { scope, connectivity, addressing: 'ipam', sandbox: 'own', singleton: false };
  }

  async skipGwAlloc(ctx: Ctx, asked: GatewayQuestion): Promise<{ readonly v4: boolean; readonly v6: boolean }> {
    const { network } = await this.#client.activate('NetworkDriver');
    if (network?.checksGateway !== true) return { v4: false, v6: false };
    const body = { Options: asking.networkBody(asked) };
    const { SkipIPv4, SkipIPv6 } = await this.#client.call('NetworkDriver.GwAllocCheck', body, answers.gwAllocCheck, ctx);
    return { v4: SkipIPv4 === true, v6: SkipIPv6 === true };
  }

  async createNetwork(ctx: Ctx, net: DriverNetwork): Promise<{ readonly state: Json }> {
    const era = await this.#client.era();
    try {
      await this.#client.call('NetworkDriver.CreateNetwork', asking.createNetworkBody(net), answers.nothing, ctx);
    } catch (error) {
      if (mayBeDone(error)) await this.deleteNetwork(ctx, net);
      throw error;
    }
    if (era !== undefined) this.#told.set(net.id, era);
    return { state: null };
  }

  async deleteNetwork(_ctx: Ctx, net: DriverNetwork): Promise<void> {
    this.#told.delete(net.id);
    await this.#client.dismiss('NetworkDriver.DeleteNetwork', { NetworkID: net.id });
  }

  async createEndpoint(ctx: Ctx, net: DriverNetwork, ep: EndpointRequest, ports?: SandboxPorts) {
    parseEndpointSysctls(ep.options, 'IFNAME');
    await this.#tell(ctx, net, 'full');
    const state: EndpointState = { before: await linksNow(this.#parts.host) };
    const body = asking.createEndpointBody(net, ep, ports);
    const answer = await this.#client
      .call('NetworkDriver.CreateEndpoint', body, answers.createEndpoint, ctx)
      .catch(async (error: unknown) => {
        if (mayBeDone(error)) await this.#forget(net, ep);
        throw error;
      });
    try {
      return { iface: asking.interfaceAnswered(ep.iface, answer), state: { ...state } };
    } catch (error) {
      const outcome = (await this.#forget(net, ep)) ? 'rolled back' : 'failed to roll back';
      throw this.#fault('CreateEndpoint', error, outcome);
    }
  }

  /** True when the plugin has deleted it. */
  #forget(net: DriverNetwork, ep: EndpointRequest): Promise<boolean> {
    return this.#client.dismiss('NetworkDriver.DeleteEndpoint', idsOf(net, ep));
  }

  async deleteEndpoint(_ctx: Ctx, net: DriverNetwork, ep: DriverEndpoint): Promise<void> {
    await this.#forget(net, ep);
  }

  async join(ctx: Ctx, net: DriverNetwork, ep: DriverEndpoint, at: JoinPlace): Promise<JoinResult> {
    await this.#tell(ctx, net, 'full');
    const body = { ...idsOf(net, ep), SandboxKey: at.netns.path, Options: asking.portsBody(at.ports) };
    const answer = await this.#client.call('NetworkDriver.Join', body, answers.join, ctx);
    try {
      const result = asking.joinAnswered(answer, ep.iface);
      const { before } = stateOf(ep);
      if (result.link !== undefined) await checkLink(this.#parts.host, this.#parts.mark, result.link.name, before);
      return { ...result, publish: [], state: ep.state };
    } catch (error) {
      throw this.#fault('Join', error);
    }
  }

  async leave(_ctx: Ctx, net: DriverNetwork, ep: DriverEndpoint): Promise<{ readonly netState?: Json }> {
    await this.#client.dismiss('NetworkDriver.Leave', idsOf(net, ep));
    return {};
  }

  async operInfo(ctx: Ctx, net: DriverNetwork, ep: DriverEndpoint): Promise<Readonly<Record<string, Json>>> {
    const answer = await this.#client.call('NetworkDriver.EndpointOperInfo', idsOf(net, ep), answers.operInfo, ctx, 'probe');
    return (answer.Value ?? {}) as Record<string, Json>;
  }

  async #program(ctx: Ctx, body: Json): Promise<void> {
    try {
      await this.#client.call('NetworkDriver.ProgramExternalConnectivity', body, answers.nothing, ctx);
    } catch (error) {
      // The one method that a plugin may leave out.
      if (!(error instanceof PluginError && error.isMissing)) throw error;
    }
  }

  #fault(method: string, error: unknown, outcome?: string): CnmError {
    const text = `plugin ${quoted(this.name)}: NetworkDriver.${method}: ${messageOf(error)}`;
    return new CnmError('plugin_failed', outcome === undefined ? text : `${text}; ${outcome}`, { cause: error });
  }

  /**
   * Tells a plugin that was started anew, or that we have not spoken to since our own start, of a network that it may not have any
   * more (spec 03 L1). One that refuses has it still.
   */
  async #tell(ctx: Ctx, net: DriverNetwork, patience: Patience): Promise<void> {
    const era = await this.#client.era();
    if (era !== undefined && this.#told.get(net.id) === era) return;
    const running = this.#telling.get(net.id);
    if (running !== undefined) return running;
    const work = this.#tellNow(ctx, net, patience).finally(() => this.#telling.delete(net.id));
    this.#telling.set(net.id, work);
    return work;
  }

  async #tellNow(ctx: Ctx, net: DriverNetwork, patience: Patience): Promise<void> {
    try {
      await this.#client.call('NetworkDriver.CreateNetwork', asking.createNetworkBody(net), answers.nothing, ctx, patience);
      this.#parts.log.info({ plugin: this.name, network: net.id }, 'a plugin was told of a network again');
    } catch (error) {
      if (!(error instanceof PluginError) || error.fate !== 'refused') throw error;
      this.#parts.log.info({ plugin: this.name, network: net.id, words: error.message }, 'a plugin has a network already');
    }
    const era = await this.#client.era();
    if (era !== undefined) this.#told.set(net.id, era);
  }

  /** A plugin that does not answer for one network is not asked for the others. */
  async #restore(ctx: Ctx, desired: readonly RestoreNetwork[]): Promise<readonly RestoreReport[]> {
    const reports: RestoreReport[] = [];
    let dead: string | undefined;
    for (const { net, endpoints } of desired) {
      const problems: string[] = [];
      try {
        if (dead === undefined) await this.#tell(ctx, net, 'probe');
        else problems.push(dead);
      } catch (error) {
        dead = messageOf(error);
        problems.push(dead);
      }
      for (const { ep, place } of endpoints) {
        if (place === undefined || place.ifname === '') continue;
        if ((await place.netns.rtnl().link.find({ name: place.ifname })) !== undefined) continue;
        problems.push(`endpoint ${ep.name}: ${place.ifname} is gone: disconnect the sandbox and connect it again`);
      }
      reports.push({ id: net.id, rules: [], state: net.state, ...(problems.length > 0 && { problem: problems.join('; ') }) });
    }
    return reports;
  }

  /** Networks that the plugin may have lost, by its socket alone: nobody is asked. */
  async #observe(desired: readonly RestoreNetwork[]): Promise<NetworkId[]> {
    if (desired.length === 0) return [];
    const era = await this.#client.era();
    return desired.filter(({ net }) => era === undefined || this.#told.get(net.id) !== era).map(({ net }) => net.id);
  }
}
