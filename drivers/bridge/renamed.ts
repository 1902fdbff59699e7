/**
 * Links of ours that somebody has given other names get theirs back. Another one made in their place would do nothing: the
 * route of the subnet would go on leading to the first one, and a pair's side in the sandbox would keep the name that the new one wants.
 */

import type { Mac } from '../../src/base/index.ts';
import type { DriverParts } from '../../src/driver/index.ts';
import type { Link } from '../../src/kernel/index.ts';
import { retireHostLink } from '../shared/host-link.ts';

/** Names that the host sides of our pairs have: one of these is where it belongs. */
const HOST_SIDE = /^veth[0-9a-f]{11}$/;

/** A bridge as a network's record has it. */
interface KnownBridge {
  readonly bridge: string;
  /** False: the user's. */
  readonly created: boolean;
  readonly mac: Mac;
}

/** A bridge of ours is known by its mark and its MAC. Where another bridge has its name by now, that one takes its part, and ours goes. */
export async function nameBridgeAgain(parts: DriverParts, { bridge, created, mac }: KnownBridge): Promise<void> {
  if (!created) return;
  const rtnl = parts.host.rtnl();
  const inPlace = await rtnl.link.find({ name: bridge });
  // As a rule; a list of all links takes long where there are many.
  if (inPlace?.mac === mac) return;
  const mine = await rtnl.link.list({ group: parts.mark.liveGroup });
  const strayed = mine.find((link) => link.kind === 'bridge' && link.mac === mac && link.name !== bridge);
  if (strayed === undefined) return;
  if (inPlace === undefined) return rename(parts, strayed, bridge);
  if (inPlace.kind !== 'bridge') return;
  parts.env.log.warn({ link: strayed.name, bridge }, 'another bridge has the name of one of ours: ours is removed');
  await retireHostLink(parts, strayed.name);
}

/** The host side of a pair, found by its side in the sandbox; answers it under `name`, or nothing where that is not its other side. */
export async function nameHostSideAgain(parts: DriverParts, name: string, inside: Link): Promise<Link | undefined> {
  const rtnl = parts.host.rtnl();
  const strayed = inside.parent === undefined ? undefined : await rtnl.link.find({ index: inside.parent });
  // Numbers of links are each namespace's own: the other side may lie in a third one, and this be somebody else's.
  const isOurs = strayed?.kind === 'veth' && strayed.group === parts.mark.liveGroup && strayed.parent === inside.index;
  if (strayed === undefined || !isOurs || HOST_SIDE.test(strayed.name)) return undefined;
  await rename(parts, strayed, name);
  return rtnl.link.find({ name });
}

/** Down first: older kernels rename no link that is up. */
async function rename(parts: DriverParts, { index, name: was }: Link, name: string): Promise<void> {
  await parts.host.rtnl().batch([{ op: 'link.set', at: { index }, change: { up: false, name } }]);
  parts.env.log.warn({ link: was, name }, 'a link of ours had another name: it has its own again');
}
