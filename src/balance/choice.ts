/** Which of the balancers it is, and the change from one to the other. */

import { hasIpvs, type Mark } from '../kernel/index.ts';
import { createNftBalancer } from './client.ts';
import type { Balancer, BalancerKind } from './contract.ts';
import { createIpvsBalancer } from './ipvs.ts';
import type { TableMemory } from './memory.ts';

export function createBalancer(mark: Pick<Mark, 'tag'>, kind: BalancerKind = 'nft'): Balancer {
  const [nft, ipvs] = [createNftBalancer(mark), createIpvsBalancer(mark)];
  // The kernel does not let go of IPVS while anything of ours is in it: where there is none, it was never used.
  return kind === 'nft' ? inPlaceOf(ipvs, hasIpvs, nft) : inPlaceOf(nft, () => true, ipvs);
}

/**
 * What another balancer has laid in a namespace goes when this one first comes there; connections through it end. Nobody looks for it
 * where it was not used on this host, nor twice with one memory.
 */
export function inPlaceOf(other: Balancer, wasUsed: () => boolean, balancer: Balancer): Balancer {
  /** Namespaces in which there is nothing of the other, by identity. */
  const looked = new WeakMap<TableMemory, string>();
  const clearOther: Balancer['clear'] = async (client, memory) => {
    if ((memory !== undefined && looked.get(memory) === client.identity) || !wasUsed()) return;
    await other.clear(client);
    if (memory !== undefined) looked.set(memory, client.identity);
  };
  return {
    async apply(client, services, memory) {
      await clearOther(client, memory);
      await balancer.apply(client, services, memory);
    },
    async clear(client, memory) {
      await clearOther(client, memory);
      await balancer.clear(client, memory);
    },
    countFlows: (client, member) => balancer.countFlows(client, member),
  };
}
