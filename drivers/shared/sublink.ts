/** The link of an endpoint on its parent: made in the sandbox, deleted on leave. */

import { CnmError, type EndpointId, KernelError, errnoOf, ignoring, messageOf, undoable } from '../../src/base/index.ts';
import { type DriverEndpoint, type JoinPlace, dress } from '../../src/driver/index.ts';
import { type Link, type LinkSpec, type Netns, kernelLacks } from '../../src/kernel/index.ts';
import type { SublinkKind } from './parent-name.ts';
import type { LinkParts } from './parts.ts';

/** Kind and mode of the links of a network. */
export interface SublinkMode extends Pick<LinkSpec, 'macvlan' | 'ipvlan'> {
  readonly kind: SublinkKind;
  /** The one link on its parent, whose MAC it has. */
  readonly isPassthru: boolean;
}

/** Name of a link in its sandbox until it has its own, where it cannot have that at once. */
export const halfLinkName = (id: EndpointId): string => `half${id.slice(0, 11)}`;

/** Makes the link and makes it the endpoint's; answers it. A failure leaves nothing. */
export async function attach(
  parts: LinkParts,
  parent: Link,
  mode: SublinkMode,
  ep: DriverEndpoint,
  at: JoinPlace,
): Promise<Link> {
  return undoable(async (undo) => {
    undo.add('remove link', () => detach(parts, mode.kind, ep, at));
    try {
      const link = withMac(await place(parts, parent, mode, ep, at), ep, mode);
      // The kernel gives the one link its parent's MAC; another one is given to both.
      if (mode.isPassthru && link.mac !== undefined && link.mac !== parent.mac)
        await at.netns.rtnl().batch([{ op: 'link.set', at: { index: link.index }, change: { mac: link.mac } }]);
      if (at.isBare !== true) await dress(ep, at, { acceptRa: '0' }, link.index);
      return link;
    } catch (error) {
      throw refused(error, parent, mode, ep);
    }
  });
}

const withMac = (link: Link, { iface: { mac } }: DriverEndpoint, { isPassthru }: SublinkMode): Link =>
  isPassthru && mac !== undefined ? { ...link, mac } : link;

/** Makes the link in the sandbox under its name. */
async function place(parts: LinkParts, parent: Link, mode: SublinkMode, ep: DriverEndpoint, at: JoinPlace): Promise<Link> {
  const { netns, ifname } = at;
  const spec = { netns, ...(ep.iface.mac && { mac: ep.iface.mac }) };
  try {
    await addSublink(parts, parent, mode, { name: ifname, ...spec });
    return await netns.rtnl().link.get({ name: ifname });
  } catch (error) {
    if (at.isBare === true || errnoOf(error) !== 'EEXIST') throw error;
  }
  // Kernels before 6.15, that of Debian 12 too, take no name in the sandbox that a link of the host has: its eth0.
  const half = halfLinkName(ep.id);
  await addSublink(parts, parent, mode, { name: half, ...spec });
  const link = await netns.rtnl().link.get({ name: half });
  await netns.rtnl().batch([{ op: 'link.set', at: { index: link.index }, change: { name: ifname } }]);
  return { ...link, name: ifname };
}

/** Throws KernelError as the kernel answers. */
export async function addSublink(
  parts: LinkParts,
  parent: Link,
  { kind, macvlan, ipvlan }: SublinkMode,
  link: Pick<LinkSpec, 'name' | 'netns' | 'mac'>,
): Promise<void> {
  const spec: LinkSpec = {
    kind,
    parent: parent.index,
    group: parts.mark.liveGroup,
    ...(macvlan && { macvlan }),
    ...(ipvlan && { ipvlan }),
    ...link,
  };
  await parts.host.rtnl().batch([{ op: 'link.add', spec }]);
}

/**
 * How a parent refuses promiscuous mode, another MAC in its filter, or one for itself: by right (the host of a virtual function), by
 * lack of it, or for want of room.
 */
const NO_OTHER_MAC: readonly string[] = ['EPERM', 'EACCES', 'EOPNOTSUPP', 'EADDRNOTAVAIL', 'EOVERFLOW', 'ENOSPC'];
/** One that is up and changes its own MAC only while it is down: mode passthru gives it one. */
const NOT_WHILE_UP = 'EBUSY';

