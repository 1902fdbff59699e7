/** What is told of a network that hosts share: its hosts, and with `verbose` each endpoint's (spec 07 §7). */

import { type NetworkJson, codeOf, prefixAddress } from '../base/index.ts';
import type { NetworkController, NetworkRecord } from '../cnm/index.ts';

type Told = Pick<NetworkJson, 'Peers' | 'Services'>;

/** Nothing of a network of this host alone, or while the cluster cannot say. */
export async function sharedJson(controller: NetworkController, net: NetworkRecord, isVerbose: boolean): Promise<Told> {
  const { shared } = controller;
  if (net.shared !== true || shared === undefined) return {};
  let endpoints: Awaited<ReturnType<typeof shared.endpointsOf>>;
  try {
    endpoints = await shared.endpointsOf(net.id);
  } catch (error) {
    if (codeOf(error) === 'store_unreachable') return {};
    throw error;
  }
  const { cluster } = controller;
  const there = endpoints.filter(({ node, isJoined }) => isJoined && !cluster.isAway(node));
  const hosts = new Map(there.map(({ node, vtep }) => [node, vtep ?? '']));
  const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  const peers = [...hosts].map(([node, address]) => ({ Name: cluster.nameOf(node), IP: address }));
  return {
    Peers: peers.toSorted((a, b) => byText(a.Name, b.Name)),
    ...(isVerbose && {
      Services: {
        // Endpoints of no service, as the reference has them.
        '': {
          VIP: '',
          Ports: [],
          LocalLBIndex: 0,
          Tasks: endpoints
            .filter(({ services }) => services === undefined)
            .map(({ id, name, node, vtep, mac, v4, v6, isJoined }) => ({
              Name: name,
              EndpointID: id,
              EndpointIP: v4 !== undefined ? prefixAddress(v4) : v6 !== undefined ? prefixAddress(v6) : '',
              Info: {
                Host: cluster.nameOf(node),
                'Host IP': vtep ?? '',
                State: cluster.isAway(node) ? 'down' : isJoined ? 'joined' : 'ready',
                ...(mac && { MAC: mac }),
                ...(v6 && { IPv6: prefixAddress(v6) }),
              },
            }))
            .toSorted((a, b) => byText(a.Name, b.Name) || byText(a.EndpointID, b.EndpointID)),
        },
      },
    }),
  };
}
