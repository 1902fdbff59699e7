/** The segments of an overlay network: a subnet of each family, a bridge and a VXLAN id are one wire (spec 07 §2). Pure. */

import { createHash } from 'node:crypto';
import {
  type Address,
  CnmError,
  type Mac,
  type NetworkId,
  type Prefix,
  addressBytes,
  familyOf,
  makePrefix,
  prefixAddress,
  prefixContains,
  prefixLength,
  shortId,
} from '../../src/base/index.ts';
import type { DriverNetwork, DriverPool, IfaceAddresses, StaticRoute } from '../../src/driver/index.ts';
import type { Mark } from '../../src/kernel/index.ts';

/** What the network's record keeps of it. */
export interface OverlayState {
  /** VXLAN ids, one a segment. */
  readonly vnis: readonly number[];
  /** UDP port of the network's tunnels, the same on all hosts. Records of before have none: VXLAN_PORT. */
  readonly port?: number;
}

/** IANA's port of VXLAN (RFC 7348). */
export const VXLAN_PORT = 4789;

export const portOf = ({ state }: DriverNetwork): number => (state as OverlayState | null)?.port ?? VXLAN_PORT;

export interface Segment {
  readonly bridge: string;
  readonly tunnel: string;
  readonly vni: number;
  readonly v4?: DriverPool;
  readonly v6?: DriverPool;
}

/** Number of wires: the first subnet of IPv4 goes with the first of IPv6, and so on. */
export const segmentCount = ({ v4, v6 }: DriverNetwork): number => Math.max(v4.length, v6.length);

export function segmentsOf(net: DriverNetwork): Segment[] {
  const { vnis } = (net.state ?? { vnis: [] }) as unknown as OverlayState;
  return Array.from({ length: segmentCount(net) }, (_, i) => {
    const [v4, v6, vni] = [net.v4[i], net.v6[i], vnis[i]];
    if (vni === undefined) throw new CnmError('internal', `network ${net.name} has no VXLAN id for its subnet ${i + 1}`);
    return { bridge: `br${i}`, tunnel: `vx${i}`, vni, ...(v4 && { v4 }), ...(v6 && { v6 }) };
  });
}

/** What a network's namespace is made with. */
export interface Furniture {
  readonly segments: readonly Segment[];
  /** Octets of a packet inside. */
  readonly mtu: number;
  /** This host's end of tunnels; absent: there are none. */
  readonly vtep?: Address;
}

/** Pins of networks' namespaces begin with it. Those of sandboxes are their short ids. */
export const PIN_PREFIX = 'overlay-';

export const pinName = (id: NetworkId): string => `${PIN_PREFIX}${shortId(id)}`;

const holds = (pool: DriverPool | undefined, address: Prefix | undefined): boolean =>
  address === undefined || (pool !== undefined && prefixContains(pool.prefix, prefixAddress(address)));

/** The index of the segment that all addresses are of, or -1. */
export function segmentIndex(segments: readonly Segment[], { v4, v6 }: Pick<IfaceAddresses, 'v4' | 'v6'>): number {
  if (v4 === undefined && v6 === undefined) return -1;
  return segments.findIndex((segment) => holds(segment.v4, v4) && holds(segment.v6, v6));
}

/** Throws address_out_of_range when the addresses are of two segments, or of none. */
export function segmentFor(segments: readonly Segment[], iface: IfaceAddresses): Segment {
  const found = segments[segmentIndex(segments, iface)];
  if (found !== undefined) return found;
  const { v4, v6 } = iface;
  const wires = segments.map((one) => [one.v4, one.v6].flatMap((pool) => pool?.prefix ?? []).join(' with ')).join(', ');
  throw new CnmError(
    'address_out_of_range',
    `addresses ${[v4, v6].filter((one) => one !== undefined).join(' and ')} are not of one wire of the overlay network, which has ${wires}: ask for addresses of one of them`,
  );
}

/** The bridge's own addresses, which are the gateway's to the other segments. */
export const gatewayAddresses = ({ v4, v6 }: Segment): Prefix[] =>
  [v4, v6].flatMap((pool) => (pool?.gateway === undefined ? [] : makePrefix(pool.gateway, prefixLength(pool.prefix))));

/** Routes of an endpoint to the subnets of the other segments. */
export function routesOf(segments: readonly Segment[], own: Segment, iface: IfaceAddresses): StaticRoute[] {
  const others = segments.filter((segment) => segment !== own);
  return (['v4', 'v6'] as const).flatMap((family) => {
    const nextHop = own[family]?.gateway;
    if (nextHop === undefined || iface[family] === undefined) return [];
    return others.flatMap((segment) => {
      const pool = segment[family];
      return pool === undefined ? [] : [{ destination: pool.prefix, nextHop }];
    });
  });
}

const macOf = (octets: Uint8Array): Mac => [...octets].map((octet) => octet.toString(16).padStart(2, '0')).join(':') as Mac;

/**
 * MAC of an endpoint: the same wherever its address is used next, so that nobody's entry for the address is ever wrong. With
 * IPv4 it is the reference's, else the last five octets of the IPv6 address are in it.
 */
export function derivedMac(address: Address): Mac {
  const octets = addressBytes(address);
  return macOf(familyOf(address) === 4 ? Uint8Array.of(0x02, 0x42, ...octets) : Uint8Array.of(0x02, ...octets.slice(-5)));
}

/** MAC of a link of ours in the network's namespace: its own on each host, and the same when it is made again. */
export const linkMac = ({ instanceId }: Mark, id: NetworkId, link: string): Mac =>
  macOf(Uint8Array.of(0x02, ...createHash('sha256').update(`${instanceId} ${id} ${link}`).digest().subarray(0, 5)));
