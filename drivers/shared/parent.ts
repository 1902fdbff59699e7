/** The parent link of networks of macvlan and ipvlan: the user's, or a VLAN or a dummy that goes with the last network on it. */

import { type NetworkId, CnmError, KeyedLock, errnoOf, undoable } from '../../src/base/index.ts';
import { type Link, type LinkSpec, kernelLacks } from '../../src/kernel/index.ts';
import { retireHostLink } from './host-link.ts';
import { type ParentName, type SublinkKind, parseVlan } from './parent-name.ts';
import type { LinkParts } from './parts.ts';

/** A network and its claim to a parent. */
export interface ParentUser {
  readonly id: NetworkId;
  /** Name of the network. */
  readonly name: string;
  readonly driver: SublinkKind;
  readonly parent: string;
  /** It takes no other network of its driver beside it. */
  readonly isAlone: boolean;
}

/** Who uses which parent, of all drivers that share it: a VLAN is deleted with the last of them. */
export class ParentUsers {
  readonly #users = new Map<NetworkId, ParentUser>();
  /** Keys: names of parents. */
  readonly locks = new KeyedLock();

  /** Throws parent_in_use when another network keeps this one out, or the other way round. */
  claim(user: ParentUser): void {
    const [clash] = this.#others(user).flatMap((other) => {
      const why = whyNotBoth(user, other);
      return why === undefined ? [] : [{ other, why }];
    });
    if (clash !== undefined) {
      const { other, why } = clash;
      throw new CnmError(
        'parent_in_use',
        `cannot create network ${user.name}: network ${other.name} is already using parent interface ${user.parent}, and ${why}`,
      );
    }
    this.note(user);
  }

  /** For what is there already: claims nothing anew. */
  note(user: ParentUser): void {
    this.#users.set(user.id, user);
  }

  forget(id: NetworkId): void {
    this.#users.delete(id);
  }

  isSharedBy(user: ParentUser): boolean {
    return this.#others(user).length > 0;
  }

  #others({ id, parent }: ParentUser): ParentUser[] {
    return [...this.#users.values()].filter((other) => other.id !== id && other.parent === parent);
  }
}

/** Why two networks cannot be on one parent, if they cannot. */
function whyNotBoth(user: ParentUser, other: ParentUser): string | undefined {
  // The kernel would tell only when both have a link on it (EBUSY), which is a join, long after both were made.
  if (user.driver !== other.driver)
    return `it is of driver ${other.driver}: a parent takes links of macvlan or of ipvlan, not both; use another parent, or a VLAN of it`;
  if (!user.isAlone && !other.isAlone) return undefined;
  return user.driver === 'ipvlan' ? 'an ipvlan network has its parent for itself' : 'mode passthru has its parent for itself';
}

/** Kinds of bridges and the like, whose ports have no room for links on top: the kernel answers EBUSY. */
const FULL_MASTERS = ['bridge', 'bond', 'team', 'openvswitch'];

/** The parent's link; a VLAN or a dummy is made when it is not there. Throws bad_option, parent_in_use, kernel_lacks. */
export async function ensureParent(parts: LinkParts, users: ParentUsers, parent: ParentName): Promise<Link> {
  return users.locks.run(parent.name, async () => {
    const rtnl = parts.host.rtnl();
    const found = await rtnl.link.find({ name: parent.name });
    if (found === undefined) return makeParent(parts, parent);
    const master = found.master === undefined ? undefined : await rtnl.link.find({ index: found.master });
    if (master !== undefined && FULL_MASTERS.includes(master.kind)) {
      throw new CnmError(
        'parent_in_use',
        `parent ${parent.name} is a port of ${master.kind} ${master.name}: give -o parent=${master.name} instead`,
      );
    }
    // One that is ours and was set down; the user's own is left as it is.
    if (found.group === parts.mark.liveGroup && !found.up)
      await rtnl.batch([{ op: 'link.set', at: { index: found.index }, change: { up: true } }]);
    return found;
  });
}

async function makeParent(parts: LinkParts, parent: ParentName): Promise<Link> {
  const rtnl = parts.host.rtnl();
  const common = { name: parent.name, group: parts.mark.liveGroup };
  const spec: LinkSpec = parent.isDummy ? { kind: 'dummy', ...common } : await vlanSpec(parts, common);
  return undoable(async (undo) => {
    undo.add('release parent', () => retireHostLink(parts, parent.name));
    try {
      await rtnl.batch([{ op: 'link.add', spec }]);
      await rtnl.batch([{ op: 'link.set', at: { name: parent.name }, change: { up: true } }]);
    } catch (error) {
      throw unmade(parent.name, spec, error);
    }
    return rtnl.link.get({ name: parent.name });
  });
}

async function vlanSpec(parts: LinkParts, common: { readonly name: string; readonly group: number }): Promise<LinkSpec> {
  const links = (await parts.host.rtnl().link.list()).filter((link) => link.name !== 'lo' && link.group !== parts.mark.deadGroup);
  const vlan = parseVlan(
    common.name,
    links.map((link) => link.name),
  );
  const base = links.find((link) => link.name === vlan.base);
  return { kind: 'vlan', ...common, ...(base && { parent: base.index }), vlan: { id: vlan.id } };
}

function unmade(name: string, { kind }: LinkSpec, error: unknown): unknown {
  const [base = ''] = name.split('.');
  switch (errnoOf(error)) {
    case 'EOPNOTSUPP':
      return kernelLacks(kind);
    case 'EEXIST':
      return new CnmError('bad_option', `the VLAN of ${name} is there under another name: give that name as parent`, {
        cause: error,
      });
    case 'ENETDOWN':
      return new CnmError('bad_option', `${base} is down, and with it its VLANs: ip link set ${base} up`, { cause: error });
    default:
      return error;
  }
}

/** Deletes a parent of our own making when nobody else uses it. */
export async function releaseParent(parts: LinkParts, users: ParentUsers, user: ParentUser): Promise<void> {
  await users.locks.run(user.parent, async () => {
    if (!users.isSharedBy(user)) await retireHostLink(parts, user.parent);
  });
}
