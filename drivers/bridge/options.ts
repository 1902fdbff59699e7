/** Bridge network options: parsed once to a typed value, every problem named (spec 04 §1, N1–N6). Pure. */

import { type Address, CnmError, prefixContains, shortId, tryAddress, familyOf } from '../../src/base/index.ts';
import { type DriverNetwork, type DriverPool, labels } from '../../src/driver/index.ts';
import type { GatewayMode } from '../../src/firewall/index.ts';
import {
  type Advertise,
  KEPT,
  advertiseOptions,
  badOption,
  checkIfacePrefix,
  isLinkName,
  truthOption,
  wholeOption,
} from '../shared/options.ts';
import { checkSubnet } from '../shared/subnets.ts';

export interface BridgeOptions {
  /** Name of the bridge link. */
  readonly bridge: string;
  readonly masquerade: boolean;
  readonly icc: boolean;
  readonly mode4: GatewayMode;
  readonly mode6: GatewayMode;
  /** Default host address of published ports. */
  readonly hostBinding?: Address;
  /** No IPv4 address on the bridge: the gateway lives elsewhere. */
  readonly inhibitIPv4: boolean;
  readonly isDefault: boolean;
  readonly trustedInterfaces: readonly string[];
  readonly snat4?: Address;
  readonly snat6?: Address;
  /** Octets; absent: the kernel's default. */
  readonly mtu?: number;
  readonly advertise: Advertise;
}

const MODES: readonly GatewayMode[] = ['nat', 'nat-unprotected', 'routed', 'isolated'];
/** Smallest MTU that carries IPv4 (RFC 791), and IPv6 (RFC 8200). */
const MIN_MTU = { v4: 68, v6: 1280 } as const;
const MAX_MTU = 65_535;

/** Parses the options of a network. Unknown keys are ignored. Throws bad_option. */
export function parseBridgeOptions(net: DriverNetwork): BridgeOptions {
  const { options } = net;
  const mtu = wholeOption(options, labels.mtu, 0, MAX_MTU, 0);
  const least = net.enableIPv6 ? MIN_MTU.v6 : MIN_MTU.v4;
  if (mtu !== 0 && mtu < least) throw badOption(labels.mtu, String(mtu), `the least is ${least}`);
  checkIfacePrefix(options);
  const hostBinding = address(options, labels.hostBinding);
  const snat4 = address(options, labels.hostIPv4, 4);
  const snat6 = address(options, labels.hostIPv6, 6);
  return {
    bridge: bridgeName(net),
    masquerade: truthOption(options, labels.enableIpMasquerade, true),
    icc: truthOption(options, labels.enableIcc, true),
    mode4: gatewayMode(options, labels.gatewayModeIPv4, net.internal),
    mode6: gatewayMode(options, labels.gatewayModeIPv6, net.internal),
    ...(hostBinding && { hostBinding }),
    inhibitIPv4: truthOption(options, labels.inhibitIPv4, false),
    isDefault: truthOption(options, labels.defaultBridge, false),
    trustedInterfaces: interfaces(options),
    ...(snat4 && { snat4 }),
    ...(snat6 && { snat6 }),
    ...(mtu !== 0 && { mtu }),
    advertise: advertiseOptions(options),
  };
}

function bridgeName(net: DriverNetwork): string {
  const name = net.options[labels.bridgeName];
  if (name === undefined || name === '') return `br-${shortId(net.id)}`;
  // The kernel takes more, iptables and shells do not.
  if (!isLinkName(name)) {
    throw badOption(
      labels.bridgeName,
      name,
      `1 to 15 of the characters [a-zA-Z0-9_.-], no dash first, and none of ${KEPT.join(' ')}`,
    );
  }
  return name;
}

function address(options: DriverNetwork['options'], key: string, family?: 4 | 6): Address | undefined {
  const text = options[key];
  if (text === undefined || text === '') return undefined;
  const parsed = tryAddress(text);
  if (parsed === undefined || (family !== undefined && familyOf(parsed) !== family)) {
    throw badOption(key, text, `use an IP${family === undefined ? '' : `v${family}`} address`);
  }
  return parsed;
}

function gatewayMode(options: DriverNetwork['options'], key: string, internal: boolean): GatewayMode {
  const text = options[key] || 'nat';
  const mode = MODES.find((m) => m === text);
  if (mode === undefined) throw badOption(key, text, `unknown gateway mode; use ${MODES.join(', ')}`);
  if (mode === 'isolated' && !internal) throw badOption(key, text, 'gateway mode isolated is for internal networks only');
  return mode;
}

function interfaces(options: DriverNetwork['options']): string[] {
  const names = (options[labels.trustedHostInterfaces] ?? '').split(':').filter((name) => name !== '');
  const wrong = names.find((name) => !isLinkName(name));
  if (wrong !== undefined) throw badOption(labels.trustedHostInterfaces, wrong, 'use interface names, separated by colons');
  return names;
}

/** Checks what is known once subnets are leased. Throws too_many_subnets, bad_subnet, bad_aux_address. */
export function checkSubnets(net: DriverNetwork): void {
  for (const [family, pools] of [
    [4, net.v4],
    [6, net.v6],
  ] as const) {
    if (pools.length > 1)
      throw new CnmError('too_many_subnets', `bridge driver doesn't support multiple subnets for IPv${family}`);
    const [pool] = pools;
    if (pool === undefined && (family === 4 ? net.enableIPv4 : net.enableIPv6))
      throw new CnmError('bad_subnet', `ipv${family} pool is empty`);
    if (pool === undefined) continue;
    checkSubnet(pool.prefix);
    checkGateway(pool);
    if (net.internal && containerGateway(pool) !== pool.gateway) {
      throw new CnmError('bad_aux_address', 'a default gateway for endpoints cannot be given for an internal network');
    }
  }
}

function checkGateway(pool: DriverPool): void {
  const other = pool.aux[labels.auxGatewayIPv4] ?? pool.aux[labels.auxGatewayIPv6];
  if (other !== undefined && !prefixContains(pool.prefix, other)) {
    throw new CnmError('bad_aux_address', `default gateway ${other} is outside ${pool.prefix}`);
  }
}

/** The default gateway of endpoints: the auxiliary address that overrides it, else the bridge's own (N3). */
export function containerGateway(pool: DriverPool): Address | undefined {
  const key = familyOf(pool.prefix) === 4 ? labels.auxGatewayIPv4 : labels.auxGatewayIPv6;
  return pool.aux[key] ?? pool.gateway;
}
