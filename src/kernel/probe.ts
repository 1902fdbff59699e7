/** What this kernel can do, found by doing it in a namespace that is thrown away. */

import { CnmError, errnoOf } from '../base/index.ts';
import { attribute, text, u32be } from './attributes.ts';
import type { LinkKind, LinkSpec, Netns, Rtnl } from './contract.ts';
import * as libc from './libc.ts';
import { isRefusal, NETLINK_NETFILTER, NetlinkSocket } from './netlink.ts';
import { temporaryNetns } from './netns.ts';
import { installResolverRedirect } from './nft.ts';

type KernelFeature = LinkKind | 'nf_tables' | 'conntrack' | 'xt';

const MODULES: Readonly<Record<KernelFeature, string>> = {
  veth: 'veth',
  bridge: 'bridge',
  macvlan: 'macvlan',
  ipvlan: 'ipvlan',
  vxlan: 'vxlan',
  vlan: '8021q',
  dummy: 'dummy',
  wireguard: 'wireguard',
  nf_tables: 'nf_tables with nft_limit',
  conntrack: 'nf_conntrack_netlink',
  xt: 'nft_compat or ip_tables',
};

type KernelFeatures = Readonly<Record<KernelFeature, boolean>>;

/** Lower link of the kinds that need one: half of a veth. */
const LOWER = 10;

const KINDS: readonly LinkSpec[] = [
  { kind: 'bridge', name: 'probe-bridge' },
  { kind: 'macvlan', name: 'probe-macvlan', parent: LOWER },
  { kind: 'ipvlan', name: 'probe-ipvlan', parent: LOWER },
  { kind: 'vlan', name: 'probe-vlan', parent: LOWER, vlan: { id: 2 } },
  { kind: 'vxlan', name: 'probe-vxlan', vxlan: { vni: 2 } },
  { kind: 'dummy', name: 'probe-dummy' },
  { kind: 'wireguard', name: 'probe-wg' },
];

/** What the kernel answers for what it does not have. */
const LACKING = ['EOPNOTSUPP', 'ENOTSUPP', 'EPROTONOSUPPORT', 'EAFNOSUPPORT', 'ENOPROTOOPT', 'ENODEV', 'ENOENT', 'EINVAL'];

async function linkWorks(rtnl: Rtnl, spec: LinkSpec, keep = false): Promise<boolean> {
  try {
    await rtnl.batch([{ op: 'link.add', spec }]);
    // Removed at once: a lower link takes macvlans or ipvlans, not both.
    if (!keep) await rtnl.batchOffThread([{ op: 'link.remove', at: { name: spec.name } }]);
    return true;
  } catch (error) {
    if (LACKING.includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

function nftWorks(netns: Netns): boolean {
  try {
    installResolverRedirect(netns, { table: 'probe', udp: 1, tcp: 1 });
    return true;
  } catch (error) {
    if (error instanceof CnmError && error.code === 'kernel_lacks') return false;
    throw error;
  }
}

const AF_INET = 2;
const nfgenmsg = Buffer.from([AF_INET, 0, 0, 0]);

/** Sends one nfnetlink request; false when nobody handles it. */
function netfilterAnswers(netns: Netns, type: number, ...attributes: readonly Buffer[]): boolean {
  return orLacking(() => {
    using socket = NetlinkSocket.open(netns, NETLINK_NETFILTER);
    return !isRefusal(socket.request({ type, body: Buffer.concat([nfgenmsg, ...attributes]) }, () => true));
  });
}

function orLacking(ask: () => boolean): boolean {
  try {
    return ask();
  } catch (error) {
    if (LACKING.includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

// linux/netfilter/nfnetlink_conntrack.h, nf_tables_compat.h, linux/netfilter_ipv4/ip_tables.h
const IPCTNL_MSG_CT_GET_STATS = (1 << 8) | 5;
const NFNL_MSG_COMPAT_GET = 11 << 8;
const NFTA_COMPAT = { name: 1, revision: 2, type: 3 } as const;
const COMPAT_TARGET = 1;
const IPT_SO_GET_INFO = 64;
const IPT_GETINFO_SIZE = 84;
const IPPROTO_RAW = 255;

/** Extensions of iptables, through nf_tables or in the older tables. */
function xtWorks(netns: Netns): boolean {
  const target = [
    text(NFTA_COMPAT.name, 'DNAT'),
    attribute(NFTA_COMPAT.revision, u32be(0)),
    attribute(NFTA_COMPAT.type, u32be(COMPAT_TARGET)),
  ];
  if (netfilterAnswers(netns, NFNL_MSG_COMPAT_GET, ...target)) return true;
  return orLacking(() => {
    const fd = netns.run(() => libc.socket(libc.AF.inet, libc.SOCK.raw, IPPROTO_RAW));
    try {
      const info = Buffer.alloc(IPT_GETINFO_SIZE);
      info.write('nat');
      return libc.getSocketOption(fd, libc.SOL.ip, IPT_SO_GET_INFO, info).length > 0;
    } finally {
      libc.close(fd);
    }
  });
}

/** Takes some 0.1 s, most of it off this thread. Leaves nothing. */
export async function probeKernel(): Promise<KernelFeatures> {
  using netns = temporaryNetns();
  const rtnl = netns.rtnl();
  const veth = await linkWorks(rtnl, { kind: 'veth', name: 'probe-lower', index: LOWER, peer: { name: 'probe-other' } }, true);
  const kinds: Partial<Record<LinkKind, boolean>> = {};
  for (const spec of KINDS) kinds[spec.kind] = await linkWorks(rtnl, spec);
  return {
    veth,
    bridge: kinds.bridge === true,
    macvlan: kinds.macvlan === true,
    ipvlan: kinds.ipvlan === true,
    vxlan: kinds.vxlan === true,
    vlan: kinds.vlan === true,
    dummy: kinds.dummy === true,
    wireguard: kinds.wireguard === true,
    nf_tables: nftWorks(netns),
    conntrack: netfilterAnswers(netns, IPCTNL_MSG_CT_GET_STATS),
    xt: xtWorks(netns),
  };
}

/** For a link that the kernel has answered EOPNOTSUPP to. */
export const kernelLacks = (kind: LinkKind): CnmError =>
  new CnmError('kernel_lacks', `the kernel lacks ${kind} (module ${MODULES[kind]}): load it by modprobe ${MODULES[kind]}`);

/** Throws kernel_lacks with one sentence that names every missing feature and the module that brings it. */
export async function requireKernel(needed: readonly KernelFeature[]): Promise<void> {
  const has = await probeKernel();
  const missing = needed.filter((feature) => !has[feature]);
  if (missing.length === 0) return;
  const names = missing.map((feature) => `${feature} (module ${MODULES[feature]})`);
  throw new CnmError('kernel_lacks', `the kernel lacks ${names.join(', ')}`);
}
