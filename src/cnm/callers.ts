/**
 * Who asks, and which namespaces and processes of this host he may name. A member of the socket's group can use what is
 * ours; he gets no power over the host by it.
 */

import { isAbsolute } from 'node:path';
import { CnmError, quoted } from '../base/index.ts';
import { labels } from '../driver/index.ts';
import { type Netns, netnsOwner, openNetns, processUids } from '../kernel/index.ts';
import { type Cnm, driverOf } from './context.ts';
import { overlappedRoute } from './exclusions.ts';
import type { NetworkRecord } from './records.ts';

/** Root here, or the embedding program; a user of this host; somebody on another host. */
export type Caller = 'trusted' | { readonly uid: number } | 'remote';

/** A namespace to be adopted, opened once: what the path leads to later does not matter. Throws bad_netns. */
export function openForCaller(path: string, caller: Caller): Netns {
  if (caller === 'remote') throw new CnmError('bad_netns', 'a namespace can be named only by callers on the same host');
  if (!isAbsolute(path)) throw new CnmError('bad_netns', `namespace ${quoted(path)}: use an absolute path`);
  return caller === 'trusted' ? openNetns(path) : openForUser(path, caller.uid);
}

/**
 * Any other path would be looked up with our rights: it could tell what lies where, or lead to a file system that never
 * answers. The owner's rule is the kernel's own (user_namespaces(7)): he may enter what his user namespaces own.
 */
function openForUser(path: string, uid: number): Netns {
  const refusal = (): CnmError =>
    new CnmError(
      'bad_netns',
      `namespace ${quoted(path)}: without root, use /proc/PID/ns/net of a network namespace that user ${uid} owns`,
    );
  if (!/^\/proc\/[1-9]\d{0,9}\/ns\/net$/.test(path)) throw refusal();
  let netns: Netns;
  try {
    netns = openNetns(path);
  } catch {
    throw refusal();
  }
  if (netnsOwner(netns) === uid) return netns;
  netns[Symbol.dispose]();
  throw refusal();
}

/** Throws bad_process for a process that is not the caller's: a sandbox's end by force ends it. */
export function checkProcessOwner(pid: number, caller: Caller): void {
  if (caller === 'trusted') return;
  if (caller === 'remote') throw new CnmError('bad_process', 'a process can be named only by callers on the same host');
  if (processUids(pid)?.every((uid) => uid === caller.uid) !== true)
    throw new CnmError('bad_process', `process ${pid} is not a process of user ${caller.uid}`);
}

/**
 * What a network would do to links and routes of the host is for root: an adopted bridge loses addresses, a parent takes its
 * users onto the wire, and a subnet that the host reaches elsewhere leads into the network from then on. Throws not_permitted.
 */
export async function checkHostOptions(cnm: Cnm, net: NetworkRecord, caller: Caller): Promise<void> {
  if (caller === 'trusted') return;
  const parent = driverOf(cnm, net).capabilities.usesParent === true ? net.options[labels.parent] : undefined;
  if (parent)
    throw new CnmError('not_permitted', `parent ${quoted(parent)} is the host's: without root, leave out the option parent`);
  // What a plugin does with options and links of the host is known to nobody but it.
  const usesIpam = driverOf(cnm, net).capabilities.addressing === 'ipam';
  if (cnm.drivers.isForeign(net.driver) || (usesIpam && cnm.ipams.isForeign(net.ipam.driver)))
    throw new CnmError('not_permitted', 'a network of a plugin is made by root: without root, use a driver of our own');
  const name = net.options[labels.bridgeName];
  const link = name === undefined ? undefined : await cnm.host.rtnl().link.find({ name });
  if (link !== undefined && link.group !== cnm.mark.liveGroup)
    throw new CnmError('not_permitted', `bridge ${quoted(link.name)} is the host's: without root, use a name that no link has`);
  for (const { subnet } of net.ipam.config) {
    const overlapped = subnet === undefined ? undefined : await overlappedRoute(cnm, subnet);
    if (overlapped !== undefined)
      throw new CnmError('not_permitted', `subnet ${subnet} overlaps ${overlapped} of the host: without root, use another one`);
  }
}

/** Whether `netns` is that of the host's first process. Not to be opened means that it cannot be named either. */
export function isHostsOwn(netns: Netns): boolean {
  try {
    using first = openNetns('/proc/1/ns/net');
    return first.identity === netns.identity;
  } catch {
    return false;
  }
}
