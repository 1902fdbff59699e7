/** The driver's part of a join: a link in the sandbox under its final name, with addresses, up. */

import type { Netns, RtnlOp } from '../../kernel/index.ts';
import { CnmError, familyOf } from '../../base/index.ts';
import { type StaticRoute, labels } from '../../driver/index.ts';
import { type Attachment, type JoinStep, others, placeOf } from '../attachment.ts';
import { driverEndpoint, driverNetwork } from '../context.ts';
import type { EndpointRecord } from '../records.ts';

export const linkStep: JoinStep = {
  label: 'link',

  async do(a) {
    if (a.netns === undefined || a.driver.capabilities.sandbox !== 'own') return;
    const ifname = a.ep.join?.ifname ?? '';
    const at = { sandbox: a.sandbox.id, netns: a.netns, ifname };
    const result = await a.driver.join(a.ctx, driverNetwork(a.net), driverEndpoint(a.ep), at);
    a.ep = {
      ...a.ep,
      driverState: result.state,
      join: {
        ifname,
        ...(result.gateway && { gateway: result.gateway }),
        ...(result.gateway6 && { gateway6: result.gateway6 }),
        ...(result.wayOut && { wayOut: result.wayOut }),
        routes: result.routes,
        suppressDefaultGateway: result.suppressDefaultGateway,
      },
    };
    const routes = routeOps('route.replace', result.routes);
    if (routes.length > 0) await a.netns.rtnl().batch(routes);
  },

  async undo(a) {
    if (a.driver.capabilities.sandbox !== 'own' || a.ep.join === undefined) return;
    await a.driver.leave(a.ctx, driverNetwork(a.net), driverEndpoint(a.ep), placeOf(a, a.ep.join.ifname));
    const { join: _gone, ...rest } = a.ep;
    a.ep = rest;
  },
};

/** Static routes of an endpoint as operations inside its sandbox. */
export const routeOps = (op: 'route.add' | 'route.replace', routes: readonly StaticRoute[]): RtnlOp[] =>
  routes.map(({ destination, nextHop }) => ({
    op,
    spec: { family: familyOf(destination), destination, ...(nextHop && { gateway: nextHop }) },
  }));

/** What is recorded before the first effect: a failed join is left under the same name, also by the next start. */
export async function intendedJoin(a: Attachment): Promise<NonNullable<EndpointRecord['join']>> {
  const isInside = a.netns !== undefined && a.driver.capabilities.sandbox === 'own';
  return { ifname: isInside ? await freeIfname(a, a.netns) : '', routes: [], suppressDefaultGateway: false };
}

/** The asked-for name, else prefix and the lowest number that is free in the sandbox (spec 01 I1). */
async function freeIfname(a: Attachment, netns: Netns): Promise<string> {
  const asked = a.ep.options[labels.endpointIfname];
  const prefix = a.net.options[labels.ifacePrefix] || 'eth';
  const taken = new Set(['lo', ...others(a).map((ep) => ep.join?.ifname)]);
  // A namespace that was given to us may have links of its own.
  if (a.sandbox.adopted !== undefined) for (const link of await netns.rtnl().link.list()) taken.add(link.name);
  let number = 0;
  if (asked !== undefined) {
    if (taken.has(asked)) throw new CnmError('bad_option', `interface name ${asked} is taken in sandbox ${a.sandbox.name}`);
    return asked;
  }
  while (taken.has(`${prefix}${number}`)) number++;
  return `${prefix}${number}`;
}
