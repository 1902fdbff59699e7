/** The driver's part of a join: a link in the sandbox under its final name, with addresses, up. */

import type { Netns, RtnlOp } from '../../kernel/index.ts';
import { CnmError, familyOf } from '../../base/index.ts';
import { isIPv6Off, labels } from '../../driver/index.ts';
import { type Attachment, type JoinStep, others, placeOf, portsOf } from '../attachment.ts';
import { driverEndpoint, driverNetwork } from '../context.ts';
import { giveBack, takeLink } from '../moved.ts';
import type { EndpointRecord, JoinRecord } from '../records.ts';

export const linkStep: JoinStep = {
  label: 'link',

  async do(a) {
    if (a.netns === undefined || a.driver.capabilities.sandbox !== 'own') return;
    const intended = a.ep.join?.ifname ?? '';
    const at = { sandbox: a.sandbox.id, netns: a.netns, ifname: intended, ports: portsOf(a.net, a.sandbox) };
    const result = await a.driver.join(a.ctx, driverNetwork(a.net), driverEndpoint(a.ep), at);
    const { link } = result;
    const isMoved = link?.at === 'host';
    const join: JoinRecord = {
      ifname: isMoved ? await freeIfname(a, a.netns, link.prefix) : link === undefined ? '' : intended,
      ...(result.gateway && { gateway: result.gateway }),
      ...(result.gateway6 && { gateway6: result.gateway6 }),
      ...(result.wayOut && { wayOut: result.wayOut }),
      routes: result.routes,
      suppressDefaultGateway: result.suppressDefaultGateway,
    };
    a.ep = { ...a.ep, driverState: result.state, join };
    if (isMoved) await takeLink(a, a.netns, link.name, join);
    const routes = await routeOps(a.netns, 'route.replace', join);
    if (routes.length > 0) await a.netns.rtnl().batch(routes);
  },

  async undo(a) {
    if (a.driver.capabilities.sandbox !== 'own' || a.ep.join === undefined) return;
    try {
      await a.driver.leave(a.ctx, driverNetwork(a.net), driverEndpoint(a.ep), placeOf(a, a.ep.join.ifname));
    } finally {
      await giveBack(a);
    }
    const { join: _gone, ...rest } = a.ep;
    a.ep = rest;
  },
};

/** Static routes of an endpoint as operations inside its sandbox; those that need no next hop come first, since others may need them. None of IPv6 where that is off inside. */
export async function routeOps(netns: Netns, op: 'route.add' | 'route.replace', join: JoinRecord): Promise<RtnlOp[]> {
  const isOfV6 = ({ destination }: JoinRecord['routes'][number]): boolean => familyOf(destination) === 6;
  const isOff = join.routes.some(isOfV6) && isIPv6Off(netns, join.ifname);
  const routes = isOff ? join.routes.filter((route) => !isOfV6(route)) : join.routes;
  const near = routes.filter(({ nextHop }) => nextHop === undefined);
  const far = routes.filter(({ nextHop }) => nextHop !== undefined);
  const link = near.length === 0 ? undefined : (await netns.rtnl().link.get({ name: join.ifname })).index;
  return [...near, ...far].map(({ destination, nextHop }) => ({
    op,
    spec: { family: familyOf(destination), destination, ...(nextHop ? { gateway: nextHop } : link !== undefined && { link }) },
  }));
}

/** What is recorded before the first effect: a failed join is left under the same name, also by the next start. */
export async function intendedJoin(a: Attachment): Promise<NonNullable<EndpointRecord['join']>> {
  const isInside = a.netns !== undefined && a.driver.capabilities.sandbox === 'own';
  return { ifname: isInside ? await freeIfname(a, a.netns) : '', routes: [], suppressDefaultGateway: false };
}

/** The asked-for name, else the network's or the driver's prefix and the lowest number that is free in the sandbox (spec 01 I1). */
async function freeIfname(a: Attachment, netns: Netns, driversPrefix = 'eth'): Promise<string> {
  const asked = a.ep.options[labels.endpointIfname];
  const prefix = a.net.options[labels.ifacePrefix] || driversPrefix;
  const taken = new Set(['lo', ...others(a).map((ep) => ep.join?.ifname)]);
  const { link } = netns.rtnl();
  if (asked !== undefined) {
    if (!taken.has(asked) && (await link.find({ name: asked })) === undefined) return asked;
    throw new CnmError('bad_option', `interface name ${asked} is taken in sandbox ${a.sandbox.name}`);
  }
  for (let number = 0, isListed = false; ; number++) {
    const name = `${prefix}${number}`;
    if (taken.has(name)) continue;
    if ((await link.find({ name })) === undefined) return name;
    // Whoever is inside, or has given the namespace to us, may have links of his own: as many as he likes, hence not one question for each.
    if (!isListed) for (const { name: other } of await link.list()) taken.add(other);
    isListed = true;
  }
}
