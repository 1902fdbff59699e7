/** The bridge link of a network: made or adopted, addressed, brought up, taken away (spec 04 §1, §2). */

import {
  type Address,
  type IpFamily,
  CnmError,
  type Mac,
  type Prefix,
  familyOf,
  ignoring,
  isLinkLocal,
  isMulticast,
  linkLocalOf,
  makePrefix,
  prefixAddress,
  prefixContains,
  prefixLength,
  randomMac,
  undoable,
} from '../../src/base/index.ts';
import type { DriverNetwork, DriverParts } from '../../src/driver/index.ts';
import type { BridgeFamily, BridgeIntent, GatewayMode } from '../../src/firewall/index.ts';
import { type Link, type Rtnl, readSysctl, writeSysctl } from '../../src/kernel/index.ts';
import { retireHostLink } from '../shared/host-link.ts';
import type { BridgeOptions } from './options.ts';
import { nameBridgeAgain } from './renamed.ts';

/** What the network's record keeps of it. */
export interface BridgeState {
  readonly bridge: string;
  /** False: adopted, never deleted. */
  readonly created: boolean;
  readonly mac: Mac;
  /** What was changed on a bridge that is not ours, adopted or put in the place of ours, to be taken back when the network goes. */
  readonly adoption?: Adoption;
}

interface Adoption {
  /** Addresses of the network that the bridge did not have. */
  readonly added: readonly Prefix[];
  /** Addresses of its own that contradicted the network's. */
  readonly removed: readonly Prefix[];
  /** The MTU that it had, octets. */
  readonly mtu: number;
  /** The MAC that it had, where it was given that of ours. */
  readonly mac?: Mac;
  /** Settings of it that were changed, with the value before. */
  readonly sysctls?: readonly SysctlBefore[];
}

interface SysctlBefore {
  readonly path: readonly string[];
  readonly value: string;
}

interface SysctlChange {
  readonly path: string[];
  readonly value: string;
  readonly before?: string;
}

const valuesBefore = (changes: readonly SysctlChange[]): SysctlBefore[] =>
  changes.flatMap(({ path, before }) => (before === undefined ? [] : [{ path, value: before }]));

/**
 * What an adoption will change, so that it is recorded before it is changed: a bridge of the user's bears no mark of ours.
 * Undefined where the bridge is to be made.
 */
export async function planAdoption(
  parts: DriverParts,
  net: DriverNetwork,
  options: BridgeOptions,
): Promise<BridgeState | undefined> {
  const rtnl = parts.host.rtnl();
  const found = await rtnl.link.find({ name: options.bridge });
  if (found === undefined || found.kind !== 'bridge') return undefined;
  const change = await addressChange(rtnl, found, net, options, false);
  const sysctls = valuesBefore(sysctlChange(parts, net, options, false));
  const adoption = { ...change, mtu: found.mtu, sysctls };
  return { bridge: options.bridge, created: false, mac: found.mac ?? randomMac(), adoption };
}

