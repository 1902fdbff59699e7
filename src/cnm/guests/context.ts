/** What the guests' use cases work with, and the values that drivers are handed. */

import { type EndpointId, type NetworkId, CnmError, shortId } from '../../base/index.ts';
import type { Driver, DriverEndpoint, DriverNetwork } from '../../driver/index.ts';
import type { Cnm } from '../context.ts';
import type { GuestEndpoint, GuestNetwork } from './records.ts';
import type { GuestState } from './state.ts';

/** The controller's parts, with the guests' own state. */
export interface Hosting {
  readonly cnm: Cnm;
  readonly state: GuestState;
}

export const guestDriver = ({ cnm }: Hosting, net: GuestNetwork): Driver => cnm.drivers.get(net.driver);

/** Whether a link that its engine has moved is made anew when it is gone. */
export const remakesMoved = ({ cnm, state }: Hosting, { network }: GuestEndpoint): boolean =>
  cnm.drivers.find(state.networks.get(network)?.driver ?? '')?.restorer?.remakesMoved === true;

/** The engine tells no names: networks and endpoints are called as their ids begin. */
export const guestNetworkValue = ({ id, asked, driverState, home }: GuestNetwork): DriverNetwork =>
  home ?? {
    id,
    name: shortId(id),
    internal: asked.internal,
    enableIPv4: asked.enableIPv4,
    enableIPv6: asked.enableIPv6,
    options: asked.options,
    v4: asked.v4,
    v6: asked.v6,
    state: driverState,
  };

export const guestEndpointValue = ({ id, asked, mac, driverState }: GuestEndpoint): DriverEndpoint => ({
  id,
  name: shortId(id),
  iface: { ...(mac && { mac }), ...(asked.v4 && { v4: asked.v4 }), ...(asked.v6 && { v6: asked.v6 }) },
  linkLocal: [],
  options: asked.options,
  state: driverState,
});

/** Throws no_network for one that is not there, or not there any more. */
export function readyNetwork({ state }: Hosting, id: NetworkId): GuestNetwork {
  const net = state.networks.get(id);
  if (net?.phase !== 'ready')
    throw new CnmError('no_network', `network ${shortId(id)} was not created here: remove it and create it again`);
  return net;
}

/** Throws no_endpoint. */
export function knownEndpoint({ state }: Hosting, network: NetworkId, id: EndpointId): GuestEndpoint {
  const ep = state.endpoints.get(id);
  if (ep?.network !== network)
    throw new CnmError('no_endpoint', `endpoint ${shortId(id)} was not created here on network ${shortId(network)}`);
  return ep;
}
