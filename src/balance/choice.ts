/** Which of the balancers it is, and the change from one to the other. */

import type { Mark } from '../kernel/index.ts';
import { createNftBalancer } from './client.ts';
import type { Balancer, BalancerKind } from './contract.ts';
import { createIpvsBalancer } from './ipvs.ts';

/** What another kind has laid in a namespace goes when this one first comes there; connections through it end. */
export function createBalancer(mark: Pick<Mark, 'tag'>, kind: BalancerKind = 'nft'): Balancer {
  const [balancer, other] =
    kind === 'nft' ? [createNftBalancer(mark), createIpvsBalancer(mark)] : [createIpvsBalancer(mark), createNftBalancer(mark)];
  /** Namespaces in which there is nothing of the other, by identity. */
  const looked = new Set<string>();
  return {
    async apply(client, services, memory) {
      if (!looked.has(client.identity)) await other.clear(client);
      looked.add(client.identity);
      await balancer.apply(client, services, memory);
    },
    async clear(client, memory) {
      if (!looked.delete(client.identity)) await other.clear(client);
      await balancer.clear(client, memory);
    },
    countFlows: (client, member) => balancer.countFlows(client, member),
  };
}
