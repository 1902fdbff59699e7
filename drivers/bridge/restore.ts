/** Start, and later when somebody disturbed us: the kernel is made to match the records, add before remove (design: one report a network, never a throw). */

import { CnmError, type Json, type NetworkId, messageOf } from '../../src/base/index.ts';
import type { FirewallChange } from '../../src/firewall/index.ts';
import {
  type DriverEndpoint,
  type DriverParts,
  type JoinPlace,
  type RestoreNetwork,
  type RestoreReport,
  restoreInside,
} from '../../src/driver/index.ts';
import type { Link } from '../../src/kernel/index.ts';
import { hostLinkName, plug, raiseHostSide, unplug } from './endpoint.ts';
import {
  type BridgeState,
  bridgeAddresses,
  bridgeIntent,
  ensureBridge,
  isLinkLocal6,
  needsLinkLocal,
  packetsPass,
} from './network.ts';
import { parseBridgeOptions } from './options.ts';
import { portsOf } from './publish.ts';
import { nameHostSideAgain } from './renamed.ts';

export async function restoreNetwork(
  parts: DriverParts,
  wish: RestoreNetwork,
): Promise<{ report: RestoreReport; index?: number }> {
  const { net, endpoints } = wish;
  const known = net.state as unknown as BridgeState;
  const base = { id: net.id, state: net.state };
  try {
    const options = parseBridgeOptions(net);
    const { index, state } = await ensureBridge(parts, net, options, known);
    const problems: string[] = [];
    for (const endpoint of endpoints) {
      const problem = await restoreEndpoint(parts, index, options, endpoint);
      if (problem !== undefined) problems.push(problem);
    }
    const rules: FirewallChange[] = [
      { owner: net.id, intent: bridgeIntent(net, options) },
      ...endpoints.map(({ ep, roles, ports }) => ({ owner: ep.id, intent: portsOf(net, ep, options, roles, ports).intent })),
    ];
    return {
      report: { ...base, state: state as unknown as Json, rules, ...(problems.length > 0 && { problem: problems.join('; ') }) },
      index,
    };
  } catch (error) {
    return { report: { ...base, rules: [], problem: messageOf(error) } };
  }
}

/** Names of the bridge and of the endpoints' host sides. */
export const linksOf = ({ net, endpoints }: RestoreNetwork): string[] => [
  (net.state as unknown as BridgeState | null)?.bridge ?? parseBridgeOptions(net).bridge,
  ...endpoints.map(({ ep }) => hostLinkName(ep)),
];

/** Networks whose bridge, its MAC, MTU, addresses or a port of it are not as wished; two lists of the kernel's for all together. */
export async function observeNetworks(parts: DriverParts, desired: readonly RestoreNetwork[]): Promise<NetworkId[]> {
  const rtnl = parts.host.rtnl();
  const links = new Map((await rtnl.link.list()).map((link) => [link.name, link]));
  const present = await rtnl.address.list();
  const addresses = new Set(present.map(({ link, prefix }) => `${link} ${prefix}`));
  const withLinkLocal = new Set(present.filter(({ prefix }) => isLinkLocal6(prefix)).map(({ link }) => link));
  const pass = packetsPass(parts);
  const isRight = ({ net, endpoints }: RestoreNetwork): boolean => {
    const options = parseBridgeOptions(net);
    const bridge = links.get(options.bridge);
    if (bridge?.kind !== 'bridge' || !bridge.up || !hasMtu(bridge, options)) return false;
    const own = bridgeAddresses(net, options);
    if (!own.every((prefix) => addresses.has(`${bridge.index} ${prefix}`))) return false;
    const known = net.state as unknown as BridgeState | null;
    const created = known?.created === true;
    if (created && bridge.mac !== known.mac) return false;
    if (needsLinkLocal(created, own) && !withLinkLocal.has(bridge.index)) return false;
    if (!pass(net, options.bridge)) return false;
    return endpoints.every(({ ep, hasMoved }) => {
      const port = links.get(hostLinkName(ep));
      // Gone with its sandbox, which only the engine knows of.
      if (hasMoved === true) return port === undefined || (port.master === bridge.index && port.up);
      // Without carrier the other side is down.
      return port?.master === bridge.index && port.up && port.carrier && hasMtu(port, options) && isSet(port, options);
    });
  };
  return desired.filter((wish) => !isRight(wish)).map(({ net }) => net.id);
}

