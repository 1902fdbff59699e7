/**
 * The VXLAN link of a segment. It lies in the network's namespace, while its socket is in the host's. It learns nothing and
 * sends nowhere but where an entry says: see docs/decisions.
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Address, CnmError, errnoOf, ignoring } from '../../src/base/index.ts';
import type { DriverNetwork } from '../../src/driver/index.ts';
import { type Link, type LinkSpec, type Netns, kernelLacks, openNetns } from '../../src/kernel/index.ts';
import type { OverlayParts } from './parts.ts';
import { type Furniture, PIN_PREFIX, type Segment, linkMac, portOf } from './segments.ts';

/** Pause between tries while the kernel clears up a namespace that had the id, milliseconds, and how many there are. */
const CLEARING_MS = 50;
const MAX_TRIES = 40;

/** Made with what is wished now: id, port and own address cannot be changed. */
const isMadeRight = ({ kind, vxlan }: Link, vni: number, port: number, vtep: Address): boolean =>
  kind === 'vxlan' && vxlan?.vni === vni && vxlan.port === port && vxlan.local === vtep && !vxlan.learning;

/** Whether the link is there as it is to be, or is not there where it is not to be. */
export function isTunnelRight(
  link: Link | undefined,
  { vni }: Segment,
  bridge: number,
  port: number,
  vtep: Address | undefined,
): boolean {
  if (link === undefined || vtep === undefined) return link === undefined && vtep === undefined;
  const { up, master, port: settings } = link;
  const isSilent = settings !== undefined && !settings.flood && !settings.learning && settings.neighSuppress;
  return isMadeRight(link, vni, port, vtep) && up && master === bridge && isSilent;
}

/** Makes the link, or makes it right; without an own address there is none. */
export async function ensureTunnel(
  parts: OverlayParts,
  net: DriverNetwork,
  netns: Netns,
  segment: Segment,
  bridge: number,
  { mtu, vtep }: Furniture,
): Promise<void> {
  const rtnl = netns.rtnl();
  const at = { name: segment.tunnel };
  const port = portOf(net);
  const found = await rtnl.link.find(at);
  if (isTunnelRight(found, segment, bridge, port, vtep)) return;
  const isKept = found !== undefined && vtep !== undefined && isMadeRight(found, segment.vni, port, vtep);
  if (found !== undefined && !isKept) await removeTunnel(netns, found);
  if (vtep === undefined) return;
  if (!isKept) {
    await addTunnel(parts, net, segment, {
      kind: 'vxlan',
      name: segment.tunnel,
      mac: linkMac(parts.mark, net.id, segment.tunnel),
      netns,
      group: parts.mark.liveGroup,
      mtu,
      vxlan: { vni: segment.vni, port, local: vtep, learning: false },
    });
  }
  try {
    await rtnl.batch([
      // Before it is up: not one frame is flooded.
      { op: 'link.set', at, change: { master: bridge, learning: false, flood: false, neighSuppress: true } },
      { op: 'link.set', at, change: { up: true } },
    ]);
  } catch (error) {
    if (errnoOf(error) !== 'EADDRINUSE') throw error;
    throw new CnmError('port_taken', `UDP port ${port} of the host is taken: the tunnels of overlay networks need it`, {
      cause: error,
    });
  }
}

const removeTunnel = (netns: Netns, { index }: Link): Promise<unknown> =>
  ignoring(['ENODEV'], () => netns.rtnl().batchOffThread([{ op: 'link.remove', at: { index } }]));

/** Made from the host's namespace, which is where its socket stays. */
async function addTunnel(parts: OverlayParts, net: DriverNetwork, { vni }: Segment, spec: LinkSpec): Promise<void> {
  const port = portOf(net);
  for (let tries = 1; ; tries++) {
    try {
      await parts.host.rtnl().batch([{ op: 'link.add', spec }]);
      return;
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'EOPNOTSUPP') throw kernelLacks('vxlan');
      if (errno !== 'EEXIST') throw error;
      if (await dropStale(parts, vni, port)) continue;
      const holder = (await parts.host.rtnl().link.list({ kind: 'vxlan' })).find((link) => hasId(link, vni, port));
      if (holder === undefined && tries < MAX_TRIES) {
        await delay(CLEARING_MS);
        continue;
      }
      const who = holder === undefined ? 'a link in a namespace that is not ours' : `link ${holder.name} of the host`;
      throw new CnmError('number_taken', `network ${net.name} cannot have VXLAN id ${vni} on this host: ${who} has it`, {
        cause: error,
      });
    }
  }
}

const hasId = ({ vxlan }: Link, vni: number, port: number): boolean => vxlan?.vni === vni && vxlan.port === port;

/** Deletes tunnels with the id in namespaces of ours: an id has one network, so that they are left over (spec 07 D4). */
async function dropStale(parts: OverlayParts, vni: number, port: number): Promise<boolean> {
  const pins = readdirSync(parts.pinFolder).filter((name) => name.startsWith(PIN_PREFIX));
  let isDropped = false;
  for (const pin of pins) {
    using netns = openPin(join(parts.pinFolder, pin));
    const links = (await netns?.rtnl().link.list({ kind: 'vxlan', group: parts.mark.liveGroup })) ?? [];
    for (const link of links) {
      if (netns === undefined || !hasId(link, vni, port)) continue;
      parts.env.log.warn({ pin, vni }, 'a tunnel that was left over had the VXLAN id: it is deleted');
      await removeTunnel(netns, link);
      isDropped = true;
    }
  }
  return isDropped;
}

/** Whether a namespace of ours has a tunnel with one of these ports. */
export async function hasTunnelAt(parts: OverlayParts, ports: ReadonlySet<number>): Promise<boolean> {
  for (const pin of readdirSync(parts.pinFolder).filter((name) => name.startsWith(PIN_PREFIX))) {
    using netns = openPin(join(parts.pinFolder, pin));
    const links = (await netns?.rtnl().link.list({ kind: 'vxlan', group: parts.mark.liveGroup })) ?? [];
    if (links.some(({ vxlan }) => vxlan !== undefined && ports.has(vxlan.port))) return true;
  }
  return false;
}

function openPin(path: string): Netns | undefined {
  try {
    return openNetns(path);
  } catch {
    return undefined;
  }
}
