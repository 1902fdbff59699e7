/**
 * What held ports ask of the packet filter, and how they are reported (spec 05 N4, N5). Pure; it only describes, applying is
 * the driver's.
 */

import { familyOf, type Address } from '../base/index.ts';
import type { Protocol } from '../keeper/index.ts';
import type { AllocatedPort } from './allocator.ts';

/** How a family of the network meets the outside. */
export type NatMode = 'nat' | 'nat-unprotected' | 'routed' | 'isolated';

/** One host port that leads to the endpoint. */
export interface NatRule {
  readonly protocol: Protocol;
  readonly hostAddress: Address;
  /** 0: routed, only the endpoint's port is opened. */
  readonly hostPort: number;
  readonly address: Address;
  readonly port: number;
  readonly mode: NatMode;
}

/** What is reported of one binding; hostPort 0: routed. */
export interface ReportedPort {
  readonly protocol: Protocol;
  readonly port: number;
  readonly hostAddress: Address;
  readonly hostPort: number;
}

/** The endpoint in one family; absent where it has no address. */
interface NatSide {
  readonly address: Address;
  readonly mode: NatMode;
}

export interface NatInput {
  readonly ports: readonly AllocatedPort[];
  readonly v4?: NatSide;
  readonly v6?: NatSide;
  /** Which default routes of the sandbox the endpoint has. */
  readonly roles: { readonly v4: boolean; readonly v6: boolean };
  readonly isInternal: boolean;
}

/**
 * A host address counts only where the endpoint has an address of its family. Under NAT it also needs that family's gateway
 * role; a routed family needs none, as its clients reach the endpoint by its own address.
 */
export function describeNat(input: NatInput): { readonly rules: readonly NatRule[]; readonly bindings: readonly ReportedPort[] } {
  if (input.isInternal) return { rules: [], bindings: [] };
  const rules = new Map<string, NatRule>();
  for (const { hold, port } of input.ports) {
    for (const hostAddress of hold.addresses) {
      const isIPv4 = familyOf(hostAddress) === 4;
      const side = isIPv4 ? input.v4 : input.v6;
      if (side === undefined || side.mode === 'isolated') continue;
      const common = { protocol: hold.protocol, address: side.address, port, mode: side.mode };
      if (side.mode === 'routed') {
        const any = (isIPv4 ? '0.0.0.0' : '::') as Address;
        rules.set(`${hold.protocol} ${any} ${port}`, { ...common, hostAddress: any, hostPort: 0 });
      } else if (isIPv4 ? input.roles.v4 : input.roles.v6) {
        rules.set(`${hold.protocol} ${hostAddress} ${port} ${hold.port}`, { ...common, hostAddress, hostPort: hold.port });
      }
    }
  }
  const all = [...rules.values()];
  return {
    rules: all,
    bindings: all.map(({ protocol, port, hostAddress, hostPort }) => ({ protocol, port, hostAddress, hostPort })),
  };
}
