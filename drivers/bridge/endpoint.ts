/** The veth pair of an endpoint: made where it will live, taken out of service on leave (spec 04 §4). */

import { randomBytes } from 'node:crypto';
import { type Address, CnmError, errnoOf, familyOf, prefixAddress, undoable } from '../../src/base/index.ts';
import { type DriverEndpoint, type DriverParts, type JoinPlace, addressesInside, dress } from '../../src/driver/index.ts';
import { type Link, type LinkSpec, type RtnlOp, writeSysctl } from '../../src/kernel/index.ts';
import type { BridgeOptions } from './options.ts';
import { nameHostSideAgain } from './renamed.ts';

/** What the endpoint's record keeps of it. */
export interface EndpointState {
  /** Host side of the veth pair. */
  readonly hostLink: string;
}

/** Name of the host side: derived, so that it can be found without a record. */
export const hostLinkName = (ep: { readonly id: string }): string => `veth${ep.id.slice(0, 11)}`;

export const stateOf = (ep: { readonly id: string }): EndpointState => ({ hostLink: hostLinkName(ep) });

/** Makes the pair, enslaved and up, with its sandbox side addressed under its final name. A failure leaves nothing. */
export async function plug(
  parts: DriverParts,
  bridge: number,
  ep: DriverEndpoint,
  options: BridgeOptions,
  at: JoinPlace,
): Promise<void> {
  const host = parts.host.rtnl();
  const hostLink = hostLinkName(ep);
  const { mac } = ep.iface;
  const common = { group: parts.mark.liveGroup, ...(options.mtu && { mtu: options.mtu }) };
  return undoable(async (undo) => {
    undo.add('take link out of service', () => unplug(parts, ep, at));
    const side = await addPair(parts, {
      kind: 'veth',
      name: hostLink,
      master: bridge,
      ...common,
      peer: { name: at.ifname, netns: at.netns, ...common, ...(mac && { mac }) },
    });
    if (at.isBare !== true) await dress(ep, at, {}, side?.parent);
    await raiseHostSide(parts, bridge, ep, options);
    // The bridge opens a port when the kernel has taken note of its carrier, which a look brings about at once (linkwatch).
    await host.link.find({ name: hostLink });
  });
}

/** The host side comes up last: only then does the bridge forward at once, without waiting for the carrier's event. */
export async function raiseHostSide(
  parts: DriverParts,
  bridge: number,
  ep: DriverEndpoint,
  options: BridgeOptions,
): Promise<void> {
  const host = parts.host.rtnl();
  const at = { name: hostLinkName(ep) };
  // A port needs no address of its own, and each one that comes up with IPv6 has the kernel walk all IPv6 routes of the host.
  writeSysctl(parts.host, ['net', 'ipv6', 'conf', at.name, 'disable_ipv6'], '1', { optional: true });
  await host.batch([
    { op: 'link.set', at, change: { hairpin: true, ...(!options.icc && { isolated: true }) } },
    { op: 'link.set', at, change: { up: true } },
    ...renewedNeighbours(bridge, ep),
  ]);
}

/** What the kernel answers where there is no such entry, and where there is one that it takes away in that moment (neigh_add, neigh_delete). */
const NO_ENTRY = ['ENOENT', 'EPERM'];
/** What it answers to a change, not to a removal, where somebody has switched IPv6 off on the bridge: the host has no entry there then. */
const NO_IPV6 = 'EINVAL';

/** An address that was someone else's a moment ago: the host must not go on sending to the old MAC. */
function renewedNeighbours(bridge: number, ep: DriverEndpoint): RtnlOp[] {
  const { mac } = ep.iface;
  if (mac === undefined) return [];
  // None is there, as a rule. An entry of our own for each endpoint could fill the machine's table, and fail this join.
  return addressesOf(ep).map((address) => ({
    op: 'neighbour.change',
    spec: { link: bridge, address, mac, state: 'stale' },
    fine: [...NO_ENTRY, ...(familyOf(address) === 6 ? [NO_IPV6] : [])],
  }));
}

const addressesOf = ({ iface }: DriverEndpoint): Address[] =>
  [iface.v4, iface.v6].filter((prefix) => prefix !== undefined).map(prefixAddress);

