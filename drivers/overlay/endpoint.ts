/** The veth pair of an endpoint: one side a port in the network's namespace, the other one in the sandbox under its final name. */

import { CnmError, errnoOf } from '../../src/base/index.ts';
import { type DriverEndpoint, type JoinPlace, dress } from '../../src/driver/index.ts';
import type { Link, Netns } from '../../src/kernel/index.ts';
import type { OverlayParts } from './parts.ts';

/** Name of the network's side: derived, so that it can be found without a record. */
export const portName = (ep: { readonly id: string }): string => `veth${ep.id.slice(0, 11)}`;

/** Makes the pair on the bridge, with its sandbox's side addressed and up. The caller undoes it with `withdraw`. */
export async function plug(parts: OverlayParts, netns: Netns, bridge: Link, ep: DriverEndpoint, at: JoinPlace): Promise<void> {
  const rtnl = netns.rtnl();
  const name = portName(ep);
  const { mac } = ep.iface;
  const common = { group: parts.mark.liveGroup, mtu: bridge.mtu };
  const peer = { name: at.ifname, netns: at.netns, ...common, ...(mac && { mac }) };
  let port: Link | undefined;
  try {
    port = await rtnl.link.add({ kind: 'veth', name, master: bridge.index, ...common, peer });
  } catch (error) {
    if (errnoOf(error) !== 'EXFULL') throw error;
    throw new CnmError('network_full', 'the bridge has no port left: the kernel takes 1,023 a bridge, a host and a subnet', {
      cause: error,
    });
  }
  if (at.isBare !== true) await dress(ep, at, { acceptRa: '0' }, port?.parent);
  // The port comes up last: only then does the bridge forward at once, without waiting for the carrier's event.
  await rtnl.batch([{ op: 'link.set', at: { name }, change: { up: true } }]);
}
