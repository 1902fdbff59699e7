/**
 * The host's own place in a network on a parent (`host_access`). The kernel keeps a parent and its links apart: the host
 * reaches sandboxes, and they it, by a link of its own beside theirs, with an address of the network and a route an endpoint.
 */

import {
  type Mac,
  type Prefix,
  BITS,
  CnmError,
  errnoOf,
  familyOf,
  ignoring,
  makePrefix,
  parseMac,
  prefixAddress,
} from '../../src/base/index.ts';
import { type DriverEndpoint, type DriverNetwork, labels } from '../../src/driver/index.ts';
import { type Link, type RtnlOp, writeSysctl } from '../../src/kernel/index.ts';
import { ownLinkName } from './parent-name.ts';
import { type SublinkMode, addSublink, findSublink, isOn, removeSublink } from './sublink.ts';
import type { LinkParts } from './parts.ts';

const single = (address: Prefix): Prefix => {
  const bare = prefixAddress(address);
  return makePrefix(bare, BITS[familyOf(bare)]);
};

/** The host's addresses in the network. Throws bad_aux_address where a subnet has none for it. */
export function hostAddresses({ v4, v6 }: DriverNetwork): Prefix[] {
  return [...v4, ...v6].map(({ prefix, aux }) => {
    const address = aux[labels.auxHost];
    if (address !== undefined) return makePrefix(address, BITS[familyOf(address)]);
    throw new CnmError(
      'bad_aux_address',
      `${labels.hostAccess} needs an address of the host in ${prefix}: give --aux-address ${labels.auxHost}=ADDRESS`,
    );
  });
}

/** The same for a network's whole life: neighbours go on knowing it when it is made again. */
const macOf = (net: DriverNetwork): Mac => parseMac(['02', ...(net.id.slice(0, 10).match(/../g) ?? [])].join(':'));

const nameOf = (net: DriverNetwork, { kind }: Pick<SublinkMode, 'kind'>): string => ownLinkName(kind, 'host', net.id);

/** Where an endpoint is reached: one route a family. */
const destinationsOf = ({ iface }: DriverEndpoint): Prefix[] =>
  [iface.v4, iface.v6].filter((prefix) => prefix !== undefined).map(single);

const routeTo = (
  destination: Prefix,
  link: number,
): { readonly family: 4 | 6; readonly destination: Prefix; readonly link: number } => ({
  family: familyOf(destination),
  destination,
  link,
});

/** Makes the host's link with its addresses and the routes to `endpoints`, and takes away routes to others. Repeatable. */
export async function ensureHostSide(
  parts: LinkParts,
  net: DriverNetwork,
  parent: Link,
  mode: SublinkMode,
  endpoints: readonly DriverEndpoint[],
): Promise<void> {
  const rtnl = parts.host.rtnl();
  const name = nameOf(net, mode);
  let found = await findSublink(parts, mode.kind, parts.host, name);
  if (found !== undefined && !isOn(parent, found)) {
    await removeSublink(parts.host, found);
    found = undefined;
  }
  if (found === undefined) {
    await addSublink(parts, parent, mode, { name, ...(mode.kind === 'macvlan' && { mac: macOf(net) }) });
    const conf = ['net', 'ipv6', 'conf', name];
    writeSysctl(parts.host, [...conf, 'accept_ra'], '0', { optional: true });
    writeSysctl(parts.host, [...conf, 'disable_ipv6'], net.v6.length > 0 ? '0' : '1', { optional: net.v6.length === 0 });
  }
  const { index, up } = found ?? (await rtnl.link.get({ name }));
  const present = (await rtnl.address.list({ link: index })).map(({ prefix }) => prefix);
  const missing = hostAddresses(net).filter((prefix) => !present.includes(prefix));
  await rtnl.batch([
    ...missing.map((prefix): RtnlOp => ({ op: 'address.add', spec: { link: index, prefix, noDad: true } })),
    ...(up ? [] : [{ op: 'link.set', at: { index }, change: { up: true } } as const]),
  ]);
  await ensureRoutes(parts, index, endpoints.flatMap(destinationsOf), hostAddresses(net));
}

/** Leaves alone what somebody else has laid there. */
async function ensureRoutes(parts: LinkParts, index: number, wanted: readonly Prefix[], own: readonly Prefix[]): Promise<void> {
  const rtnl = parts.host.rtnl();
  const present = (await rtnl.route.list({ link: index, table: MAIN_TABLE })).filter(
    ({ protocol }) => protocol === PROTOCOL_STATIC,
  );
  const routes = present.flatMap(({ destination }) => destination ?? []);
  for (const destination of routes) {
    if (wanted.includes(destination) || own.includes(destination)) continue;
    await ignoring(['ESRCH'], () => rtnl.batch([{ op: 'route.remove', spec: routeTo(destination, index) }]));
  }
  for (const destination of wanted) if (!routes.includes(destination)) await addRoute(parts, destination, index);
}

const MAIN_TABLE = 254;
/** RTPROT_STATIC, as all routes of ours. */
const PROTOCOL_STATIC = 4;

async function addRoute(parts: LinkParts, destination: Prefix, link: number): Promise<void> {
  const rtnl = parts.host.rtnl();
  try {
    await rtnl.batch([{ op: 'route.add', spec: routeTo(destination, link) }]);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    if ((await rtnl.route.list({ destination, link })).length > 0) return;
    throw new CnmError('address_in_use', `the host has another route to ${destination}: remove it, or give another address`, {
      cause: error,
    });
  }
}

/** The routes to one endpoint. */
export async function addHostRoutes(parts: LinkParts, net: DriverNetwork, mode: SublinkMode, ep: DriverEndpoint): Promise<void> {
  const { index } = await parts.host.rtnl().link.get({ name: nameOf(net, mode) });
  for (const destination of destinationsOf(ep)) await addRoute(parts, destination, index);
}

/** What is gone already is fine. */
export async function removeHostRoutes(
  parts: LinkParts,
  net: DriverNetwork,
  mode: Pick<SublinkMode, 'kind'>,
  ep: DriverEndpoint,
): Promise<void> {
  const link = await parts.host.rtnl().link.find({ name: nameOf(net, mode) });
  if (link === undefined) return;
  for (const destination of destinationsOf(ep)) {
    await ignoring(['ESRCH', 'ENODEV'], () =>
      parts.host.rtnl().batch([{ op: 'route.remove', spec: routeTo(destination, link.index) }]),
    );
  }
}

/** Deletes the host's link, and with it addresses and routes. */
export async function removeHostSide(parts: LinkParts, net: DriverNetwork, mode: Pick<SublinkMode, 'kind'>): Promise<void> {
  const link = await findSublink(parts, mode.kind, parts.host, nameOf(net, mode));
  if (link !== undefined) await removeSublink(parts.host, link);
}

/** What is on the host, as one look sees it. */
export interface HostView {
  readonly links: ReadonlyMap<string, Link>;
  /** `INDEX PREFIX`. */
  readonly addresses: ReadonlySet<string>;
  /** `INDEX DESTINATION`. */
  readonly routes: ReadonlySet<string>;
}

/** Whether the host's side is as wished. */
export function hasHostSide(
  view: HostView,
  net: DriverNetwork,
  mode: SublinkMode,
  endpoints: readonly DriverEndpoint[],
): boolean {
  const link = view.links.get(nameOf(net, mode));
  if (link === undefined || !link.up) return false;
  return (
    hostAddresses(net).every((prefix) => view.addresses.has(`${link.index} ${prefix}`)) &&
    endpoints.flatMap(destinationsOf).every((to) => view.routes.has(`${link.index} ${to}`))
  );
}