/** What the kernel's refusal means here, and what would work. */
export function refused(error: unknown, parent: Link, { kind, isPassthru }: SublinkMode, ep?: DriverEndpoint): unknown {
  const told = (
    code: 'parent_in_use' | 'parent_refuses' | 'parent_gone' | 'network_full' | 'address_in_use',
    text: string,
  ): CnmError => new CnmError(code, text, { cause: error });
  // The same numbers mean other things where the link is there already.
  const isCreation = error instanceof KernelError && error.operation === 'link.add';
  const errno = errnoOf(error);
  const isSet = kind === 'macvlan' && error instanceof KernelError && error.operation === 'link.set';
  if (isSet && (NO_OTHER_MAC.includes(errno ?? '') || (isPassthru && errno === NOT_WHILE_UP)))
    return told(
      'parent_refuses',
      `parent ${parent.name} takes no frames for other MACs (${messageOf(error)}): allow promiscuous mode for it and, where it is a port of a virtual machine, forged transmits; or use a network of driver ipvlan`,
    );
  if (!isCreation && errno !== 'EADDRINUSE') return error;
  switch (errno) {
    case 'EOPNOTSUPP':
      return kernelLacks(kind);
    case 'ENODEV':
      return told('parent_gone', `the requested parent interface ${parent.name} was not found on this host`);
    case 'EBUSY':
      return told(
        'parent_in_use',
        `parent ${parent.name} has no room for ${kind} links (${messageOf(error)}): it has links of another kind (macvlan beside ipvlan), or is a port of a bridge or bond`,
      );
    case 'EINVAL':
      return isPassthru && ep !== undefined
        ? told(
            'network_full',
            `parent ${parent.name} is in mode passthru, which takes one link: disconnect the sandbox that has it`,
          )
        : told(
            'parent_in_use',
            `parent ${parent.name} takes no such link: it is no Ethernet link, or one link in mode passthru keeps all others out`,
          );
    case 'EADDRINUSE':
      return told('address_in_use', `MAC ${ep?.iface.mac ?? ''} is in use on parent ${parent.name}: give another one, or none`);
    default:
      return error;
  }
}

/** Whether a link carries our mark and is of the kind. Its name alone may be somebody else's. */
const isOurs = (parts: LinkParts, kind: SublinkKind, link: Link | undefined): link is Link =>
  link !== undefined && link.kind === kind && link.group === parts.mark.liveGroup;

/** Our link of the name in a namespace. */
export async function findSublink(parts: LinkParts, kind: SublinkKind, netns: Netns, name: string): Promise<Link | undefined> {
  const link = await netns.rtnl().link.find({ name });
  return isOurs(parts, kind, link) ? link : undefined;
}

/** A link on a link of its own kind hangs on the one below both. */
export const isOn = (parent: Link, { kind, parent: below }: Link): boolean =>
  below === (parent.kind === kind ? (parent.parent ?? parent.index) : parent.index);

/** The endpoint's link: by its name, or by an address where somebody inside has renamed it. */
export async function linkOf(
  parts: LinkParts,
  kind: SublinkKind,
  { iface }: DriverEndpoint,
  { netns, ifname }: JoinPlace,
): Promise<Link | undefined> {
  const named = await findSublink(parts, kind, netns, ifname);
  if (named !== undefined) return named;
  const rtnl = netns.rtnl();
  const own = (await rtnl.link.list({ group: parts.mark.liveGroup })).filter((link) => isOurs(parts, kind, link));
  if (own.length === 0) return undefined;
  const addressed = (await rtnl.address.list()).filter(({ prefix }) => prefix === iface.v4 || prefix === iface.v6);
  return own.find(({ index }) => addressed.some(({ link }) => link === index));
}

/** Deletes the endpoint's link, one without its final name too. One that is gone is fine. */
export async function detach(parts: LinkParts, kind: SublinkKind, ep: DriverEndpoint, at: JoinPlace): Promise<void> {
  const link = await linkOf(parts, kind, ep, at);
  if (link !== undefined) await removeSublink(at.netns, link);
  await removeHalf(parts, kind, ep, at.netns);
}

/** What a kill has left without its final name. */
export async function removeHalf(parts: LinkParts, kind: SublinkKind, { id }: DriverEndpoint, netns: Netns): Promise<void> {
  const half = await findSublink(parts, kind, netns, halfLinkName(id));
  if (half !== undefined) await removeSublink(netns, half);
}

/** The kernel takes 15 to 20 ms, hence on a pool thread. Its being set down alone would take nearly as long. */
export async function removeSublink(netns: Netns, { index }: Link): Promise<void> {
  await ignoring(['ENODEV'], () => netns.rtnl().batchOffThread([{ op: 'link.remove', at: { index } }]));
}
