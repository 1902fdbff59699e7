/**
 * Balances in the client's own namespace: a connection to a virtual address becomes one to a member before it leaves, so that
 * the member sees the client's address. Decision 24 says why there. By IPVS instead: ipvs.ts.
 */

import { type Address, addressBytes, addressFromBytes, familyOf, KeyedLock } from '../base/index.ts';
import { type ConntrackMatch, countTranslatedFlows, type Mark, type Netns, nft, removeTable } from '../kernel/index.ts';
import { applyGroups, type Changes } from './apply.ts';
import type { BalancedMember, BalancedService, Balancer } from './contract.ts';
import { isTracking, TableMemory } from './memory.ts';
import { CHAIN_PREFIX, type Group, type Scheme } from './table.ts';

/** Name of our nft table inside a client's namespace, or a gate's. */
export const tableOf = (mark: Pick<Mark, 'tag'>): string => `patchbay-${mark.tag}-services`;

/** Behind `dstnat` (-100): what the sandbox's own rules translate is theirs. */
const PRIORITY = -90;
/** Digits of an id that are enough to tell services apart. */
const ID_DIGITS = 32;
const DESTINATION = { 4: { at: 16, length: 4 }, 6: { at: 24, length: 16 } } as const;

/** Packets of the family: by destination. */
const byDestination = (family: 4 | 6, number: number, map: string): readonly Buffer[] => [
  nft.loadMeta(nft.META.family),
  nft.equals(Buffer.from([number])),
  nft.loadPayload(nft.PAYLOAD_BASE.network, DESTINATION[family].at, DESTINATION[family].length),
  nft.goBy(map),
];

/** What finds a service by its address. */
export const SCHEME: Scheme = {
  maps: {
    virtual4: { keyType: nft.TYPE.ipv4, keyLength: 4 },
    virtual6: { keyType: nft.TYPE.ipv6, keyLength: 16 },
  },
  chains: {
    // A chain of this type sees the first packet of each connection only.
    clients: {
      hook: { type: 'nat', at: nft.HOOK.output, priority: PRIORITY },
      rules: [byDestination(4, nft.FAMILY.ipv4, 'virtual4'), byDestination(6, nft.FAMILY.ipv6, 'virtual6')],
    },
  },
};

const keysOf = (vips: readonly Address[], family: 4 | 6): Buffer[] =>
  vips.filter((vip) => familyOf(vip) === family).map((vip) => Buffer.from(addressBytes(vip)));

export const addressesOf = (members: readonly BalancedMember[], state?: BalancedMember['state']): Address[] =>
  members.filter((member) => state === undefined || member.state === state).flatMap(({ addresses }) => addresses);

/** One telling is for many namespaces. */
const groups = new WeakMap<BalancedService, Group>();

export function groupOf(service: BalancedService): Group {
  const group = groups.get(service) ?? toGroup(service);
  groups.set(service, group);
  return group;
}

const toGroup = ({ id, vips, members }: BalancedService): Group => ({
  chain: `${CHAIN_PREFIX}${id.slice(0, ID_DIGITS)}`,
  keys: { virtual4: keysOf(vips, 4), virtual6: keysOf(vips, 6) },
  targets: addressesOf(members, 'serving'),
  keeping: addressesOf(members),
  // Who is drained no more is a change: what still leads to it must go.
  also: [...addressesOf(members, 'draining').toSorted(), '', ...vips.toSorted()],
});

/** Flows to the service that lead to nobody of it. */
export const strays = ({ vips, members }: BalancedService): ConntrackMatch[] =>
  vips.map((vip) => ({ family: familyOf(vip), originalDestination: vip, notAnsweredBy: addressesOf(members) }));

/** Flows to addresses that no service has any more: they may be others' by now. */
export const orphans = ({ gone }: Changes): ConntrackMatch[] =>
  [...gone.values()].flat().map((key) => {
    const originalDestination = addressFromBytes(key);
    return { family: familyOf(originalDestination), originalDestination };
  });

/** Flows of the namespace that were translated to the member. */
export async function flowsThrough(netns: Netns, { addresses }: BalancedMember): Promise<number> {
  if (!isTracking(netns)) return 0;
  let count = 0;
  for (const address of addresses) count += await countTranslatedFlows(netns, address);
  return count;
}

/** By nf_tables and connection tracking. Its calls for one namespace are done one after the other. Throws kernel_lacks. */
export function createNftBalancer(mark: Pick<Mark, 'tag'>): Balancer {
  const locks = new KeyedLock();
  const table = tableOf(mark);
  return {
    apply: (client, services, memory: TableMemory = new TableMemory()) =>
      locks.run(client.identity, async () => {
        const changes = await applyGroups(client, table, SCHEME, services.map(groupOf), memory);
        const less = new Set(changes.less);
        // Rules first: a flow that is deleted before them would be made again by the old ones.
        await memory.settle(
          client,
          [...services.filter((service) => less.has(groupOf(service))).flatMap(strays), ...orphans(changes)],
          () => services.flatMap(strays),
        );
      }),
    clear: (client, memory) =>
      locks.run(client.identity, async () => {
        memory?.forget();
        await removeTable(client, nft.FAMILY.inet, table);
      }),
    countFlows: flowsThrough,
  };
}
