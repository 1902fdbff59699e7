/**
 * Links that a foreign driver made on the host: they go into the sandbox on join, and back under their own name on leave (spec 03
 * J1, J2, J8). Which of them may be taken is for the driver to say.
 */

import { randomBytes } from 'node:crypto';
import { type SandboxId, ignoring } from '../base/index.ts';
import { dress, restoreInside } from '../driver/index.ts';
import type { Netns } from '../kernel/index.ts';
import { announceEndpoint } from './announcing.ts';
import type { Attachment } from './attachment.ts';
import { driverEndpoint } from './context.ts';
import type { EndpointRecord } from './records.ts';

/** Moves the link to its final name, dresses it and brings it up. The record knows of it before it moves. */
export async function takeLink(
  a: Attachment,
  netns: Netns,
  name: string,
  join: NonNullable<EndpointRecord['join']>,
): Promise<void> {
  const host = a.cnm.host.rtnl();
  const { index, group } = await host.link.get({ name });
  a.ep = { ...a.ep, join: { ...join, source: { name, group } } };
  await a.cnm.state.commit({ endpoints: [a.ep] });
  await host.link.move({ index }, netns, join.ifname);
  const moved = await netns.rtnl().link.get({ name: join.ifname });
  // A plugin that names no MAC leaves that of the link.
  if (a.ep.mac === undefined && moved.mac !== undefined) a.ep = { ...a.ep, mac: moved.mac };
  const { ep } = a;
  // Ours while it is here: what somebody inside puts in its place is not taken for it.
  const change = { group: a.cnm.mark.liveGroup, ...(ep.mac && ep.mac !== moved.mac && { mac: ep.mac }) };
  await netns.rtnl().batch([{ op: 'link.set', at: { index: moved.index }, change }]);
  await dress(driverEndpoint(ep), { sandbox: a.sandbox.id, netns, ifname: join.ifname });
  await announceEndpoint(a.cnm, netns, ep);
}

/** Back to the host, under its name there. A link that its maker has removed meanwhile, or was never moved, is fine. */
export async function giveBack(a: Attachment): Promise<void> {
  const { source, ifname } = a.ep.join ?? {};
  if (source === undefined || ifname === undefined || a.netns === undefined) return;
  const inside = a.netns.rtnl();
  const link = await inside.link.find({ name: ifname });
  if (link === undefined || ![source.group, a.cnm.mark.liveGroup].includes(link.group)) return;
  const { index } = link;
  await ignoring(['ENODEV'], async () => {
    await inside.batch([
      { op: 'link.set', at: { index }, change: { up: false } },
      { op: 'link.set', at: { index }, change: { group: source.group } },
    ]);
    await inside.link.move({ index }, a.cnm.host, await freeName(a, source.name));
  });
}

/** The link's own name, unless somebody has taken it. */
async function freeName({ cnm, ep }: Attachment, name: string): Promise<string> {
  if ((await cnm.host.rtnl().link.find({ name })) === undefined) return name;
  const other = `back${randomBytes(5).toString('hex')}`;
  cnm.env.log.warn({ endpoint: ep.id, name, other }, 'the name of a link was taken meanwhile: the link has another one now');
  return other;
}

/** Addresses that a moved link has lost, and its being up. One that is gone can only be given by its plugin. */
export async function restoreMoved(sandbox: SandboxId, netns: Netns, ep: EndpointRecord): Promise<void> {
  if (ep.join?.source === undefined) return;
  const { ifname } = ep.join;
  const link = await netns.rtnl().link.find({ name: ifname });
  if (link !== undefined) await restoreInside({ sandbox, netns, ifname }, driverEndpoint(ep), link);
}