async function addPair(parts: DriverParts, spec: LinkSpec): Promise<Link | undefined> {
  try {
    return await parts.host.rtnl().link.add(spec);
  } catch (error) {
    if (errnoOf(error) === 'EXFULL') {
      throw new CnmError('network_full', 'the bridge has no port left: the kernel takes 1,023 a bridge', { cause: error });
    }
    throw error;
  }
}

/**
 * Takes the pair out of service: down, no master, no addresses, names and MAC free again, in the dead group. The kernel
 * needs 16 ms and more to delete a link, hence the reaper does that behind everyone's back.
 */
export async function unplug(parts: DriverParts, ep: DriverEndpoint, at: JoinPlace | undefined): Promise<void> {
  const name = hostLinkName(ep);
  const dead = `dead${randomBytes(5).toString('hex')}`;
  const { deadGroup } = parts.mark;
  const host = parts.host.rtnl();
  const hostLink = (await host.link.find({ name })) ?? (at && (await strayedHostSide(parts, name, at)));
  // Without a host side here a link of that name in the sandbox is somebody else's, or half of a pair that was torn apart.
  if (hostLink === undefined) return at && removeOrphan(parts, ep, at);
  try {
    if (hostLink.group === parts.mark.liveGroup) {
      const change = { up: false, master: 0, name: dead, group: deadGroup };
      await host.batch([
        { op: 'link.set', at: { index: hostLink.index }, change, fine: ['ENODEV'] },
        ...forgottenNeighbours(ep, hostLink.master),
      ]);
    }
    // A bare one may still lie beside its other side, where no two can have one name.
    if (at !== undefined && at.isEnding !== true)
      await retireSandboxSide(parts, ep, at, at.isBare === true ? `${dead}p` : dead, hostLink.index);
  } finally {
    // Also after a failure: no later call finds the pair by its name.
    parts.reaper.kick();
  }
}

/** The host side that somebody has renamed: its pair would stay in the sandbox. */
async function strayedHostSide(parts: DriverParts, name: string, at: JoinPlace): Promise<Link | undefined> {
  const inside = at.isEnding === true ? undefined : await at.netns.rtnl().link.find({ name: at.ifname });
  return inside && nameHostSideAgain(parts, name, inside);
}

/** The host's neighbour entries on the bridge: nobody has these addresses now. */
function forgottenNeighbours(ep: DriverEndpoint, bridge: number | undefined): RtnlOp[] {
  if (bridge === undefined) return [];
  const fine = [...NO_ENTRY, 'ENODEV'];
  return addressesOf(ep).map((address) => ({ op: 'neighbour.remove', spec: { link: bridge, address }, fine }));
}

/** The sandbox side of a pair whose host side somebody has moved to another namespace: both go, and the addresses with them. */
async function removeOrphan({ mark }: DriverParts, ep: DriverEndpoint, at: JoinPlace): Promise<void> {
  const sandbox = at.netns.rtnl();
  const link = await sandbox.link.find({ name: at.ifname });
  if (link?.kind !== 'veth' || link.group !== mark.liveGroup || link.mac !== ep.iface.mac) return;
  await sandbox.batch([{ op: 'link.remove', at: { index: link.index }, fine: ['ENODEV'] }]);
}

async function retireSandboxSide(
  parts: DriverParts,
  ep: DriverEndpoint,
  at: JoinPlace,
  dead: string,
  hostIndex: number,
): Promise<void> {
  const sandbox = at.netns.rtnl();
  const link = await sandbox.link.find({ name: at.ifname });
  if (link === undefined || link.group !== parts.mark.liveGroup || link.parent !== hostIndex) return;
  const change = { up: false, name: dead, group: parts.mark.deadGroup };
  await sandbox.batch([
    // What somebody inside has added goes when the link does.
    ...addressesInside(ep).map((prefix): RtnlOp => ({
      op: 'address.remove',
      spec: { link: link.index, prefix },
      fine: ['ENODEV', 'EADDRNOTAVAIL'],
    })),
    { op: 'link.set', at: { index: link.index }, change, fine: ['ENODEV'] },
  ]);
}
