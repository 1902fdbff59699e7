/**
 * What macvlan and ipvlan have in common, which is nearly all: a network is a claim to a parent, an endpoint a link on it. Only
 * the contract; the work is in the files beside this one.
 */

import { CnmError, type Json, messageOf, undoable } from '../../src/base/index.ts';
import {
  type Driver,
  type DriverEndpoint,
  type DriverNetwork,
  type JoinPlace,
  type JoinResult,
  type RestoreNetwork,
  type RestoreReport,
  bareLinkName,
  labels,
  parseEndpointSysctls,
} from '../../src/driver/index.ts';
import type { Link } from '../../src/kernel/index.ts';
import { Announcer } from './announcer.ts';
import { addHostRoutes, ensureHostSide, hostAddresses, removeHostRoutes, removeHostSide } from './host-side.ts';
import { truthOption } from './options.ts';
import { ownLinkName, parentLinkOf } from './parent-name.ts';
import { type ParentUser, ParentUsers, ensureParent, releaseParent } from './parent.ts';
import {
  type ParentedKind,
  type ParentedMode,
  type ParentedOptions,
  checkNew,
  parseParented,
  warningOf,
} from './parented-options.ts';
import { observeParented, restoreParented } from './parented-restore.ts';
import { addSublink, attach, detach, findSublink, refused, removeSublink } from './sublink.ts';
import { checkPools, waysOf } from './ways.ts';
import type { LinkParts } from './parts.ts';

