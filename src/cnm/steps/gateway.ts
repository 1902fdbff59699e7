/** Default routes of the sandbox follow the election; applied only where it changed. */

import { type EndpointId, type IpFamily, ignoring, isLinkLocal } from '../../base/index.ts';
import { isIPv6Off } from '../../driver/index.ts';
import type { Netns, RouteSpec, RtnlOp } from '../../kernel/index.ts';
import { type Attachment, type JoinStep, electAmong, others } from '../attachment.ts';
import type { Cnm } from '../context.ts';
import type { EndpointRecord, JoinRecord } from '../records.ts';
import { routeOps } from './link.ts';

export const gatewayStep: JoinStep = {
  label: 'gateway',
  do: (a) => setRoutes(a, others(a), [...others(a), a.ep]),
  async undo(a) {
    if (!a.isEnding) await setRoutes(a, [...others(a), a.ep], others(a));
  },
};

async function setRoutes(a: Attachment, before: readonly EndpointRecord[], after: readonly EndpointRecord[]): Promise<void> {
  if (a.netns === undefined || a.sandbox.mode !== 'own') return;
  const old = electAmong(a.cnm, before);
  const now = electAmong(a.cnm, after);
  const ops: RtnlOp[] = [];
  const gone: RtnlOp[] = [];
  for (const family of [4, 6] as const) {
    const [was, is] = family === 4 ? [old.v4, now.v4] : [old.v6, now.v6];
    if (was === is) continue;
    const spec = await defaultRoute(a.netns, after, is, family);
    if (spec !== undefined) ops.push({ op: 'route.replace', spec });
    else gone.push({ op: 'route.remove', spec: { family } });
  }
  const rtnl = a.netns.rtnl();
  if (ops.length > 0) await rtnl.batch(ops);
  // A route goes with its link or its address: someone may have taken it already.
  for (const op of gone) await ignoring(['ESRCH', 'ENOENT', 'ENODEV', 'ENETUNREACH'], () => rtnl.batch([op]));
}

/** Whether the endpoint, when it is elected, gives its sandbox a default route. */
export const givesRoute = (join: JoinRecord, family: IpFamily): boolean =>
  family === 4
    ? join.gateway !== undefined || join.wayOut?.v4 === 'link'
    : join.gateway6 !== undefined || join.wayOut?.v6 === 'link';

/** The default route through an endpoint; undefined when it gives none, or has IPv6 switched off from inside. */
async function defaultRoute(
  netns: Netns,
  endpoints: readonly EndpointRecord[],
  id: EndpointId | undefined,
  family: IpFamily,
): Promise<RouteSpec | undefined> {
  const join = endpoints.find((ep) => ep.id === id)?.join;
  const gateway = family === 4 ? join?.gateway : join?.gateway6;
  if (join === undefined || !givesRoute(join, family)) return undefined;
  if (family === 6 && isIPv6Off(netns, join.ifname)) return undefined;
  // A link-local address says nothing about the link that it is on.
  if (gateway !== undefined && !isLinkLocal(gateway)) return { family, gateway };
  const link = (await netns.rtnl().link.get({ name: join.ifname })).index;
  return { family, link, ...(gateway && { gateway }) };
}

/**
 * Start: routes that the sandbox has lost, with a link that was made anew or by another hand. What is there stays. What leads over
 * a link that is gone comes back with the link.
 */
export async function restoreRoutes(cnm: Cnm, netns: Netns, endpoints: readonly EndpointRecord[]): Promise<void> {
  const winner = electAmong(cnm, endpoints);
  const lay = (op: RtnlOp): Promise<void> => ignoring(['EEXIST'], () => netns.rtnl().batch([op]));
  const steps = [
    ...endpoints.map(({ join }) => async () => {
      for (const op of join === undefined ? [] : await routeOps(netns, 'route.add', join)) await lay(op);
    }),
    ...([4, 6] as const).map((family) => async () => {
      const spec = await defaultRoute(netns, endpoints, family === 4 ? winner.v4 : winner.v6, family);
      if (spec !== undefined) await lay({ op: 'route.add', spec });
    }),
  ];
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      if (!(await lacksLink(netns, endpoints))) throw error;
    }
  }
}

async function lacksLink(netns: Netns, endpoints: readonly EndpointRecord[]): Promise<boolean> {
  const there = new Set((await netns.rtnl().link.list()).map((link) => link.name));
  return endpoints.some(({ join }) => join !== undefined && !there.has(join.ifname));
}
