/**
 * What a sandbox has lost of ours inside: addresses, default routes, loopback, the resolver's redirect, files. What somebody inside has
 * added, or put in the place of ours, is his.
 */

import { existsSync } from 'node:fs';
import { type EndpointId, type IpFamily, type Prefix, familyOf, prefixAddress } from '../base/index.ts';
import { isIPv6Off } from '../driver/index.ts';
import { Inside, type Netns } from '../kernel/index.ts';
import { electAmong } from './attachment.ts';
import type { Cnm } from './context.ts';
import { filesOf } from './files.ts';
import type { EndpointRecord, SandboxRecord } from './records.ts';
import { joinedOf } from './restore.ts';
import { givesRoute } from './steps/gateway.ts';
import { leadsToResolver } from './steps/loopback.ts';
import { redirectIn } from './steps/resolver.ts';

export interface Losses {
  /** Endpoints whose address is nowhere in the sandbox; not for IPv6 where somebody inside has switched that off. */
  readonly endpoints: readonly EndpointRecord[];
  /** What else is gone, in words. */
  readonly things: readonly string[];
  /** A process inside keeps the resolver's redirect from being laid. */
  readonly isBarred: boolean;
}

/** Some 0.1 ms a sandbox, whatever lies inside. */
export function lossesOf(cnm: Cnm, sandbox: SandboxRecord, netns: Netns): Losses {
  const joined = joinedOf(cnm, sandbox);
  const things = missingFiles(cnm, sandbox) ? ['files'] : [];
  if (sandbox.mode !== 'own') return { endpoints: [], things, isBarred: false };
  const redirect = sandbox.resolver === undefined ? 'laid' : redirectIn(netns, cnm.mark.tag);
  if (redirect === 'gone') things.push('redirect');
  const isBarred = redirect === 'owned';
  if (joined.length === 0) return { endpoints: [], things, isBarred };
  using inside = new Inside(netns);
  if (sandbox.resolver !== undefined && !leadsToResolver(inside)) things.push('loopback');
  const isGone = (prefix: Prefix | undefined): boolean => prefix !== undefined && !inside.hasAddress(prefixAddress(prefix));
  const endpoints = joined.filter(({ v4, v6, linkLocal, join }) => {
    // A link-local address of IPv6 says nothing without its link.
    if ([v4, ...linkLocal.filter((prefix) => familyOf(prefix) === 4)].some(isGone)) return true;
    return isGone(v6) && !isIPv6Off(netns, join?.ifname ?? '');
  });
  const { v4, v6 } = electAmong(cnm, joined);
  const lacksRoute = (id: EndpointId | undefined, family: IpFamily): boolean => {
    const join = joined.find((ep) => ep.id === id)?.join;
    if (join === undefined || !givesRoute(join, family) || inside.leadsOut(family)) return false;
    return family === 4 || !isIPv6Off(netns, join.ifname);
  };
  if (lacksRoute(v4, 4) || lacksRoute(v6, 6)) things.push('default route');
  return { endpoints, things, isBarred };
}

function missingFiles(cnm: Cnm, sandbox: SandboxRecord): boolean {
  const { hosts, resolvConf, hostname } = filesOf(cnm, sandbox);
  return ![hosts, resolvConf, hostname].every((path) => existsSync(path));
}
