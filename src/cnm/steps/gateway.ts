/** Default routes of the sandbox follow the election; applied only where it changed. */

import type { Address, EndpointId, IpFamily } from '../../base/index.ts';
import { ignoring } from '../../base/index.ts';
import type { Netns, RtnlOp } from '../../kernel/index.ts';
import { type Attachment, type JoinStep, electAmong, others } from '../attachment.ts';
import type { Cnm } from '../context.ts';
import type { EndpointRecord } from '../records.ts';
import { routeOps } from './link.ts';

export const gatewayStep: JoinStep = {
  label: 'gateway',
  do: (a) => setRoutes(a, others(a), [...others(a), a.ep]),
  undo: (a) => setRoutes(a, [...others(a), a.ep], others(a)),
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
    const gateway = gatewayOf(after, is, family);
    if (gateway !== undefined) ops.push({ op: 'route.replace', spec: { family, gateway } });
    else gone.push({ op: 'route.remove', spec: { family } });
  }
  const rtnl = a.netns.rtnl();
  if (ops.length > 0) await rtnl.batch(ops);
  // A route goes with its link or its address: someone may have taken it already.
  for (const op of gone) await ignoring(['ESRCH', 'ENODEV', 'ENETUNREACH'], () => rtnl.batch([op]));
}

function gatewayOf(endpoints: readonly EndpointRecord[], id: EndpointId | undefined, family: IpFamily): Address | undefined {
  const join = endpoints.find((ep) => ep.id === id)?.join;
  return family === 4 ? join?.gateway : join?.gateway6;
}

/** Start: routes that the sandbox has lost, with a link that was made anew or by another hand. What is there stays. */
export async function restoreRoutes(cnm: Cnm, netns: Netns, endpoints: readonly EndpointRecord[]): Promise<void> {
  const winner = electAmong(cnm, endpoints);
  const defaults = ([4, 6] as const).flatMap((family): RtnlOp[] => {
    const gateway = gatewayOf(endpoints, family === 4 ? winner.v4 : winner.v6, family);
    return gateway === undefined ? [] : [{ op: 'route.add', spec: { family, gateway } }];
  });
  const others = endpoints.flatMap((ep) => routeOps('route.add', ep.join?.routes ?? []));
  for (const op of [...others, ...defaults]) await ignoring(['EEXIST'], () => netns.rtnl().batch([op]));
}
