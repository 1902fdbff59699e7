/** The parent link of networks of macvlan and ipvlan: the user's, or a VLAN or a dummy that goes with the last network on it. */

import { type NetworkId, CnmError, KeyedLock, errnoOf, undoable } from '../../src/base/index.ts';
import { type Link, type LinkSpec, kernelLacks } from '../../src/kernel/index.ts';
import { type ParentName, type SublinkKind, parseVlan } from './parent-name.ts';
import type { LinkParts } from './parts.ts';
import { removeSublink } from './sublink.ts';

/** A network and its claim to a parent. */
export interface ParentUser {
  readonly id: NetworkId;
  /** Name of the network. */
  readonly name: string;
  readonly driver: SublinkKind;
  /** The link's own name, which may have been given by another one of it; as given where there is none. */
  readonly parent: string;
  /** It takes no other network of its driver beside it. */
  readonly isAlone: boolean;
}

type Claim = Pick<ParentUser, 'id' | 'parent'>;

/** Who uses which parent, of all drivers that share it: a VLAN is deleted with the last of them. */
export class ParentUsers {
  readonly #users = new Map<NetworkId, ParentUser>();
  /** Indexes of the links that networks hang on: another link may come under the name. */
  readonly #links = new Map<NetworkId, number>();
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

  /** The network hangs on this link now. */
  settle(id: NetworkId, { index, name }: Link): void {
    this.#links.set(id, index);
    const user = this.#users.get(id);
    if (user !== undefined) this.#users.set(id, { ...user, parent: name });
  }

  /** Name of the parent that the network has claimed. */
  parentOf({ id, parent }: Claim): string {
    return this.#users.get(id)?.parent ?? parent;
  }

  /** Whether the network hangs on another link than this one. */
  isElsewhere(id: NetworkId, { index }: Link): boolean {
    return (this.#links.get(id) ?? index) !== index;
  }

  forget(id: NetworkId): void {
    this.#users.delete(id);
    this.#links.delete(id);
  }

  isSharedBy(user: Claim): boolean {
    return this.#others(user).length > 0;
  }

  #others({ id, parent }: Claim): ParentUser[] {
    return [...this.#users.values()].filter((other) => other.id !== id && other.parent === parent);
  }
}

/** Why two networks cannot be on one parent, if they cannot. */
function whyNotBoth(user: ParentUser, other: ParentUser): string | undefined {
  // The kernel would tell only when both have a link on it (EBUSY), which is a join, long after both were made.
  if (user.driver !== other.driver)
    return `it is of driver ${other.driver}: a parent takes links of macvlan or of ipvlan, not both; use another parent, or a VLAN of it`;
  if (!user.isAlone && !other.isAlone) return undefined;
  const whose = user.driver === 'ipvlan' ? 'an ipvlan network' : 'mode passthru';
  return `${whose} has its parent for itself; use another parent, or a VLAN of it`;
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
    if (isMade(parts, found) && !found.up)
      await rtnl.batch([{ op: 'link.set', at: { index: found.index }, change: { up: true } }]).catch((error: unknown) => {
        throw unmade(parent.name, { kind: parent.isDummy ? 'dummy' : 'vlan' }, error);
      });
    return found;
  });
}

async function makeParent(parts: LinkParts, parent: ParentName): Promise<Link> {
  const rtnl = parts.host.rtnl();
  const common = { name: parent.name, group: parts.mark.liveGroup };
  const spec: LinkSpec = parent.isDummy ? { kind: 'dummy', ...common } : await vlanSpec(parts, common);
  return undoable(async (undo) => {
    undo.add('release parent', () => removeMade(parts, parent.name));
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

function unmade(name: string, { kind }: Pick<LinkSpec, 'kind'>, error: unknown): unknown {
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

/** Ends a network's claim, and deletes a parent of our own making when nobody else uses it. */
export async function releaseParent(parts: LinkParts, users: ParentUsers, user: Claim): Promise<void> {
  const parent = users.parentOf(user);
  await users.locks.run(parent, async () => {
    if (!users.isSharedBy({ id: user.id, parent })) await removeMade(parts, parent);
    users.forget(user.id);
  });
}

/** Whether a link is of our own making for networks to hang on. A bridge of ours that is named as parent is its own network's. */
export const isMade = ({ mark }: LinkParts, { kind, group }: Pick<Link, 'kind' | 'group'>): boolean =>
  group === mark.liveGroup && (kind === 'vlan' || kind === 'dummy');

/** At once, and not left to the reaper: until then the kernel gives the number of a VLAN to no other. One that is gone is fine. */
async function removeMade(parts: LinkParts, name: string): Promise<void> {
  const link = await parts.host.rtnl().link.find({ name });
  if (link !== undefined && isMade(parts, link)) await removeSublink(parts.host, link);
}
