/**
 * Foreign IPAM drivers that forget with the daemon are told of their leases again (spec 03 I4): when their network is used next, or
 * behind everybody's back. A plugin that is not there holds up no start.
 */

import { messageOf } from '../base/index.ts';
import type { Cnm } from './context.ts';
import type { NetworkRecord } from './records.ts';
import { replayAddresses, replayPools } from './steps/addresses.ts';

/** Nothing to do for most networks. Throws what the plugin's failure throws; it is tried again then. */
export async function tellLeases(cnm: Cnm, net: NetworkRecord): Promise<void> {
  if (!cnm.untold.has(net.id)) return;
  await cnm.locks.run(`leases:${net.id}`, async () => {
    if (!cnm.untold.has(net.id)) return;
    await replayPools(cnm, net);
    for (const ep of cnm.state.endpointsOfNetwork(net.id)) await replayAddresses(cnm, net, ep);
    await cnm.services?.replay(net);
    cnm.untold.delete(net.id);
  });
}

export async function tellAllLeases(cnm: Cnm): Promise<void> {
  for (const id of cnm.untold) {
    const net = cnm.state.networkById(id);
    if (net?.phase !== 'ready') {
      cnm.untold.delete(id);
      continue;
    }
    try {
      await tellLeases(cnm, net);
    } catch (error) {
      cnm.env.log.warn({ network: id, problem: messageOf(error) }, 'a plugin cannot be told of its leases');
    }
  }
}
