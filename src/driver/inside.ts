/** An endpoint's interface inside its sandbox: settings, addresses, up. For drivers that make it there, and for links that are moved. */

import { type Prefix, familyOf } from '../base/index.ts';
import { type Link, type Netns, type RtnlOp, readSysctl, writeSysctl } from '../kernel/index.ts';
import type { DriverEndpoint, JoinPlace } from './contract.ts';
import { applyEndpointSysctls } from './endpoint-sysctls.ts';

/** What the interface is addressed with. */
export const addressesInside = ({ iface, linkLocal }: DriverEndpoint): Prefix[] =>
  [iface.v4, iface.v6, ...linkLocal].filter((prefix) => prefix !== undefined);

/**
 * Makes a link that lies in the sandbox the endpoint's: settings, addresses, up, its own sysctls. `known`: the link's
 * index, where it has been told already.
 */
export async function dress(
  ep: DriverEndpoint,
  at: JoinPlace,
  settings: { readonly acceptRa?: '0' } = {},
  known?: number,
): Promise<void> {
  const sandbox = at.netns.rtnl();
  const index = known ?? (await sandbox.link.get({ name: at.ifname })).index;
  at.netns.run(() => familySysctls(at, ep.iface.v6, settings.acceptRa));
  await sandbox.batch([
    ...addressesInside(ep).map((prefix): RtnlOp => ({ op: 'address.add', spec: { link: index, prefix, noDad: true } })),
    { op: 'link.set', at: { index }, change: { up: true } },
  ]);
  applyEndpointSysctls(at.netns, at.ifname, ep.options);
}

function familySysctls(at: JoinPlace, v6: Prefix | undefined, acceptRa: string | undefined): void {
  const conf = ['net', 'ipv6', 'conf', at.ifname];
  // Absent where the host has no IPv6 at all.
  const optional = v6 === undefined;
  writeSysctl(at.netns, [...conf, 'disable_ipv6'], optional ? '1' : '0', { optional });
  if (acceptRa !== undefined) writeSysctl(at.netns, [...conf, 'accept_ra'], acceptRa, { optional });
}

/**
 * Whether somebody inside has switched IPv6 off on an interface, as who tunnels IPv4 alone does so that nothing goes past the
 * tunnel. It is left off then; the kernel refuses addresses and routes there. False where there is no such interface.
 */
export const isIPv6Off = (netns: Netns, ifname: string): boolean =>
  readSysctl(netns, ['net', 'ipv6', 'conf', ifname, 'disable_ipv6']) === '1';

/** Addresses that the interface has lost, and its being up. */
export async function restoreInside({ netns }: JoinPlace, ep: DriverEndpoint, link: Link): Promise<void> {
  const rtnl = netns.rtnl();
  const present = (await rtnl.address.list({ link: link.index })).map((a) => a.prefix);
  const lost = addressesInside(ep).filter((prefix) => !present.includes(prefix));
  const isOff = lost.some((prefix) => familyOf(prefix) === 6) && isIPv6Off(netns, link.name);
  const missing = isOff ? lost.filter((prefix) => familyOf(prefix) === 4) : lost;
  const ops: RtnlOp[] = [
    ...missing.map((prefix) => ({ op: 'address.add', spec: { link: link.index, prefix, noDad: true } }) as const),
    ...(link.up ? [] : [{ op: 'link.set', at: { index: link.index }, change: { up: true } } as const]),
  ];
  if (ops.length > 0) await rtnl.batch(ops);
}
