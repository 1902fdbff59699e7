/**
 * Links that go with a link of the host, in sandboxes of engines: which are gone, what they were called, and the routes that went
 * with them. Making them anew is for their driver.
 */

import {
  type EndpointId,
  type IpFamily,
  type NetworkId,
  familyOf,
  ignoring,
  isLinkLocal,
  prefixAddress,
} from '../../base/index.ts';
import { Inside, type Netns, type RouteSpec } from '../../kernel/index.ts';
import { type Hosting, remakesMoved } from './context.ts';
import type { GuestEndpoint } from './records.ts';
import { sandboxOf } from './sandbox.ts';

const addressesOf = ({ asked }: GuestEndpoint) => [asked.v4, asked.v6].filter((prefix) => prefix !== undefined);

/** Namespaces of joined endpoints an address of which is not in there, by the id of the endpoint. The caller closes them. */
export function openLosing(hosting: Hosting, network?: NetworkId): Map<EndpointId, Netns> {
  const losing = new Map<EndpointId, Netns>();
  for (const ep of hosting.state.endpoints.values()) {
    if (ep.phase !== 'joined' || (network ?? ep.network) !== ep.network || !remakesMoved(hosting, ep)) continue;
    const netns = sandboxOf(ep);
    if (netns === undefined) continue;
    if (lacksAddress(hosting, ep, netns)) losing.set(ep.id, netns);
    else netns[Symbol.dispose]();
  }
  return losing;
}

/** A sandbox that cannot be asked has lost nothing that we know of. */
function lacksAddress({ cnm }: Hosting, ep: GuestEndpoint, netns: Netns): boolean {
  try {
    using inside = new Inside(netns);
    return addressesOf(ep).some((prefix) => !inside.hasAddress(prefixAddress(prefix)));
  } catch (error) {
    cnm.env.log.warn({ endpoint: ep.id, err: error }, 'the sandbox of an endpoint of an engine cannot be looked into');
    return false;
  }
}

/** Notes what engines have called links that they moved, once they are addressed: made anew they get the same names. */
export async function noteNames(hosting: Hosting): Promise<void> {
  for (const ep of hosting.state.endpoints.values()) {
    const { phase, join } = ep;
    if (phase !== 'joined' || join?.isBare !== true || join.identity === undefined || join.seenAs !== undefined) continue;
    if (!remakesMoved(hosting, ep)) continue;
    try {
      await hosting.cnm.locks.run(`endpoint:${ep.id}`, () => noteName(hosting, ep.id));
    } catch (error) {
      hosting.cnm.env.log.warn({ endpoint: ep.id, err: error }, 'the name of a link of an engine cannot be noted');
    }
  }
}

/** The caller holds the endpoint's lock. */
async function noteName(hosting: Hosting, id: EndpointId): Promise<void> {
  const ep = hosting.state.endpoints.get(id);
  if (ep?.phase !== 'joined' || ep.join?.isBare !== true) return;
  using netns = sandboxOf(ep);
  const link = netns && (await addressed(netns, ep));
  if (link === undefined) return;
  await hosting.state.commit({ endpoints: [{ ...ep, join: { ...ep.join, seenAs: link.name } }] });
}

/** The link that has the endpoint's addresses. */
async function addressed(
  netns: Netns,
  ep: GuestEndpoint,
): Promise<{ readonly index: number; readonly name: string } | undefined> {
  const own = addressesOf(ep);
  const found = (await netns.rtnl().address.list()).find(({ prefix }) => own.includes(prefix));
  return found && (await netns.rtnl().link.find({ index: found.link }));
}

/** Routes that went with the links: those that the engine was told of, and the default route where nothing leads out now. */
export async function restoreWays(hosting: Hosting, network: NetworkId, made: ReadonlyMap<EndpointId, Netns>): Promise<void> {
  for (const [id, netns] of made) {
    const ep = hosting.state.endpoints.get(id);
    if (ep?.network !== network || ep.join?.told === undefined) continue;
    try {
      const link = await addressed(netns, ep);
      for (const spec of link === undefined ? [] : waysOf(hosting, ep, link.index, netns))
        await ignoring(['EEXIST'], () => netns.rtnl().batch([{ op: 'route.add', spec }]));
    } catch (error) {
      hosting.cnm.env.log.warn({ endpoint: id, err: error }, 'routes of an endpoint of an engine cannot be restored');
    }
  }
}

function waysOf(hosting: Hosting, ep: GuestEndpoint, link: number, netns: Netns): RouteSpec[] {
  const { gateway, gateway6, routes = [] } = ep.join?.told ?? {};
  using inside = new Inside(netns);
  const wants = { 4: !inside.leadsOut(4) && leads(hosting, ep, 4), 6: !inside.leadsOut(6) && leads(hosting, ep, 6) };
  return [
    ...routes.flatMap(({ destination, nextHop }): RouteSpec[] => {
      const family = familyOf(destination);
      if (destination.endsWith('/0') && !wants[family]) return [];
      return [{ family, destination, ...(nextHop ? { gateway: nextHop } : { link }) }];
    }),
    ...[gateway, gateway6].flatMap((via): RouteSpec[] => {
      if (via === undefined || !wants[familyOf(via)]) return [];
      return [{ family: familyOf(via), gateway: via, ...(isLinkLocal(via) && { link }) }];
    }),
  ];
}

/** Whether the engine has not made another endpoint of the sandbox the one that leads out. */
function leads({ state }: Hosting, ep: GuestEndpoint, family: IpFamily): boolean {
  const role = family === 4 ? 'v4' : 'v6';
  if (ep.roles[role]) return true;
  return ![...state.endpoints.values()].some((other) => other.join?.key === ep.join?.key && other.roles[role]);
}
