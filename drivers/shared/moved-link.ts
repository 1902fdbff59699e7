/** The link of an endpoint that an engine has moved into its sandbox: the kernel deletes it with the parent, and it is made anew there. */

import { CnmError, ignoring } from '../../src/base/index.ts';
import { type DriverEndpoint, type DriverNetwork, type MovedPlace, bareLinkName, labels } from '../../src/driver/index.ts';
import type { Link, Netns, RouteSpec } from '../../src/kernel/index.ts';
import type { LinkParts } from './parts.ts';
import { type SublinkMode, attach, findSublink, halfLinkName, isOn, removeHalf, removeSublink } from './sublink.ts';

const DEFAULT_PREFIX = 'eth';
/** RTPROT_KERNEL, RT_TABLE_MAIN. */
const BY_KERNEL = 2;
const MAIN_TABLE = 254;

/** Whether the engine has it: in the sandbox under any name, or still or again on the host. */
export async function hasMovedLink(
  parts: LinkParts,
  parent: Link,
  mode: SublinkMode,
  ep: DriverEndpoint,
  moved: MovedPlace,
): Promise<boolean> {
  const isInside = async (): Promise<boolean> => {
    const link = await linkInside(parts, parent, mode, ep, moved);
    // One that hangs on a link which was the parent once leads to where the network is no more.
    return link !== undefined && isOn(parent, link);
  };
  // A second look inside: on its way in it was in neither place.
  return (
    (await isInside()) ||
    (await findSublink(parts, mode.kind, parts.host, bareLinkName(ep.id))) !== undefined ||
    (await isInside())
  );
}

/** The endpoint's link in the sandbox, whichever parent it hangs on. */
async function linkInside(
  parts: LinkParts,
  parent: Link,
  { kind }: SublinkMode,
  { id, iface }: DriverEndpoint,
  { netns, ifname }: MovedPlace,
): Promise<Link | undefined> {
  const links = await netns.rtnl().link.list({ group: parts.mark.liveGroup });
  const own = links.filter((link) => link.kind === kind && link.name !== halfLinkName(id));
  if (own.length === 0) return undefined;
  // Engines address it some time after they have moved it. Nobody has two links on one parent of ipvlan.
  const named = own.find((link) => [bareLinkName(id), ifname].includes(link.name) || (kind === 'ipvlan' && isOn(parent, link)));
  const known = named ?? own.find((link) => iface.mac !== undefined && link.mac === iface.mac);
  if (known !== undefined) return known;
  const addresses = (await netns.rtnl().address.list()).filter(({ prefix }) => prefix === iface.v4 || prefix === iface.v6);
  return own.find(({ index }) => addresses.some(({ link }) => link === index));
}

/** Makes it under the name that it had; where nobody saw that, under the first that is free. Throws name_taken. */
export async function remakeMoved(
  parts: LinkParts,
  parent: Link,
  mode: SublinkMode,
  net: DriverNetwork,
  ep: DriverEndpoint,
  moved: MovedPlace,
): Promise<void> {
  if (await hasMovedLink(parts, parent, mode, ep, moved)) return;
  const stray = await linkInside(parts, parent, mode, ep, moved);
  const ways = stray === undefined ? [] : await waysOver(moved.netns, stray);
  if (stray !== undefined) await removeSublink(moved.netns, stray);
  const taken = new Set((await moved.netns.rtnl().link.list()).map(({ name }) => name));
  const ifname = moved.ifname ?? firstFree(net.options[labels.ifacePrefix] || DEFAULT_PREFIX, taken);
  if (taken.has(ifname))
    throw new CnmError('name_taken', `another link is called ${ifname} in its sandbox: rename or remove that one`);
  await removeHalf(parts, mode.kind, ep, moved.netns);
  const made = await attach(parts, parent, mode, ep, { sandbox: moved.sandbox, netns: moved.netns, ifname });
  // They went with the other link: the engine has laid them, and does not look.
  for (const way of ways) {
    const spec = { ...way, link: made.index };
    await ignoring(['EEXIST'], () => moved.netns.rtnl().batch([{ op: 'route.add', spec }]));
  }
}

/** Routes over a link that the kernel has not laid by itself. */
const waysOver = async (netns: Netns, { index }: Link): Promise<RouteSpec[]> =>
  (await netns.rtnl().route.list({ link: index })).filter(
    ({ protocol, table = MAIN_TABLE }) => protocol !== BY_KERNEL && table === MAIN_TABLE,
  );

function firstFree(prefix: string, taken: ReadonlySet<string>): string {
  let number = 0;
  while (taken.has(`${prefix}${number}`)) number++;
  return `${prefix}${number}`;
}