/** Makes or adopts the bridge and brings it up; answers its index. Repeatable: what is right already stays. A failure takes back what this call made. */
export async function ensureBridge(
  parts: DriverParts,
  net: DriverNetwork,
  options: BridgeOptions,
  known?: BridgeState,
): Promise<{ state: BridgeState; index: number }> {
  const rtnl = parts.host.rtnl();
  return undoable(async (undo) => {
    if (known !== undefined) await nameBridgeAgain(parts, known);
    const found = await rtnl.link.find({ name: options.bridge });
    if (found !== undefined && found.kind !== 'bridge') {
      throw new CnmError('bad_option', `existing interface ${options.bridge} is not a bridge`);
    }
    const created = known?.created ?? found === undefined;
    const mac = known?.mac ?? found?.mac ?? randomMac();
    // Registered first: what is half-made is found by its name and our mark.
    if (found === undefined) undo.add(`delete bridge ${options.bridge}`, () => retireHostLink(parts, options.bridge));
    const link = found ?? (await makeBridge(parts, options, mac));
    const change = await addressChange(rtnl, link, net, options, created);
    const settings = sysctlChange(parts, net, options, created);
    // Somebody's that stands where ours was: it takes our part, and is his again when the network goes.
    const isOurs = created && link.group === parts.mark.liveGroup;
    const address = created && link.mac !== mac ? { mac } : {};
    const before = !isOurs && created && link.mac !== undefined ? { mac: link.mac } : {};
    const now: Adoption = { ...change, mtu: link.mtu, ...before, sysctls: valuesBefore(settings) };
    if (found !== undefined && !isOurs) undo.add('give bridge back', () => giveBridgeBack(parts, options.bridge, now));
    for (const { path, value } of settings) writeSysctl(parts.host, path, value);
    const adoption = isOurs ? undefined : merged(known?.adoption, now);
    await rtnl.batch([
      ...change.removed.map((prefix) => ({ op: 'address.remove', spec: { link: link.index, prefix } }) as const),
      ...change.added.map((prefix) => ({ op: 'address.add', spec: { link: link.index, prefix, noDad: true } }) as const),
    ]);
    if (needsLinkLocal(created, bridgeAddresses(net, options))) await giveLinkLocal(rtnl, link.index, mac);
    await forwarding(parts, net);
    const mtu = options.mtu !== undefined && options.mtu !== link.mtu ? { mtu: options.mtu } : {};
    // Also of another bridge: the endpoints' neighbour entries have the MAC that the gateway had.
    await rtnl.batch([{ op: 'link.set', at: { index: link.index }, change: { up: true, ...mtu, ...address } }]);
    return { state: { bridge: options.bridge, created, mac, ...(adoption && { adoption }) }, index: link.index };
  });
}

/** What a first adoption changed stays true when a start changes something again. */
function merged(known: Adoption | undefined, now: Adoption): Adoption {
  if (known === undefined) return now;
  const both = (a: readonly Prefix[], b: readonly Prefix[]): Prefix[] => [...new Set([...a, ...b])];
  const before = [...(known.sysctls ?? []), ...(now.sysctls ?? [])];
  const sysctls = before.filter((one, i) => before.findIndex((other) => other.path.join() === one.path.join()) === i);
  const mac = known.mac && { mac: known.mac };
  return { added: both(known.added, now.added), removed: both(known.removed, now.removed), mtu: known.mtu, ...mac, sysctls };
}

async function makeBridge(parts: DriverParts, options: BridgeOptions, mac: Mac): Promise<Link> {
  const rtnl = parts.host.rtnl();
  // A fixed MAC: the kernel would otherwise take the lowest of the ports', and change it with them. It does that with the MTU
  // too, until that is changed: hence it comes later.
  const spec = { kind: 'bridge', name: options.bridge, mac, group: parts.mark.liveGroup } as const;
  await rtnl.batch([{ op: 'link.add', spec }]);
  return rtnl.link.get({ name: options.bridge });
}

/** Takes back what an adoption changed; a bridge that is gone is fine. */
export async function giveBridgeBack(
  parts: DriverParts,
  bridge: string,
  { added, removed, mtu, mac, sysctls = [] }: Adoption,
): Promise<void> {
  const rtnl = parts.host.rtnl();
  const link = await rtnl.link.find({ name: bridge });
  if (link === undefined) return;
  // First: IPv6 addresses are refused while IPv6 is off.
  for (const { path, value } of sysctls) writeSysctl(parts.host, path, value, { optional: true });
  const present = (await rtnl.address.list({ link: link.index })).map((a) => a.prefix);
  await rtnl.batch([
    ...added
      .filter((prefix) => present.includes(prefix))
      .map((prefix) => ({ op: 'address.remove', spec: { link: link.index, prefix } }) as const),
    ...removed
      .filter((prefix) => !present.includes(prefix))
      .map((prefix) => ({ op: 'address.add', spec: { link: link.index, prefix, noDad: true } }) as const),
    ...(link.mtu === mtu ? [] : [{ op: 'link.set', at: { index: link.index }, change: { mtu } } as const]),
    ...(mac === undefined || link.mac === mac ? [] : [{ op: 'link.set', at: { index: link.index }, change: { mac } } as const]),
  ]);
}

