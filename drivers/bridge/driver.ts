/** The bridge driver: one Linux bridge a network, one veth pair an endpoint. Only the contract; the work is beside this file. */

import {
  CnmError,
  type EndpointId,
  type Json,
  type NetworkId,
  type Prefix,
  prefixAddress,
  prefixesOverlap,
  randomMac,
  undoable,
} from '../../src/base/index.ts';
import {
  type Driver,
  type DriverEndpoint,
  type DriverNetwork,
  type DriverParts,
  type JoinPlace,
  type JoinResult,
  parseEndpointSysctls,
} from '../../src/driver/index.ts';
import { Announcer } from '../shared/announcer.ts';
import { retireHostLink } from '../shared/host-link.ts';
import { plug, stateOf, unplug } from './endpoint.ts';
import { FlowKeeper } from './flows.ts';
import { type BridgeState, bridgeIntent, ensureBridge, giveBridgeBack, planAdoption } from './network.ts';
import { type BridgeOptions, checkSubnets, containerGateway, parseBridgeOptions } from './options.ts';
import { nameBridgeAgain } from './renamed.ts';
import { program } from './publish.ts';
import { linksOf, observeNetworks, restoreNetwork } from './restore.ts';

interface Known {
  readonly name: string;
  readonly bridge: string;
  readonly subnets: readonly Prefix[];
  /** Interface index of the bridge; looked up again when it is not known. */
  index?: number;
}

