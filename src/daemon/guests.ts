/** `/guests…`: what foreign engines have here as their plugin. To look at only: whoever owns it, removes it. */

import type { GuestJson, HostPortJson } from '../base/api.ts';
import { CnmError, shown } from '../base/index.ts';
import type { GuestEndpoint, GuestNetwork } from '../cnm/index.ts';
import type { DaemonParts, Route } from './route.ts';

export function guestRoutes({ controller }: DaemonParts): Route[] {
  const { guests } = controller;
  return [
    {
      method: 'GET',
      path: '/guests',
      takes: [],
      handle: () => ({ status: 200, json: guests.networks().map((net) => guestJson(net, guests.endpoints())) }),
    },
    {
      method: 'GET',
      path: '/guests/:term',
      takes: [],
      handle: ({ term }) => ({ status: 200, json: guestJson(networkOf(guests.networks(), term), guests.endpoints()) }),
    },
  ];
}

/** By the id or its beginning. Throws no_network, ambiguous_name. */
function networkOf(all: readonly GuestNetwork[], term: string): GuestNetwork {
  const found = all.filter(({ id }) => term !== '' && id.startsWith(term));
  const [first] = found;
  if (first === undefined) throw new CnmError('no_network', `no engine has a network ${shown(term)} here: guest ls shows all`);
  if (found.length > 1 && !found.some(({ id }) => id === term))
    throw new CnmError(
      'ambiguous_name',
      `${shown(term)} is the beginning of ${found.length} networks of engines: give more of the id`,
    );
  return found.find(({ id }) => id === term) ?? first;
}

function guestJson(net: GuestNetwork, endpoints: readonly GuestEndpoint[]): GuestJson {
  const { asked } = net;
  return {
    Id: net.id,
    Driver: net.driver,
    State: net.phase,
    Engine: net.engine ?? '',
    Internal: asked.internal,
    EnableIPv4: asked.enableIPv4,
    EnableIPv6: asked.enableIPv6,
    Pools: [...asked.v4, ...asked.v6].map(({ prefix, gateway }) => ({ Subnet: prefix, Gateway: gateway ?? '' })),
    Options: asked.options,
    Endpoints: Object.fromEntries(endpoints.filter(({ network }) => network === net.id).map((ep) => [ep.id, endpointJson(ep)])),
    ...(net.home !== undefined && { Network: { Id: net.home.id, Name: net.home.name } }),
    Created: new Date(net.created).toISOString(),
    ...(net.degraded !== undefined && { Degraded: net.degraded }),
  };
}

function endpointJson(ep: GuestEndpoint): GuestJson['Endpoints'][string] {
  const ports: Record<string, HostPortJson[]> = {};
  for (const { hold, port } of ep.held)
    for (const HostIp of hold.addresses) (ports[`${port}/${hold.protocol}`] ??= []).push({ HostIp, HostPort: String(hold.port) });
  return {
    State: ep.phase,
    IPv4Address: ep.asked.v4 ?? '',
    IPv6Address: ep.asked.v6 ?? '',
    MacAddress: ep.mac ?? '',
    SandboxKey: ep.join?.key ?? '',
    // The engine does not tell what it calls a link that it moved.
    Interface: ep.join?.isBare === false ? ep.join.ifname : '',
    Ports: ports,
    ...(ep.names !== undefined && { Names: ep.names }),
  };
}
