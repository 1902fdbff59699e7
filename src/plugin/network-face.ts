/** NetworkDriver.*: one of our drivers, as an engine sees it (spec 03 §4 to §6). */

import type { EndpointId, Json, NetworkId } from '../base/index.ts';
import type { GuestJoined, Guests } from '../cnm/index.ts';
import { type Driver, wire } from '../driver/index.ts';
import { asked } from './body.ts';
import type { Namer } from './namer.ts';

/** Serves one method: the body as it came, undefined without one. */
export type Method = (body: unknown, signal: AbortSignal) => Promise<Json>;

const DONE: Json = {};

/** By the method's whole name. */
export function networkFace(guests: Guests, driver: Driver, namer: Namer): Readonly<Record<string, Method>> {
  const { requests } = wire;
  const idsOf = (given: { NetworkID: string; EndpointID: string }): [NetworkId, EndpointId] => [
    given.NetworkID as NetworkId,
    given.EndpointID as EndpointId,
  ];
  const ofEndpoint =
    (method: string, work: (network: NetworkId, endpoint: EndpointId) => Promise<unknown>): Method =>
    async (body) => {
      await work(...idsOf(asked(requests.endpoint, body, method)));
      return DONE;
    };

  const methods: Record<string, Method> = {
    async GetCapabilities() {
      const { connectivity } = driver.capabilities;
      // Networks are the engine's own, also those of several hosts: with another scope it wants a swarm.
      return { Scope: 'local', ConnectivityScope: connectivity, GwAllocChecker: driver.skipGwAlloc !== undefined };
    },

    async GwAllocCheck(body, signal) {
      const question = wire.networkOptions(asked(requests.gwAllocCheck, body, 'GwAllocCheck').Options);
      const skip = (await driver.skipGwAlloc?.({ signal }, question)) ?? { v4: false, v6: false };
      return { SkipIPv4: skip.v4, SkipIPv6: skip.v6 };
    },

    async CreateNetwork(body, signal) {
      const given = asked(requests.createNetwork, body, 'CreateNetwork');
      const [v4, v6] = [wire.poolsOf(given.IPv4Data), wire.poolsOf(given.IPv6Data)];
      const { enableIPv4 = v4.length > 0, enableIPv6, ...rest } = wire.networkOptions(given.Options);
      const spec = { ...rest, enableIPv4, enableIPv6: enableIPv6 || v6.length > 0, v4, v6 };
      await guests.createNetwork(driver.name, given.NetworkID as NetworkId, spec, signal);
      return DONE;
    },

    async DeleteNetwork(body) {
      await guests.deleteNetwork(asked(requests.network, body, 'DeleteNetwork').NetworkID as NetworkId);
      return DONE;
    },

    async CreateEndpoint(body, signal) {
      const given = asked(requests.createEndpoint, body, 'CreateEndpoint');
      const iface = wire.interfaceOf(given.Interface);
      const spec = {
        ...iface,
        options: wire.stringsOf(given.Options),
        publish: wire.portsOf(given.Options, 'CreateEndpoint') ?? [],
      };
      const { mac } = await guests.createEndpoint(...idsOf(given), spec, signal);
      // What the engine has set already must not be answered: it takes that for a change.
      return iface.mac === undefined && mac !== undefined ? { Interface: { MacAddress: mac } } : { Interface: {} };
    },

    DeleteEndpoint: ofEndpoint('DeleteEndpoint', (network, endpoint) => guests.deleteEndpoint(network, endpoint)),

    async EndpointOperInfo(body) {
      asked(requests.endpoint, body, 'EndpointOperInfo');
      return { Value: {} };
    },

    async Join(body, signal) {
      const given = asked(requests.join, body, 'Join');
      const [network, endpoint] = idsOf(given);
      const joined = await guests.join(network, endpoint, given.SandboxKey, signal);
      if (driver.cluster !== undefined) namer.soon();
      return joinReply(joined, driver.capabilities.gatewayBridge === true && !guests.isInternal(network));
    },

    Leave: ofEndpoint('Leave', (network, endpoint) => guests.leave(network, endpoint)),

    async ProgramExternalConnectivity(body, signal) {
      const given = asked(requests.program, body, 'ProgramExternalConnectivity');
      const publish = wire.portsOf(given.Options, 'ProgramExternalConnectivity');
      const roles = { v4: true, v6: String(given.Options?.[wire.keys.no6to4Proxy]) !== 'true' };
      await guests.program(...idsOf(given), { roles, ...(publish && { publish }) }, signal);
      return DONE;
    },

    RevokeExternalConnectivity: ofEndpoint('RevokeExternalConnectivity', (network, endpoint) => guests.revoke(network, endpoint)),

    // Nodes of a cluster, which a driver of one host has no use for.
    DiscoverNew: async () => DONE,
    DiscoverDelete: async () => DONE,

    // The engine that manages a cluster asks every driver; one of one host has nothing to add.
    async AllocateNetwork(body) {
      return { Options: { ...asked(requests.allocateNetwork, body, 'AllocateNetwork').Options } };
    },
    async FreeNetwork(body) {
      asked(requests.network, body, 'FreeNetwork');
      return DONE;
    },
  };
  return Object.fromEntries(Object.entries(methods).map(([name, serve]) => [`NetworkDriver.${name}`, serve]));
}

/**
 * Without a link the engine adds nothing: it is inside already. Without a gateway it must not look for one of its own, unless the
 * way outside is by a network of its own (`docker_gwbridge`), which has the published ports then too.
 */
function joinReply({ link, gateway, gateway6, routes }: GuestJoined, isLedOut: boolean): Json {
  return {
    ...(link && { InterfaceName: { SrcName: link.name, DstPrefix: link.prefix } }),
    Gateway: gateway ?? '',
    GatewayIPv6: gateway6 ?? '',
    StaticRoutes: wire.routesJson(routes),
    DisableGatewayService: gateway === undefined && gateway6 === undefined && !isLedOut,
  };
}
