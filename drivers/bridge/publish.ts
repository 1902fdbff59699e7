/** Published ports of one endpoint: what held host ports ask of the packet filter (spec 04 §5). */

import { type Address, type Json, familyOf, prefixAddress } from '../../src/base/index.ts';
import type { DriverEndpoint, DriverNetwork, DriverParts, GatewayRoles, HeldPort, PortBinding } from '../../src/driver/index.ts';
import type { PortsIntent } from '../../src/firewall/index.ts';
import { deleteFlows } from '../../src/kernel/index.ts';
import { describeNat } from '../../src/portmap/index.ts';
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
  net: DriverNetwork,
  ep: DriverEndpoint,
  options: BridgeOptions,
  roles: GatewayRoles,
  ports: readonly HeldPort[],
): Promise<{ bindings: readonly PortBinding[]; state: Json }> {
  const { intent, bindings } = portsOf(net, ep, options, roles, ports);
  await parts.firewall.apply([{ owner: ep.id, intent }]);
  await forgetFlows(parts, ep, ports);
  return { bindings, state: ep.state };
}

/** Flows that were translated by the old rules would go on by them, UDP for as long as it talks (spec 04 P3). */
async function forgetFlows(parts: DriverParts, ep: DriverEndpoint, ports: readonly HeldPort[]): Promise<void> {
  const addresses = [ep.iface.v4, ep.iface.v6].filter((p) => p !== undefined).map(prefixAddress);
  await Promise.all(addresses.map((address) => deleteFlows(parts.host, { family: familyOf(address), address })));
  const seen = new Set<string>();
  for (const { hold } of ports) {
    if (hold.protocol !== 'udp') continue;
    for (const hostAddress of hold.addresses) {
      const key = `${familyOf(hostAddress)} ${hold.port}`;
      if (seen.has(key)) continue;
      seen.add(key);
      await deleteFlows(parts.host, flowMatch(hostAddress, hold.port));
    }
  }
}

const flowMatch = (hostAddress: Address, port: number) => ({
  family: familyOf(hostAddress),
  protocol: 'udp' as const,
  originalDestinationPort: port,
  ...(hostAddress === '0.0.0.0' || hostAddress === '::' ? {} : { originalDestination: hostAddress }),
});
