/**
 * Removes a network as users ask for it: what a removal that failed has left in it, and nobody has any more, keeps nobody from it
 * (spec 11 U6). A start ends the same by itself.
 */

import { type NetworkId, codeOf } from '../base/index.ts';
import type { Cnm } from './context.ts';
import { deleteEndpoint, detach } from './endpoints.ts';
import { deleteNetwork, networkToDelete } from './networks.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './records.ts';

/** As deleteNetwork. Throws what keeps such an endpoint from being ended, too. The caller holds no lock. */
export async function removeNetwork(cnm: Cnm, term: string): Promise<NetworkRecord> {
  try {
    return await deleteNetwork(cnm, term);
  } catch (error) {
    if (codeOf(error) !== 'network_in_use') throw error;
    const { id } = networkToDelete(cnm, term);
    if ((await endGhosts(cnm, id)) === 0) throw error;
    return deleteNetwork(cnm, id);
  }
}

/** Ends endpoints of the network that nobody has any more. Answers how many. One that is on its way out in this moment is waited for. */
export async function endGhosts(cnm: Cnm, network: NetworkId): Promise<number> {
  const ghosts = cnm.state.endpointsOfNetwork(network).filter((ep) => isGhost(cnm, ep));
  const failures: unknown[] = [];
  for (const { id, sandbox, boundTo } of ghosts) {
    const home = sandbox ?? boundTo;
    const end = (): Promise<void> =>
      cnm.locks.run(`endpoint:${id}`, async () => {
        const ep = cnm.state.endpointById(id);
        if (ep === undefined || !isGhost(cnm, ep)) return;
        if (ep.sandbox === undefined || homeOf(cnm, ep) === undefined) await deleteEndpoint(cnm, id);
        else await detach(cnm, id);
      });
    try {
      await (home === undefined ? end() : cnm.locks.run(`sandbox:${home}`, end));
    } catch (error) {
      // The others are ended nevertheless.
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
  return ghosts.length;
}

/** On its way out, or of a sandbox that is, or of one that is gone. */
function isGhost(cnm: Cnm, ep: EndpointRecord): boolean {
  if (ep.phase === 'leaving' || ep.phase === 'deleting') return true;
  const isSomebodys = ep.sandbox !== undefined || ep.boundTo !== undefined;
  const home = homeOf(cnm, ep);
  return isSomebodys && (home === undefined || home.phase === 'deleting');
}

function homeOf(cnm: Cnm, { sandbox, boundTo }: EndpointRecord): SandboxRecord | undefined {
  const id = sandbox ?? boundTo;
  return id === undefined ? undefined : cnm.state.sandboxById(id);
}
