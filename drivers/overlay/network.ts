/**
 * The namespace of an overlay network on this host: a bridge with the gateway's addresses for each segment, made with the first
 * endpoint here and gone after the last one (spec 07 §2). What crosses the underlay is in tunnel.ts.
 */

import { join } from 'node:path';
import { type Address, CnmError, type NetworkId, codeOf, familyOf, ignoring, prefixAddress } from '../../src/base/index.ts';
import type { DriverNetwork } from '../../src/driver/index.ts';
import {
  type Link,
  type Netns,
  createNetns,
  openNetns,
  readSysctl,
  removeNetnsPin,
  writeSysctl,
} from '../../src/kernel/index.ts';
import { espMtu } from './esp.ts';
import { type OverlayOptions, encryptionOf } from './options.ts';
import type { OverlayParts } from './parts.ts';
import { type Furniture, type Segment, gatewayAddresses, linkMac, pinName } from './segments.ts';
import { ensureTunnel, isTunnelRight } from './tunnel.ts';

/** What a packet grows by on the way: IP, UDP, VXLAN and Ethernet headers, octets (RFC 7348 §5). */
const OVERHEAD = { 4: 50, 6: 70 } as const;
const DEFAULT_UNDERLAY_MTU = 1500;
const LEAST_FOR_IPV6 = 1280;

const pinPath = (parts: OverlayParts, id: NetworkId): string => join(parts.pinFolder, pinName(id));

/** What the network is to be made with now. Throws bad_option when the underlay leaves too little for IPv6. */
export async function furnitureOf(
  parts: OverlayParts,
  net: DriverNetwork,
  options: OverlayOptions,
  segments: readonly Segment[],
): Promise<Furniture> {
  const vtep = parts.vtep(net);
  const left = (await underlayMtu(parts, vtep)) - OVERHEAD[vtep === undefined ? 4 : familyOf(vtep)];
  const room = encryptionOf(net) === 'esp' ? espMtu(left) : left;
  if (net.enableIPv6 && room < LEAST_FOR_IPV6) {
    throw new CnmError(
      'bad_option',
      `the underlay leaves ${room} octets for a packet, and IPv6 needs ${LEAST_FOR_IPV6}: raise its MTU, or make the network without IPv6`,
    );
  }
  return { segments, mtu: Math.min(room, options.mtu ?? room), ...(vtep && { vtep }) };
}

async function underlayMtu(parts: OverlayParts, vtep: Address | undefined): Promise<number> {
  if (vtep === undefined) return DEFAULT_UNDERLAY_MTU;
  const rtnl = parts.host.rtnl();
  const own = (await rtnl.address.list()).find(({ prefix }) => prefixAddress(prefix) === vtep);
  const link = own && (await rtnl.link.find({ index: own.link }));
  return link?.mtu ?? DEFAULT_UNDERLAY_MTU;
}

/** The network's namespace, for the caller to close; undefined when there is none. */
export function openInside(parts: OverlayParts, id: NetworkId): Netns | undefined {
  try {
    return openNetns(pinPath(parts, id));
  } catch (error) {
    if (codeOf(error) === 'bad_netns') return undefined;
    throw error;
  }
}

/** The namespace with all that belongs in it, made where it is missing. The caller closes it. `isNew`: it has no peers yet. */
export async function ensureInside(
  parts: OverlayParts,
  net: DriverNetwork,
  furniture: Furniture,
): Promise<{ readonly netns: Netns; readonly isNew: boolean }> {
  const found = openInside(parts, net.id);
  const netns = found ?? makeInside(parts, net.id);
  try {
    furnish(netns, furniture);
    await netns.rtnl().batch([{ op: 'link.set', at: { name: 'lo' }, change: { up: true } }]);
    for (const segment of furniture.segments) await ensureSegment(parts, net, netns, segment, furniture);
    return { netns, isNew: found === undefined };
  } catch (error) {
    netns[Symbol.dispose]();
    throw error;
  }
}

function makeInside(parts: OverlayParts, id: NetworkId): Netns {
  // A kill may have left a pin that leads nowhere.
  removeNetnsPin(pinPath(parts, id));
  return createNetns(pinPath(parts, id));
}

/** Settings that links take over when they are made. */
function furnish(netns: Netns, { segments }: Furniture): void {
  const set = (path: string, value: string): void => writeSysctl(netns, path, value, { optional: true });
  // Nobody in here but the bridges has an address, and nobody finds out his own.
  set('net/ipv6/conf/default/disable_ipv6', '1');
  set('net/ipv6/conf/default/accept_ra', '0');
  set('net/ipv6/conf/default/addr_gen_mode', '1');
  if (segments.length < 2) return;
  set('net/ipv4/ip_forward', '1');
  set('net/ipv6/conf/all/forwarding', '1');
}

