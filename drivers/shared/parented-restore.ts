/** Start, and later when somebody disturbed us: parents that are gone, parents that are back, links that sandboxes have lost. */

import { CnmError, type NetworkId, messageOf } from '../../src/base/index.ts';
import {
  type DriverNetwork,
  type JoinPlace,
  type RestoreNetwork,
  type RestoreReport,
  restoreInside,
} from '../../src/driver/index.ts';
import type { Link } from '../../src/kernel/index.ts';
import { advertise } from './announcer.ts';
import { type HostView, ensureHostSide, hasHostSide } from './host-side.ts';
import { hasMovedLink, remakeMoved } from './moved-link.ts';
import { type ParentUsers, ensureParent, isMade } from './parent.ts';
import { parentLinkOf } from './parent-name.ts';
import { type ParentedKind, type ParentedMode, type ParentedOptions, parseParented } from './parented-options.ts';
import { attach, detach, isOn, linkOf } from './sublink.ts';
import type { LinkParts } from './parts.ts';

type Wished = RestoreNetwork['endpoints'][number];

export async function restoreParented(
  parts: LinkParts,
  users: ParentUsers,
  { net, endpoints }: RestoreNetwork,
  options: ParentedOptions,
): Promise<RestoreReport> {
  const base = { id: net.id, state: net.state, rules: [] };
  const { mode } = options;
  try {
    const parent = await ensureParent(parts, users, options.parent).catch((error: unknown) => {
      throw options.parent.isDummy ? error : gone(options.parent.name, error);
    });
    if (options.hostAccess) {
      const all = endpoints.map(({ ep }) => ep);
      await ensureHostSide(parts, net, parent, mode, all);
    }
    const problems: string[] = [];
    for (const endpoint of endpoints) {
      const problem = await restoreEndpoint(parts, parent, mode, net, endpoint);
      if (problem !== undefined) problems.push(problem);
    }
    users.settle(net.id, parent);
    return { ...base, ...(problems.length > 0 && { problem: problems.join('; ') }) };
  } catch (error) {
    return { ...base, problem: messageOf(error) };
  }
}

function gone(name: string, error: unknown): unknown {
  if (!(error instanceof CnmError) || error.code !== 'bad_option') return error;
  return new CnmError('parent_gone', `parent ${name} is not there: the network goes on when it is back (${error.message})`, {
    cause: error,
  });
}

/** Makes the link anew where it is gone, with the MAC and the addresses that it had; answers what could not be mended. */
async function restoreEndpoint(
  parts: LinkParts,
  parent: Link,
  mode: ParentedMode,
  net: DriverNetwork,
  { ep, place, moved }: Wished,
): Promise<string | undefined> {
  try {
    if (moved !== undefined) await remakeMoved(parts, parent, mode, net, ep, moved);
    if (place === undefined) return undefined;
    const link = await linkOf(parts, mode.kind, ep, place);
    if (link !== undefined && isOn(parent, link)) {
      await restoreInside(place, ep, link);
      return undefined;
    }
    await refuseForeign(place, link);
    await detach(parts, mode.kind, ep, place);
    const made = await attach(parts, parent, mode, ep, place);
    // Behind another parent may be another port of the switch, and ipvlan has another MAC there.
    if (!mode.isLayer3) await advertise(parts, ep, place, made);
    return undefined;
  } catch (error) {
    return `endpoint ${ep.name}: ${messageOf(error)}`;
  }
}

async function refuseForeign({ netns, ifname }: JoinPlace, own: Link | undefined): Promise<void> {
  if (own !== undefined || (await netns.rtnl().link.find({ name: ifname })) === undefined) return;
  throw new CnmError('name_taken', `another link is called ${ifname} in its sandbox: rename or remove that one`);
}

/** Networks whose parent or host side is not as wished, or a link of theirs in a sandbox that is to be looked into. */
export async function observeParented(
  parts: LinkParts,
  users: ParentUsers,
  kind: ParentedKind,
  desired: readonly RestoreNetwork[],
): Promise<NetworkId[]> {
  if (desired.length === 0) return [];
  const parsed = new Map(desired.map(({ net }) => [net.id, optionsOf(kind, net)]));
  const view = await lookAt(
    parts,
    desired.map(({ net }) => parentLinkOf(kind.name, net)),
    [...parsed.values()].some((options) => options?.hostAccess === true),
  );
  const isRight = ({ net, endpoints }: RestoreNetwork): boolean => {
    const options = parsed.get(net.id);
    if (options === undefined) return false;
    const { parent, hostAccess, mode } = options;
    const link = view.links.get(parent.name);
    if (link === undefined || users.isElsewhere(net.id, link) || (isMade(parts, link) && !link.up)) return false;
    return (
      !hostAccess ||
      hasHostSide(
        view,
        net,
        mode,
        endpoints.map(({ ep }) => ep),
      )
    );
  };
  const wrong: NetworkId[] = [];
  for (const wish of desired) if (!isRight(wish) || (await lacksLink(parts, kind, view, wish))) wrong.push(wish.net.id);
  return wrong;
}

/** Undefined for options that are not taken any more: a restore says so. */
function optionsOf(kind: ParentedKind, net: DriverNetwork): ParentedOptions | undefined {
  try {
    return parseParented(kind, net);
  } catch {
    return undefined;
  }
}

async function lacksLink(parts: LinkParts, kind: ParentedKind, { links }: HostView, wish: RestoreNetwork): Promise<boolean> {
  const { parent, mode } = parseParented(kind, wish.net);
  const below = links.get(parent.name);
  if (below === undefined) return true;
  for (const { ep, place, moved } of wish.endpoints) {
    if (place !== undefined && (await linkOf(parts, kind.name, ep, place)) === undefined) return true;
    if (moved !== undefined && !(await hasMovedLink(parts, below, mode, ep, moved))) return true;
  }
  return false;
}

async function lookAt(parts: LinkParts, parents: readonly string[], isWhole: boolean): Promise<HostView> {
  const rtnl = parts.host.rtnl();
  const links = new Map((await rtnl.link.list()).map((link) => [link.name, link]));
  // Links have other names beside their own, by which the kernel finds them too (ip link property add … altname).
  for (const name of parents) {
    const link = links.has(name) ? undefined : await rtnl.link.find({ name });
    if (link !== undefined) links.set(name, link);
  }
  if (!isWhole) return { links, addresses: new Set(), routes: new Set() };
  return {
    links,
    addresses: new Set((await rtnl.address.list()).map(({ link, prefix }) => `${link} ${prefix}`)),
    routes: new Set((await rtnl.route.list()).map(({ link, destination }) => `${link} ${destination}`)),
  };
}