/** Settings of the bridge that are not as the network needs them. */
function sysctlChange(parts: DriverParts, net: DriverNetwork, options: BridgeOptions, created: boolean): SysctlChange[] {
  const { host } = parts;
  const conf = (family: string, key: string): string[] => ['net', family, 'conf', options.bridge, key];
  const wantsIPv6 = net.enableIPv6 && options.mode6 !== 'isolated';
  const hasIPv6 = readSysctl(host, conf('ipv6', 'accept_ra')) !== undefined;
  if (!hasIPv6 && net.enableIPv6) throw new CnmError('kernel_lacks', 'this host has no IPv6: make the network without it');
  const wanted: (readonly [path: string[], value: string])[] = [
    ...(hasIPv6 && created ? [[conf('ipv6', 'accept_ra'), '0'] as const] : []),
    // Switching it off takes all IPv6 addresses away, which on an adopted bridge are not ours.
    ...(hasIPv6 && (wantsIPv6 || created) ? [[conf('ipv6', 'disable_ipv6'), wantsIPv6 ? '0' : '1'] as const] : []),
    // Published ports on 127.0.0.1 are translated to the endpoint: the kernel drops such packets otherwise.
    ...(net.enableIPv4 ? [[conf('ipv4', 'route_localnet'), '1'] as const] : []),
  ];
  return wanted.flatMap(([path, value]) => {
    const before = readSysctl(host, path);
    return before === value ? [] : [{ path, value, ...(before !== undefined && { before }) }];
  });
}

/**
 * A link that forwards no longer takes router advertisements where accept_ra is 1 (Documentation/networking/ip-sysctl.rst):
 * the host would lose its own IPv6 default route. 2 takes them all the same.
 */
async function keepRouterAdvertisements({ host, env }: DriverParts): Promise<void> {
  for (const { name } of await host.rtnl().link.list()) {
    const path = ['net', 'ipv6', 'conf', name, 'accept_ra'];
    if (readSysctl(host, path) !== '1') continue;
    writeSysctl(host, path, '2');
    env.log.info({ link: name }, 'IPv6 routing is switched on: the link goes on taking router advertisements (accept_ra 2)');
  }
}

/** By family; without them nothing passes. */
const FORWARDING: Readonly<Record<IpFamily, readonly string[][]>> = {
  4: [['net', 'ipv4', 'ip_forward']],
  6: [
    ['net', 'ipv6', 'conf', 'default', 'forwarding'],
    ['net', 'ipv6', 'conf', 'all', 'forwarding'],
  ],
};

/** Whether the host, and a network's bridge, pass packets as the network needs it; somebody may have changed that. The host is looked at once. */
export function packetsPass({ host }: DriverParts): (net: DriverNetwork, bridge: string) => boolean {
  const isOn = (path: readonly string[]): boolean => readSysctl(host, path) === '1';
  const forwards = { 4: FORWARDING[4].every(isOn), 6: FORWARDING[6].every(isOn) };
  return (net, bridge) =>
    (!net.enableIPv4 || (forwards[4] && isOn(['net', 'ipv4', 'conf', bridge, 'route_localnet']))) &&
    (!net.enableIPv6 || forwards[6]);
}

/** Routing between bridges and the outside, host-wide as the reference sets it; never switched off again, others may need it. */
async function forwarding(parts: DriverParts, net: DriverNetwork): Promise<void> {
  const { host, firewall } = parts;
  for (const family of [4, 6] as const) {
    if (!(family === 4 ? net.enableIPv4 : net.enableIPv6)) continue;
    const missing = FORWARDING[family].filter((path) => readSysctl(host, path) !== '1');
    if (missing.length === 0) continue;
    await firewall.closeForward(family);
    if (family === 6) await keepRouterAdvertisements(parts);
    for (const path of missing) writeSysctl(host, path, '1');
  }
}

