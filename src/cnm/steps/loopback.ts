/** The sandbox's loopback device, over which its processes ask the resolver, and one another. */

import { type Address, makePrefix } from '../../base/index.ts';
import { Inside, type Netns } from '../../kernel/index.ts';
import type { SandboxRecord } from '../records.ts';

const LOOPBACK = 'lo';
/** The kernel gives it when the device comes up, and no other when somebody flushes it. */
const ADDRESS = makePrefix('127.0.0.1' as Address, 8);
/** Where the resolver is asked (spec 08). */
const RESOLVER = '127.0.0.11' as Address;

/** Whether questions to the resolver get as far as its redirect. */
export const leadsToResolver = (inside: Inside): boolean => inside.isUp(LOOPBACK) && inside.hasAddress(RESOLVER);

/** Start, and whenever it was found lost: up, with its address, where names are asked over it. What else it has stays. */
export async function restoreLoopback({ resolver }: SandboxRecord, netns: Netns): Promise<void> {
  if (resolver === undefined || isWhole(netns)) return;
  const rtnl = netns.rtnl();
  const link = await rtnl.link.find({ name: LOOPBACK });
  if (link === undefined) return;
  if (!link.up) await rtnl.batch([{ op: 'link.set', at: { index: link.index }, change: { up: true } }]);
  if ((await rtnl.address.list({ link: link.index })).some(({ prefix }) => prefix === ADDRESS)) return;
  await rtnl.batch([{ op: 'address.add', spec: { link: link.index, prefix: ADDRESS } }]);
}

function isWhole(netns: Netns): boolean {
  using inside = new Inside(netns);
  return leadsToResolver(inside);
}