export function createBridgeDriver(parts: DriverParts): Driver {
  const known = new Map<NetworkId, Known>();
  /** Endpoints whose pair is out of service since their leave: nothing of it is left to look for. */
  const unplugged = new Set<EndpointId>();
  const announcer = new Announcer(parts);
  const flows = new FlowKeeper(parts);

  const remember = (net: DriverNetwork, options: BridgeOptions, index?: number): void => {
    const subnets = [...net.v4, ...net.v6].map((pool) => pool.prefix);
    known.set(net.id, { name: net.name, bridge: options.bridge, subnets, ...(index !== undefined && { index }) });
  };

  async function createNetwork(net: DriverNetwork): Promise<{ state: Json }> {
    const options = parseBridgeOptions(net);
    checkSubnets(net);
    refuseConflict(known, net, options);
    return undoable(async (undo) => {
      remember(net, options);
      undo.add('forget network', () => known.delete(net.id));
      const { state, index } = await ensureBridge(parts, net, options);
      undo.add('delete bridge or give it back', () => releaseBridge(state));
      undo.add('withdraw rules', () => parts.firewall.apply([{ owner: net.id, intent: null }]));
      await parts.firewall.apply([{ owner: net.id, intent: bridgeIntent(net, options) }]);
      remember(net, options, index);
      return { state: state as unknown as Json };
    });
  }

  async function releaseBridge(state: BridgeState): Promise<void> {
    const { created, bridge, adoption } = state;
    if (created) {
      await nameBridgeAgain(parts, state);
      await retireHostLink(parts, bridge);
    }
    // Ours has no longer the name: what has it is somebody's.
    if (adoption !== undefined) await giveBridgeBack(parts, bridge, adoption);
  }

  async function deleteNetwork(net: DriverNetwork): Promise<void> {
    const state = net.state as unknown as BridgeState | null;
    // Without a state the creation did not get far enough to answer; what it made carries our mark.
    if (state === null) await retireHostLink(parts, parseBridgeOptions(net).bridge);
    else await releaseBridge(state);
    await parts.firewall.apply([{ owner: net.id, intent: null }]);
    known.delete(net.id);
  }

  async function bridgeIndex(net: DriverNetwork, options: BridgeOptions): Promise<number> {
    const cached = known.get(net.id)?.index;
    if (cached !== undefined) return cached;
    const link = await parts.host.rtnl().link.find({ name: options.bridge });
    if (link?.kind !== 'bridge') throw await lostBridge(net, options, -1, undefined);
    remember(net, options, link.index);
    return link.index;
  }

  /** The error in words when the bridge was deleted, or made anew, behind our back. */
  async function lostBridge(net: DriverNetwork, options: BridgeOptions, index: number, error: unknown): Promise<unknown> {
    const link = await parts.host.rtnl().link.find({ name: options.bridge });
    if (link?.kind === 'bridge' && link.index === index) return error;
    remember(net, options, link?.kind === 'bridge' ? link.index : undefined);
    if (link !== undefined && link.kind !== 'bridge')
      return new CnmError(
        'name_taken',
        `link ${options.bridge}${link.kind && ` of kind ${link.kind}`} is in the place of the bridge of network ${net.name}: ` +
          'rename or remove it, then the daemon makes the bridge again within a minute',
        { cause: error },
      );
    const what =
      link === undefined ? 'is gone: the daemon makes it again within seconds; then try again' : 'is another one now: try again';
    return new CnmError('syscall_failed', `bridge ${options.bridge} of network ${net.name} ${what}`, { cause: error });
  }

  async function join(net: DriverNetwork, ep: DriverEndpoint, at: JoinPlace): Promise<JoinResult> {
    const options = parseBridgeOptions(net);
    parseEndpointSysctls(ep.options, at.ifname);
    await flows.settled([ep.iface.v4, ep.iface.v6].filter((p) => p !== undefined).map(prefixAddress));
    const index = await bridgeIndex(net, options);
    unplugged.delete(ep.id);
    await plug(parts, index, ep, options, at).catch(async (error: unknown) => {
      throw await lostBridge(net, options, index, error);
    });
    // It looks the link up: a look makes the kernel open the link's queue at once, now that the other side is up (linkwatch).
    if (at.isBare !== true) await announcer.start(ep, at, options.advertise);
    const gateway = net.internal ? undefined : net.v4[0] && containerGateway(net.v4[0]);
    const gateway6 = net.internal ? undefined : net.v6[0] && containerGateway(net.v6[0]);
    return {
      link: { name: at.ifname, at: 'sandbox' },
      ...(gateway && ep.iface.v4 && { gateway }),
      ...(gateway6 && ep.iface.v6 && { gateway6 }),
      routes: [],
      suppressDefaultGateway: false,
      publish: [],
      state: stateOf(ep) as unknown as Json,
    };
  }

  return {
    name: 'bridge',
    capabilities: { scope: 'local', connectivity: 'local', addressing: 'ipam', sandbox: 'own', singleton: false },
    validateNetwork: (net) => void parseBridgeOptions(net),
    async skipGwAlloc(_ctx, { options, internal }) {
      const { mode4, mode6, inhibitIPv4 } = parseBridgeOptions({ ...NO_NETWORK, options, internal });
      return { v4: mode4 === 'isolated' || (inhibitIPv4 && internal), v6: mode6 === 'isolated' };
    },
    async planNetwork(_ctx, net) {
      const state = await planAdoption(parts, net, parseBridgeOptions(net));
      return state && { state: state as unknown as Json };
    },
    createNetwork: (_ctx, net) => createNetwork(net),
    deleteNetwork: (_ctx, net) => deleteNetwork(net),
    async createEndpoint(_ctx, _net, ep) {
      parseEndpointSysctls(ep.options, 'IFNAME');
      return { iface: { ...ep.iface, mac: ep.iface.mac ?? randomMac() }, state: stateOf(ep) as unknown as Json };
    },
    async deleteEndpoint(_ctx, _net, ep) {
      if (!unplugged.delete(ep.id)) await unplug(parts, ep, undefined);
    },
    join: (_ctx, net, ep, at) => join(net, ep, at),
    async leave(_ctx, _net, ep, at) {
      announcer.stop(ep.id);
      await unplug(parts, ep, at);
      unplugged.add(ep.id);
      return {};
    },
    external: {
      programExternalConnectivity: (_ctx, net, ep, roles, ports) =>
        program(parts, flows, net, ep, parseBridgeOptions(net), roles, ports),
    },
    restorer: {
      seesMoved: true,
      linksOf,
      observe: (desired) => observeNetworks(parts, desired),
      async restore(_ctx, desired) {
        const reports = [];
        for (const wish of desired) {
          for (const { ep } of wish.endpoints) unplugged.delete(ep.id);
          const { report, index } = await restoreNetwork(parts, wish);
          if (index !== undefined) remember(wish.net, parseBridgeOptions(wish.net), index);
          reports.push(report);
        }
        return reports;
      },
    },
  };
}

const NO_NETWORK: DriverNetwork = {
  id: '' as NetworkId,
  name: '',
  internal: false,
  enableIPv4: true,
  enableIPv6: false,
  options: {},
  v4: [],
  v6: [],
  state: null,
};

/** Same bridge or overlapping subnets: routing between them could not work (spec 04 N5). */
function refuseConflict(known: ReadonlyMap<NetworkId, Known>, net: DriverNetwork, options: BridgeOptions): void {
  for (const [id, other] of known) {
    if (id === net.id) continue;
    if (other.bridge === options.bridge) {
      throw new CnmError(
        'subnet_conflict',
        `cannot create network ${net.name}: bridge name ${options.bridge} is used by network ${other.name}`,
      );
    }
    for (const { prefix } of [...net.v4, ...net.v6]) {
      const overlapped = other.subnets.find((subnet) => prefixesOverlap(subnet, prefix));
      if (overlapped === undefined) continue;
      throw new CnmError(
        'subnet_conflict',
        `cannot create network ${net.name}: ${prefix} overlaps ${overlapped} of network ${other.name}`,
      );
    }
  }
}
