/** Who is a member of a service, here and on other hosts, and what clients are to balance over. */

import { type EndpointId, type NetworkId, type ServiceId, prefixAddress } from '../../base/index.ts';
import type { BalancedService } from '../../balance/index.ts';
import type { Cnm } from '../context.ts';
import type { EndpointRecord, Membership, ServiceRecord } from '../records.ts';

/** An endpoint that is a member, as far as names and packets are concerned. */
export interface Member extends Pick<EndpointRecord, 'name' | 'v4' | 'v6' | 'services'> {
  readonly id: EndpointId;
  readonly state: Membership['state'];
}

/** Members of all services of a network. */
export type MembersByService = ReadonlyMap<ServiceId, readonly Member[]>;

type Candidate = Pick<Member, 'id' | 'name' | 'v4' | 'v6' | 'services'>;

export const membershipOf = ({ services }: Pick<EndpointRecord, 'services'>, service: ServiceId): Membership | undefined =>
  services?.find((one) => one.service === service);

/**
 * Members of all services of a network, in one look at its endpoints: those of this host and of living other hosts, by id, so that all
 * hosts have the same order.
 */
export function membersIn(cnm: Cnm, network: NetworkId): MembersByService {
  const own: readonly Candidate[] = cnm.state.endpointsOfNetwork(network).filter(({ phase }) => phase === 'joined');
  const others: readonly Candidate[] = cnm.shared?.peersOf(network) ?? [];
  const all = [...own, ...others].filter(({ services }) => services !== undefined).sort((a, b) => (a.id < b.id ? -1 : 1));
  const members = new Map<ServiceId, Member[]>();
  for (const ep of all)
    for (const { service, state } of ep.services ?? []) {
      const list = members.get(service);
      if (list === undefined) members.set(service, [{ ...ep, state }]);
      else list.push({ ...ep, state });
    }
  return members;
}

export const addressesOf = ({ v4, v6 }: Pick<EndpointRecord, 'v4' | 'v6'>) =>
  [v4, v6].filter((prefix) => prefix !== undefined).map(prefixAddress);

/** Who does not serve keeps the connections that it has: an ill one may be well again before they notice. */
export const balancedOf = ({ id, vips }: ServiceRecord, members: readonly Member[] = []): BalancedService => ({
  id,
  vips: vips.map(({ address }) => address),
  members: members.map((member) => ({
    addresses: addressesOf(member),
    state: member.state === 'healthy' ? ('serving' as const) : ('draining' as const),
  })),
});