/** Without an option the MTU is the kernel's, or whoever's who has changed it. */
const hasMtu = (link: Link, { mtu }: ReturnType<typeof parseBridgeOptions>): boolean => mtu === undefined || link.mtu === mtu;

/** Whether a port has the settings that came with its place on the bridge: what keeps sandboxes apart, and a sandbox's own published ports. */
const isSet = ({ port }: Link, { icc }: ReturnType<typeof parseBridgeOptions>): boolean =>
  port?.hairpin === true && (icc || port.isolated);

/** Mends the pair, or makes it anew when one side is gone; answers what could not be mended. */
async function restoreEndpoint(
  parts: DriverParts,
  bridge: number,
  options: ReturnType<typeof parseBridgeOptions>,
  { ep, place, hasMoved }: RestoreNetwork['endpoints'][number],
): Promise<string | undefined> {
  const host = parts.host.rtnl();
  try {
    if (hasMoved === true) await plugAgain(parts, bridge, ep, options, await host.link.find({ name: hostLinkName(ep) }));
    if (place === undefined) return undefined;
    const inside = await place.netns.rtnl().link.find({ name: place.ifname });
    const found = await host.link.find({ name: hostLinkName(ep) });
    const outside = found ?? (inside && (await nameHostSideAgain(parts, hostLinkName(ep), inside)));
    if (outside === undefined || inside?.parent !== outside.index) {
      await unplug(parts, ep, place);
      await refuseOthers(parts, ep, place);
      await plug(parts, bridge, ep, options, place);
      return undefined;
    }
    await restoreInside(place, ep, inside);
    await plugAgain(parts, bridge, ep, options, outside);
    return undefined;
  } catch (error) {
    return `endpoint ${ep.name}: ${messageOf(error)}`;
  }
}

/** What has the names of a pair that is to be made is not ours, since ours has gone: it stays, and is told. */
async function refuseOthers(parts: DriverParts, ep: DriverEndpoint, place: JoinPlace): Promise<void> {
  const [outside, inside] = await Promise.all([
    parts.host.rtnl().link.find({ name: hostLinkName(ep) }),
    place.netns.rtnl().link.find({ name: place.ifname }),
  ]);
  if (inside !== undefined)
    throw new CnmError('bad_option', `another link is called ${place.ifname} in its sandbox: remove or rename it`);
  if (outside !== undefined)
    throw new CnmError('bad_option', `another link of the host is called ${outside.name}: remove or rename it`);
}

/** A host side that is there, with the network's MTU, on its bridge and up. */
async function plugAgain(
  parts: DriverParts,
  bridge: number,
  ep: DriverEndpoint,
  options: ReturnType<typeof parseBridgeOptions>,
  outside: Link | undefined,
): Promise<void> {
  if (outside === undefined) return;
  const { mtu } = options;
  if (mtu !== undefined && outside.mtu !== mtu)
    await parts.host.rtnl().batch([{ op: 'link.set', at: { index: outside.index }, change: { mtu } }]);
  const isPort = outside.master === bridge && outside.up;
  if (isPort && isSet(outside, options)) return;
  // A port's own settings go when it is taken off its bridge. Down first: see raiseHostSide.
  if (!isPort)
    await parts.host.rtnl().batch([{ op: 'link.set', at: { index: outside.index }, change: { master: bridge, up: false } }]);
  await raiseHostSide(parts, bridge, ep, options);
}
