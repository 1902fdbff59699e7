/** An endpoint's interface inside its sandbox: settings, addresses, up. For drivers that make it there, and for links that are moved. */

import type { Prefix } from '../base/index.ts';
import { type Link, type RtnlOp, readSysctl, writeSysctl } from '../kernel/index.ts';
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

/** Addresses that the interface has lost, with IPv6 that was switched off on it, and its being up. */
export async function restoreInside({ netns, ifname }: JoinPlace, ep: DriverEndpoint, link: Link): Promise<void> {
  const rtnl = netns.rtnl();
  const off = ['net', 'ipv6', 'conf', ifname, 'disable_ipv6'];
  if (ep.iface.v6 !== undefined && readSysctl(netns, off) === '1') writeSysctl(netns, off, '0');
  const present = (await rtnl.address.list({ link: link.index })).map((a) => a.prefix);
  const missing = addressesInside(ep).filter((prefix) => !present.includes(prefix));
  const ops: RtnlOp[] = [
    ...missing.map((prefix) => ({ op: 'address.add', spec: { link: link.index, prefix, noDad: true } }) as const),
    ...(link.up ? [] : [{ op: 'link.set', at: { index: link.index }, change: { up: true } } as const]),
  ];
  if (ops.length > 0) await rtnl.batch(ops);
}