export function createParentedDriver(kind: ParentedKind, parts: LinkParts, users: ParentUsers): Driver {
  const announcer = new Announcer(parts);
  const ofKind = { kind: kind.name };
  const { host } = parts;

  const userOf = (net: DriverNetwork, { parent, mode }: ParentedOptions): ParentUser => ({
    id: net.id,
    name: net.name,
    driver: kind.name,
    parent: parent.name,
    isAlone: mode.isAlone,
  });

  /** Links have other names beside their own (ip link property add … altname): by whichever, it is one parent. */
  async function newUserOf(net: DriverNetwork, options: ParentedOptions): Promise<ParentUser> {
    const user = userOf(net, options);
    return { ...user, parent: (await host.rtnl().link.find({ name: user.parent }))?.name ?? user.parent };
  }

  /** Makes one link and deletes it: what the parent refuses is known before anybody waits for a container. */
  async function tryOut(net: DriverNetwork, parent: Link, mode: ParentedMode): Promise<void> {
    const name = ownLinkName(kind.name, 'probe', net.id);
    const remove = async (): Promise<void> => {
      const link = await findSublink(parts, kind.name, host, name);
      if (link !== undefined) await removeSublink(host, link);
    };
    await undoable(async (undo) => {
      undo.add('remove probe', remove);
      await addSublink(parts, parent, mode, { name }).catch((error: unknown) => {
        throw refused(error, parent, mode);
      });
      await remove();
    });
  }

  /** What a creation begins with; whoever calls it again has claimed the parent already. */
  async function prepareParent(net: DriverNetwork): Promise<void> {
    const options = parseParented(kind, net);
    users.claim(await newUserOf(net, options));
    await ensureParent(parts, users, options.parent);
  }

  async function createNetwork(net: DriverNetwork): Promise<{ state: Json }> {
    const options = parseParented(kind, net);
    checkPools(net);
    if (options.hostAccess) hostAddresses(net);
    const user = await newUserOf(net, options);
    return undoable(async (undo) => {
      users.claim(user);
      undo.add('forget network', () => users.forget(net.id));
      // Registered first: what is half-made is found by its name and our mark.
      undo.add('release parent', () => releaseParent(parts, users, user));
      const parent = await ensureParent(parts, users, options.parent);
      await tryOut(net, parent, options.mode);
      users.settle(net.id, parent);
      if (options.hostAccess) {
        undo.add('remove host side', () => removeHostSide(parts, net, options.mode));
        await ensureHostSide(parts, net, parent, options.mode, []);
      }
      return { state: { parent: parent.name } };
    });
  }

  async function deleteNetwork(net: DriverNetwork): Promise<void> {
    await removeHostSide(parts, net, ofKind);
    await releaseParent(parts, users, { id: net.id, parent: parentLinkOf(kind.name, net) });
  }

  async function parentOf(net: DriverNetwork, { parent }: ParentedOptions): Promise<Link> {
    const link = await host.rtnl().link.find({ name: parent.name });
    if (link !== undefined) return link;
    throw new CnmError(
      'parent_gone',
      `the requested parent interface ${parent.name} was not found on this host: bring it back, and network ${net.name} goes on`,
    );
  }

  async function join(net: DriverNetwork, ep: DriverEndpoint, at: JoinPlace): Promise<JoinResult> {
    const options = parseParented(kind, net);
    parseEndpointSysctls(ep.options, at.ifname);
    const ways = waysOf(net, ep, options);
    const parent = await parentOf(net, options);
    const link = await undoable(async (undo) => {
      undo.add('detach', () => unplug(net, ep, at));
      const made = await attach(parts, parent, options.mode, ep, at);
      if (options.hostAccess) await addHostRoutes(parts, net, options.mode, ep);
      return made;
    });
    if (at.isBare !== true && !options.mode.isLayer3) await announcer.start(ep, at, options.advertise, link);
    return {
      link: { name: at.ifname, at: 'sandbox' },
      ...ways,
      routes: [],
      suppressDefaultGateway: false,
      publish: [],
      state: ep.state,
    };
  }

  async function unplug(net: DriverNetwork, ep: DriverEndpoint, at?: JoinPlace): Promise<void> {
    if (net.options[labels.hostAccess] !== undefined) await removeHostRoutes(parts, net, ofKind, ep);
    // The link goes with a namespace that is gone.
    if (at !== undefined) await detach(parts, kind.name, ep, at);
  }

  /** An engine gives its link back when it is done with it, under the name that it had. */
  async function deleteEndpoint(net: DriverNetwork, ep: DriverEndpoint): Promise<void> {
    await unplug(net, ep);
    const link = await findSublink(parts, kind.name, host, bareLinkName(ep.id));
    if (link !== undefined) await removeSublink(host, link);
  }

  /** Options that were taken once and are not any more, by a newer version, are a problem of the one network, which can still be deleted. */
  function noted({ net }: RestoreNetwork): ParentedOptions | RestoreReport {
    try {
      const options = parseParented(kind, net);
      users.note(userOf(net, options));
      return options;
    } catch (error) {
      return { id: net.id, state: net.state, rules: [], problem: messageOf(error) };
    }
  }

  return {
    name: kind.name,
    capabilities: {
      scope: 'local',
      connectivity: 'global',
      addressing: 'ipam',
      sandbox: 'own',
      singleton: false,
      usesParent: true,
      ownMac: kind.ownMac,
    },
    validateNetwork: (net) => checkNew(kind, net),
    // The gateway is a router on the wire: there is none unless it is named.
    skipGwAlloc: async () => ({ v4: true, v6: true }),
    warning: (net) => warningOf(parseParented(kind, net)),
    auxAddresses: (options) => (truthOption(options, labels.hostAccess, false) ? [labels.auxHost] : []),
    prepareParent: (_ctx, net) => prepareParent(net),
    createNetwork: (_ctx, net) => createNetwork(net),
    deleteNetwork: (_ctx, net) => deleteNetwork(net),
    async createEndpoint(_ctx, net, ep) {
      parseEndpointSysctls(ep.options, 'IFNAME');
      const { parent, mode } = parseParented(kind, net);
      const { mac: _asked, ...addresses } = ep.iface;
      const below = mode.isPassthru ? await host.rtnl().link.find({ name: parent.name }) : undefined;
      const mac = kind.chooseMac(ep, mode, below);
      return { iface: { ...addresses, ...(mac && { mac }) }, state: null };
    },
    deleteEndpoint: (_ctx, net, ep) => deleteEndpoint(net, ep),
    join: (_ctx, net, ep, at) => join(net, ep, at),
    async leave(_ctx, net, ep, at) {
      announcer.stop(ep.id);
      await unplug(net, ep, at);
      return {};
    },
    restorer: {
      remakesMoved: true,
      linksOf: ({ net }) => [
        parentLinkOf(kind.name, net),
        ownLinkName(kind.name, 'host', net.id),
        // A VLAN of ours may have been named by another name that it has.
        ...parentIn(net.state),
      ],
      observe: (desired) => observeParented(parts, users, kind, desired),
      async restore(_ctx, desired) {
        // All first: a VLAN that one of them lets go may be another one's.
        const all = desired.map((wish) => ({ wish, options: noted(wish) }));
        const reports: RestoreReport[] = [];
        for (const { wish, options } of all)
          reports.push('rules' in options ? options : await restoreParented(parts, users, wish, options));
        return reports;
      },
    },
  };
}

const parentIn = (state: Json): string[] =>
  state !== null && typeof state === 'object' && 'parent' in state && typeof state.parent === 'string' ? [state.parent] : [];
