/** Start: the kernel is made to match the records, add before remove (design: one report a network, never a throw). */

import { type Json, messageOf } from '../../src/base/index.ts';
import type { FirewallChange } from '../../src/firewall/index.ts';
import type { DriverParts, RestoreNetwork, RestoreReport } from '../../src/driver/index.ts';
import { hostLinkName, hostSide, plug } from './endpoint.ts';
import { type BridgeState, bridgeIntent, ensureBridge } from './network.ts';
import { parseBridgeOptions } from './options.ts';
import { portsOf } from './publish.ts';

export async function restoreNetwork(
  parts: DriverParts,
  wish: RestoreNetwork,
): Promise<{ report: RestoreReport; index?: number }> {
  const { net, endpoints } = wish;
  const known = net.state as unknown as BridgeState;
  const links = [known.bridge, ...endpoints.map(({ ep }) => hostLinkName(ep))];
  const base = { id: net.id, links, state: net.state };
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

/** Puts a port back on its bridge, or makes the pair anew; answers what could not be mended. */
async function restoreEndpoint(
  parts: DriverParts,
  bridge: number,
  options: ReturnType<typeof parseBridgeOptions>,
  { ep, place }: RestoreNetwork['endpoints'][number],
): Promise<string | undefined> {
  if (place === undefined) return undefined;
  const host = parts.host.rtnl();
  try {
    const link = await host.link.find({ name: hostLinkName(ep) });
    if (link === undefined) {
      await plug(parts, bridge, ep, options, place);
    } else if (link.master !== bridge || !link.up) {
      // A port's own settings go when it is taken off its bridge.
      await host.batch([
        { op: 'link.set', at: { index: link.index }, change: { master: bridge } },
        ...hostSide(bridge, ep, options),
      ]);
    }
    return undefined;
  } catch (error) {
    return `endpoint ${ep.name}: ${messageOf(error)}`;
  }
}
