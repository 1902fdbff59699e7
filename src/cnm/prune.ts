/** Removes networks that nothing uses (spec 02 §3.7). */

import { CnmError, codeOf } from '../base/index.ts';
import { membersOf } from './lodgers.ts';
import type { Cnm } from './context.ts';
import { deleteNetwork } from './networks.ts';
import type { NetworkRecord } from './records.ts';
import { isPredefined } from './spec.ts';

export class Pruner {
  readonly #cnm: Cnm;
  #running = false;

  constructor(cnm: Cnm) {
    this.#cnm = cnm;
  }

  /** Names of the removed networks. One that fails is logged and skipped. Throws prune_running when another prune runs. */
  async prune(wanted: (net: NetworkRecord) => boolean): Promise<string[]> {
    if (this.#running) throw new CnmError('prune_running', 'a prune operation is already running');
    this.#running = true;
    try {
      const removed: string[] = [];
      for (const net of this.#cnm.state.networks()) {
        const spared =
          isPredefined(net.name) ||
          net.configOnly ||
          net.ingress ||
          membersOf(this.#cnm, net.id).length > 0 ||
          this.#cnm.state.servicesOfNetwork(net.id).length > 0;
        if (spared || !wanted(net)) continue;
        try {
          await deleteNetwork(this.#cnm, net.id);
          removed.push(net.name);
        } catch (error) {
          // Someone connected to it in between: then it is in use, and stays. Or he removed it.
          const code = codeOf(error);
          if (code !== 'network_in_use' && code !== 'no_network')
            this.#cnm.env.log.warn({ network: net.id, err: error }, 'a network could not be pruned');
        }
      }
      return removed;
    } finally {
      this.#running = false;
    }
  }
}
