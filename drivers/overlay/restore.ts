/** Start, and later when somebody disturbed us: the namespaces of networks are made to match the records, add before remove. */

import { setImmediate as nextTick } from 'node:timers/promises';
import { type NetworkId, ignoring, messageOf } from '../../src/base/index.ts';
import { type RestoreNetwork, type RestoreReport, restoreInside } from '../../src/driver/index.ts';
import type { Link, Netns, Rtnl } from '../../src/kernel/index.ts';
import type { Book } from './book.ts';
import { plug, portName } from './endpoint.ts';
import { ensureInside, furnitureOf, isSegmentRight, lookInside, openInside } from './network.ts';
import { checkOverlaySubnets, encryptionOf, parseOverlayOptions } from './options.ts';
import type { OverlayParts } from './parts.ts';
import { type Segment, pinName, segmentFor, segmentsOf, portOf } from './segments.ts';
import type { Security } from './security.ts';
import { WIREGUARD_PIN } from './wireguard.ts';

type Wished = RestoreNetwork['endpoints'][number];

/** The caller holds the network's lock. */
export async function restoreNetwork(security: Security, book: Book, { net, endpoints }: RestoreNetwork): Promise<RestoreReport> {
  const parts = security.partsOf(net);
  const base = { id: net.id, state: net.state, rules: [] };
  book.locals.clear();
  for (const { ep } of endpoints) book.locals.set(ep.id, ep.iface);
  if (endpoints.length === 0) return base;
  try {
    const options = parseOverlayOptions(net);
    checkOverlaySubnets(net, options);
    const segments = segmentsOf(net);
    await security.restore(net);
    const { netns } = await ensureInside(parts, net, await furnitureOf(parts, net, options, segments));
    using _open = netns;
    const problems: string[] = [];
    for (const endpoint of endpoints) {
      const problem = await restoreEndpoint(parts, netns, segments, endpoint);
      if (problem !== undefined) problems.push(problem);
    }
    book.look();
    await book.sync(parts, netns, segments);
    return { ...base, ...(problems.length > 0 && { problem: problems.join('; ') }) };
  } catch (error) {
    return { ...base, problem: messageOf(error) };
  }
}

/** Mends the pair, or makes it anew when one side is gone; answers what could not be mended. */
async function restoreEndpoint(
  parts: OverlayParts,
  netns: Netns,
  segments: readonly Segment[],
  { ep, place }: Wished,
): Promise<string | undefined> {
  const rtnl = netns.rtnl();
  const name = portName(ep);
  try {
    const bridge = await rtnl.link.get({ name: segmentFor(segments, ep.iface).bridge });
    const outside = await rtnl.link.find({ name });
    if (place === undefined) return await restorePort(rtnl, ep, outside, bridge.index);
    const inside = await place.netns.rtnl().link.find({ name: place.ifname });
    if (outside === undefined || inside?.parent !== outside.index) {
      if (outside !== undefined) await ignoring(['ENODEV'], () => rtnl.batchOffThread([{ op: 'link.remove', at: { name } }]));
      await plug(parts, netns, bridge, ep, place);
      return undefined;
    }
    await restoreInside(place, ep, inside);
    return await restorePort(rtnl, ep, outside, bridge.index);
  } catch (error) {
    return `endpoint ${ep.name}: ${messageOf(error)}`;
  }
}

/** The network's side of the pair. Where the other side is an engine's, nobody here can make it anew. */
async function restorePort(rtnl: Rtnl, ep: Wished['ep'], port: Link | undefined, bridge: number): Promise<string | undefined> {
  if (port === undefined) return `endpoint ${ep.name}: its link is gone: start its container again`;
  if (port.master !== bridge || !port.up)
    await rtnl.batch([{ op: 'link.set', at: { index: port.index }, change: { master: bridge, up: true } }]);
  return undefined;
}

/** Networks with somebody here whose namespace, or what is in it, is not as wished. */
export async function observeNetworks(
  parts: OverlayParts,
  security: Security,
  desired: readonly RestoreNetwork[],
): Promise<NetworkId[]> {
  const wrong: NetworkId[] = [];
  for (const wish of desired) {
    // Some 0.3 ms each, in which nothing else runs.
    await nextTick();
    if (!(await isRight(parts, security, wish))) wrong.push(wish.net.id);
  }
  return wrong;
}

async function isRight(parts: OverlayParts, security: Security, { net, endpoints }: RestoreNetwork): Promise<boolean> {
  if (endpoints.length === 0) return true;
  using netns = openInside(parts, net.id);
  if (netns === undefined) return false;
  const segments = segmentsOf(net);
  const view = await lookInside(netns);
  const vtep = security.partsOf(net).vtep(net);
  if (!segments.every((one) => isSegmentRight(view, one, vtep, portOf(net)))) return false;
  return endpoints.every(({ ep, hasMoved }) => {
    const port = view.links.get(portName(ep));
    const bridge = view.links.get(segmentFor(segments, ep.iface).bridge);
    // Without carrier the other side is down, as that of a link which its engine has not brought up yet.
    return port !== undefined && port.master === bridge?.index && port.up && (port.carrier || hasMoved === true);
  });
}

/** The network's namespace is there as long as somebody is in it. */
export const pinsOf = ({ net, endpoints }: RestoreNetwork): string[] =>
  endpoints.length === 0 ? [] : [pinName(net.id), ...(encryptionOf(net) === 'wireguard' ? [WIREGUARD_PIN] : [])];