async function ensureSegment(
  parts: OverlayParts,
  net: DriverNetwork,
  netns: Netns,
  segment: Segment,
  furniture: Furniture,
): Promise<void> {
  const rtnl = netns.rtnl();
  const { bridge: name } = segment;
  const mac = linkMac(parts.mark, net.id, name);
  let bridge = await rtnl.link.find({ name });
  if (bridge === undefined) {
    const settings = { multicastSnooping: false, defaultPvid: 0 };
    const spec = { kind: 'bridge', name, mac, group: parts.mark.liveGroup, bridge: settings } as const;
    await rtnl.batch([{ op: 'link.add', spec }]);
    bridge = await rtnl.link.get({ name });
  }
  const { index } = bridge;
  await ensureTunnel(parts, net, netns, segment, index, furniture);
  if (segment.v6 !== undefined) enableIPv6(netns, name);
  const present = (await rtnl.address.list({ link: index })).map(({ prefix }) => prefix);
  const missing = gatewayAddresses(segment).filter((prefix) => !present.includes(prefix));
  await rtnl.batch([
    ...missing.map((prefix) => ({ op: 'address.add', spec: { link: index, prefix, noDad: true } }) as const),
    // Last: who finds it up finds the segment whole. A MAC that is set, be it the same, costs all neighbours.
    {
      op: 'link.set',
      at: { index },
      change: { up: true, mtu: furniture.mtu, ...(bridge.mac !== mac && { mac }) },
    },
  ]);
}

function enableIPv6(netns: Netns, link: string): void {
  const key = ['net', 'ipv6', 'conf', link, 'disable_ipv6'];
  if (readSysctl(netns, key) === undefined)
    throw new CnmError('kernel_lacks', 'this host has no IPv6: make the network without it');
  writeSysctl(netns, key, '0');
}

/** What is in a network's namespace. */
export interface InsideView {
  readonly links: ReadonlyMap<string, Link>;
  /** `INDEX PREFIX`. */
  readonly addresses: ReadonlySet<string>;
}

export async function lookInside(netns: Netns): Promise<InsideView> {
  const rtnl = netns.rtnl();
  return {
    links: new Map((await rtnl.link.list()).map((link) => [link.name, link])),
    addresses: new Set((await rtnl.address.list()).map(({ link, prefix }) => `${link} ${prefix}`)),
  };
}

/** Whether a segment is as it is to be. */
export function isSegmentRight(view: InsideView, segment: Segment, vtep: Address | undefined, port: number): boolean {
  const bridge = view.links.get(segment.bridge);
  if (bridge?.kind !== 'bridge' || !bridge.up) return false;
  if (!gatewayAddresses(segment).every((prefix) => view.addresses.has(`${bridge.index} ${prefix}`))) return false;
  return isTunnelRight(view.links.get(segment.tunnel), segment, bridge.index, port, vtep);
}

/**
 * Takes a link out of the namespace, and with the last endpoint the namespace away. What is gone already is fine. Tunnels are
 * deleted and not left to the kernel's own clearing up, which would keep their ids for a while.
 */
export async function withdraw(parts: OverlayParts, id: NetworkId, port?: string): Promise<boolean> {
  using netns = openInside(parts, id);
  if (netns !== undefined) {
    const own = await netns.rtnl().link.list({ group: parts.mark.liveGroup });
    const leaving = own.filter(({ name }) => name === port);
    const isLast = own.every((link) => link.kind !== 'veth' || leaving.includes(link));
    await removeLinks(netns, isLast ? [...leaving, ...own.filter(({ kind }) => kind === 'vxlan')] : leaving);
    if (!isLast) return false;
  }
  removeNetnsPin(pinPath(parts, id));
  return true;
}

/** Takes the namespace away, whoever is in it. */
export async function removeInside(parts: OverlayParts, id: NetworkId): Promise<void> {
  using netns = openInside(parts, id);
  if (netns !== undefined) await removeLinks(netns, await netns.rtnl().link.list({ kind: 'vxlan' }));
  removeNetnsPin(pinPath(parts, id));
}

/** On a pool thread, since the kernel takes some 20 ms. */
async function removeLinks(netns: Netns, links: readonly Link[]): Promise<void> {
  if (links.length === 0) return;
  const ops = links.map(({ index }) => ({ op: 'link.remove', at: { index } }) as const);
  await ignoring(['ENODEV'], () => netns.rtnl().batchOffThread(ops));
}
