/** What an automatic subnet must not hit on this host (spec 09 P7). */

import { readFileSync } from 'node:fs';
import { type Address, type Prefix, BITS, familyOf, makePrefix, prefixesOverlap, tryAddress } from '../base/index.ts';
import type { Cnm } from './context.ts';

export interface Exclusion {
  readonly prefix: Prefix;
  /** For messages, such as `route 10.0.0.0/8 dev eth0`. */
  readonly reason: string;
}

/** Routes of the host that lead straight to a link (not those via a gateway), and its IPv4 nameservers. Read afresh on every call. */
export async function hostExclusions(cnm: Cnm, family: 4 | 6): Promise<Exclusion[]> {
  const nameservers = hostNameservers()
    .filter((address) => familyOf(address) === family)
    .map((address) => ({ prefix: makePrefix(address, BITS[family]), reason: `nameserver ${address}` }));
  return [...(family === 4 ? await onLinkRoutes(cnm, 4) : []), ...nameservers];
}

/**
 * The host route that a given subnet overlaps, in words; the subnet is taken all the same. Routes over the link `own` do not
 * count: a bridge that is adopted leads there.
 */
export async function overlappedRoute(cnm: Cnm, subnet: Prefix, own?: string): Promise<string | undefined> {
  const routes = await onLinkRoutes(cnm, familyOf(subnet));
  return routes.find(({ prefix, link }) => (own === undefined || link !== own) && prefixesOverlap(prefix, subnet))?.reason;
}

async function onLinkRoutes(cnm: Cnm, family: 4 | 6): Promise<(Exclusion & { readonly link?: string })[]> {
  const rtnl = cnm.host.rtnl();
  const [routes, links] = await Promise.all([rtnl.route.list({ family, table: 254 }), rtnl.link.list()]);
  const names = new Map(links.map((link) => [link.index, link]));
  return routes.flatMap((route) => {
    if (route.destination === undefined || route.gateway !== undefined || route.link === undefined) return [];
    if (family === 4 ? route.scope !== 'link' : /^(fe80|ff00):/.test(route.destination)) return [];
    const link = names.get(route.link)?.name;
    const reason = `route ${route.destination} dev ${link ?? route.link}`;
    return [{ prefix: route.destination, reason, ...(link !== undefined && { link }) }];
  });
}

function hostNameservers(): Address[] {
  let text = '';
  try {
    text = readFileSync('/etc/resolv.conf', 'utf8');
  } catch {
    // No file: nothing to avoid.
  }
  return [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].flatMap((match) => tryAddress(match[1] ?? '') ?? []);
}
