/** One endpoint on its way into or out of one sandbox: what the steps of join and leave share and change. */

import type { Ctx, Driver, JoinPlace, SandboxPorts } from '../driver/index.ts';
import type { Netns } from '../kernel/index.ts';
import { type Cnm, servesNames } from './context.ts';
import { type Candidate, type Election, elect, ordered } from './gateway.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './records.ts';

export interface Attachment {
  readonly cnm: Cnm;
  readonly ctx: Ctx;
  readonly net: NetworkRecord;
  readonly driver: Driver;
  /** The sandbox's namespace; absent when it is gone (its process died, the machine restarted). */
  readonly netns?: Netns;
  /** The sandbox is being deleted, and with it its namespace and its files: what is only in there need not be taken back. */
  readonly isEnding: boolean;
  /** Records as the steps have changed them so far; written once at the end. */
  ep: EndpointRecord;
  sandbox: SandboxRecord;
  /** Other endpoints of the sandbox whose published bindings a step has changed. */
  readonly touched: Map<string, EndpointRecord>;
  /** This join started the resolver, so its undo ends it. */
  startedResolver?: boolean;
  /** This join has come to telling drivers that publish by themselves. */
  toldPublishers?: boolean;
  /** The sandbox before this join took host ports for it. */
  heldBefore?: SandboxRecord;
  /** The keeper's word on names that were told or taken back. It takes a while, in which this process has other things to do. */
  named?: Promise<unknown>;
}

/** `do` makes its part of a join; `undo` takes the same part back, and accepts that it was never made. */
export interface JoinStep {
  readonly label: string;
  do(a: Attachment): Promise<void>;
  undo(a: Attachment): Promise<void>;
}

/** Where the driver works. Asks for `netns`. */
export function placeOf(a: Attachment, ifname: string): JoinPlace | undefined {
  if (a.netns === undefined) return undefined;
  return { sandbox: a.sandbox.id, netns: a.netns, ifname, ...(a.isEnding && { isEnding: true }) };
}

/**
 * What a driver that publishes by itself is told of the sandbox's ports. An internal network publishes none, and host ports that we
 * hold for a network of ours stay with us: nobody else could have them.
 */
export const portsOf = (net: NetworkRecord, { publish, exposed, held }: SandboxRecord): SandboxPorts => ({
  publish: net.internal || held.length > 0 ? [] : publish,
  exposed,
});

/** The sandbox's other endpoints that are joined, as the steps have changed them. */
export function others(a: Attachment): EndpointRecord[] {
  return a.cnm.state
    .endpointsOfSandbox(a.sandbox.id)
    .filter((ep) => ep.id !== a.ep.id && ep.phase === 'joined')
    .map((ep) => a.touched.get(ep.id) ?? ep);
}

interface Member extends Candidate {
  readonly ep: EndpointRecord;
  readonly net: NetworkRecord;
}

/** Endpoints with what the election needs, in the sandbox's order. */
export function membersOf(cnm: Cnm, endpoints: readonly EndpointRecord[]): Member[] {
  const members = endpoints.flatMap((ep): Member[] => {
    const net = cnm.state.networkById(ep.network);
    if (net === undefined || ep.join === undefined) return [];
    const gives = !ep.join.suppressDefaultGateway;
    return [
      {
        ep,
        net,
        id: ep.id,
        gwPriority: ep.gwPriority,
        networkName: net.name,
        internal: net.internal,
        hasGateway4: gives && (ep.join.gateway ?? ep.join.wayOut?.v4) !== undefined,
        hasGateway6: gives && (ep.join.gateway6 ?? ep.join.wayOut?.v6) !== undefined,
      },
    ];
  });
  return ordered(members);
}

export const electAmong = (cnm: Cnm, endpoints: readonly EndpointRecord[]): Election => elect(membersOf(cnm, endpoints));

/** Networks whose names a sandbox with these endpoints sees, in search order, and whether any of its networks leads outside. */
export function viewOf(cnm: Cnm, endpoints: readonly EndpointRecord[]) {
  const members = membersOf(cnm, endpoints);
  return {
    networks: members.filter((m) => servesNames(m.net)).map((m) => ({ id: m.net.id, name: m.net.name })),
    forwardsFromHost: members.some((m) => !m.internal && (m.hasGateway4 || m.hasGateway6)),
  };
}
