/** Published ports of one endpoint: what held host ports ask of the packet filter (spec 04 §5). */

import { type Address, type Json, familyOf, prefixAddress } from '../../src/base/index.ts';
import type { DriverEndpoint, DriverNetwork, DriverParts, GatewayRoles, HeldPort, PortBinding } from '../../src/driver/index.ts';
import type { PortsIntent } from '../../src/firewall/index.ts';
import type { ConntrackMatch } from '../../src/kernel/index.ts';
import { describeNat } from '../../src/portmap/index.ts';
import type { FlowKeeper } from './flows.ts';
import type { BridgeOptions } from './options.ts';

/** The endpoint's wish of the packet filter and how it is reported; no rules: nothing is published through it. */
export function portsOf(
  net: DriverNetwork,
  ep: DriverEndpoint,
  options: BridgeOptions,
  roles: GatewayRoles,
  ports: readonly HeldPort[],
): { readonly intent: PortsIntent | null; readonly bindings: readonly PortBinding[] } {
  const { v4, v6 } = ep.iface;
  const { rules, bindings } = describeNat({
    ports,
    ...(v4 && { v4: { address: prefixAddress(v4), mode: options.mode4 } }),
    ...(v6 && { v6: { address: prefixAddress(v6), mode: options.mode6 } }),
    roles,
    isInternal: net.internal,
  });
  return { intent: rules.length === 0 ? null : { kind: 'ports', bridge: options.bridge, rules }, bindings };
}

export async function program(
  parts: DriverParts,
  flows: FlowKeeper,
  net: DriverNetwork,
  ep: DriverEndpoint,
  options: BridgeOptions,
  roles: GatewayRoles,
  ports: readonly HeldPort[],
): Promise<{ bindings: readonly PortBinding[]; state: Json }> {
  const { intent, bindings } = portsOf(net, ep, options, roles, ports);
  const { v4, v6 } = ep.iface;
  // Who had the address before may have had flows.
  await flows.settled([v4, v6].filter((p) => p !== undefined).map(prefixAddress));
  await parts.firewall.apply([{ owner: ep.id, intent }]);
  const families = new Set((intent?.rules ?? []).map((rule) => familyOf(rule.address)));
  void flows.forget(
    [v4, v6]
      .filter((p) => p !== undefined)
      .map(prefixAddress)
      .filter((address) => !families.has(familyOf(address)))
      .map((address) => ({ family: familyOf(address), address })),
  );
  // A client that has asked the host port already goes on with its untranslated flow; its next packet must not.
  if (intent !== null) await flows.forget(udpFlows(ports));
  return { bindings, state: ep.state };
}

function udpFlows(ports: readonly HeldPort[]): ConntrackMatch[] {
  const found = new Map<string, ConntrackMatch>();
  for (const { hold } of ports) {
    if (hold.protocol !== 'udp') continue;
    for (const hostAddress of hold.addresses)
      found.set(`${familyOf(hostAddress)} ${hold.port}`, flowMatch(hostAddress, hold.port));
  }
  return [...found.values()];
}

const flowMatch = (hostAddress: Address, port: number): ConntrackMatch => ({
  family: familyOf(hostAddress),
  protocol: 'udp',
  originalDestinationPort: port,
  ...(hostAddress === '0.0.0.0' || hostAddress === '::' ? {} : { originalDestination: hostAddress }),
});