/** The bridge's own addresses: gateway of each family that has one. */
export function bridgeAddresses(net: DriverNetwork, options: BridgeOptions): Prefix[] {
  const own = (pools: DriverNetwork['v4'], absent: boolean): Prefix[] =>
    absent
      ? []
      : pools.flatMap((pool) => (pool.gateway === undefined ? [] : makePrefix(pool.gateway, prefixLength(pool.prefix))));
  return [...own(net.v4, options.inhibitIPv4 || options.mode4 === 'isolated'), ...own(net.v6, options.mode6 === 'isolated')];
}

/** Addresses to add, and those to take off: an adopted bridge keeps its own unless they contradict ours (spec 04 "Adopted bridge"). */
async function addressChange(
  rtnl: Rtnl,
  link: Link,
  net: DriverNetwork,
  options: BridgeOptions,
  created: boolean,
): Promise<{ added: Prefix[]; removed: Prefix[] }> {
  const wanted = bridgeAddresses(net, options);
  const present = (await rtnl.address.list({ link: link.index })).map((a) => a.prefix);
  return {
    added: wanted.filter((prefix) => !present.includes(prefix)),
    removed: created ? [] : present.filter((prefix) => !wanted.includes(prefix) && contradicts(net, prefix)),
  };
}

/**
 * The host asks for IPv6 neighbours from its link-local address alone, also where it only forwards. The kernel gives a link one,
 * but uses it only after a second or two (DAD), and gives it no other when that is lost. An adopted bridge is left to the kernel.
 */
async function giveLinkLocal(rtnl: Rtnl, link: number, mac: Mac): Promise<void> {
  if ((await rtnl.address.list({ link })).some(({ prefix }) => isLinkLocal6(prefix))) return;
  const spec = { link, prefix: linkLocalOf(mac), noDad: true };
  // The kernel may be quicker.
  await ignoring(['EEXIST'], () => rtnl.batch([{ op: 'address.add', spec }]));
}

/** Whether the bridge is one that giveLinkLocal is for. */
export const needsLinkLocal = (created: boolean, own: readonly Prefix[]): boolean =>
  created && own.some((prefix) => familyOf(prefix) === 6);

export const isLinkLocal6 = (prefix: Prefix): boolean => familyOf(prefix) === 6 && isLinkLocal(prefixAddress(prefix));

function contradicts(net: DriverNetwork, prefix: Prefix): boolean {
  const address: Address = prefixAddress(prefix);
  if (isLinkLocal(address) || isMulticast(address)) return false;
  return [...net.v4, ...net.v6].some((pool) => prefixContains(pool.prefix, address));
}

/** The network's whole wish of the packet filter. */
export function bridgeIntent(net: DriverNetwork, options: BridgeOptions): BridgeIntent {
  const family = (pools: DriverNetwork['v4'], mode: GatewayMode, snatTo: Address | undefined): BridgeFamily | undefined => {
    const [pool] = pools;
    if (pool === undefined) return undefined;
    return {
      subnet: pool.prefix,
      ...(pool.gateway && { gateway: pool.gateway }),
      mode,
      masquerade: options.masquerade && mode !== 'routed' && mode !== 'isolated',
      ...(snatTo && { snatTo }),
    };
  };
  const v4 = family(net.v4, options.mode4, options.snat4);
  const v6 = family(net.v6, options.mode6, options.snat6);
  return {
    kind: 'bridge',
    bridge: options.bridge,
    internal: net.internal,
    icc: options.icc,
    ...(v4 && { v4 }),
    ...(v6 && { v6 }),
    trustedInterfaces: options.trustedInterfaces,
  };
}
