/** Tells neighbours where an address lives now that was somebody else's a moment ago; for links that are moved into a sandbox. */

import { setTimeout as sleep } from 'node:timers/promises';
import { prefixAddress } from '../base/index.ts';
import { type Netns, announce, openNetns } from '../kernel/index.ts';
import type { Cnm } from './context.ts';
import type { EndpointRecord } from './records.ts';

/** The other side of a link that was moved forwards nothing until the kernel has seen it come up, which takes it up to a second. */
const TIMES = 4;
const EVERY_MS = 500;

/** Once before it returns, the rest in the background, until the link is another one. Never throws. */
export async function announceEndpoint(cnm: Cnm, at: Pick<Netns, 'path' | 'identity'>, ep: EndpointRecord): Promise<void> {
  try {
    if (await once(at, ep)) void repeat(cnm, at, ep);
  } catch (error) {
    cnm.env.log.debug({ endpoint: ep.id, err: error }, 'address not announced');
  }
}

async function repeat(cnm: Cnm, at: Pick<Netns, 'path' | 'identity'>, ep: EndpointRecord): Promise<void> {
  try {
    for (let left = TIMES - 1; left > 0; left--) {
      await sleep(EVERY_MS, undefined, { ref: false });
      if (cnm.closing || !(await once(at, ep))) return;
    }
  } catch (error) {
    cnm.env.log.debug({ endpoint: ep.id, err: error }, 'address not announced again');
  }
}

/** False when the endpoint is not there any more. The namespace is opened anew: a descriptor would keep a dead one alive. */
async function once(at: Pick<Netns, 'path' | 'identity'>, { mac, v4, v6, join }: EndpointRecord): Promise<boolean> {
  using netns = openNetns(at.path);
  if (mac === undefined || join === undefined || netns.identity !== at.identity) return false;
  const link = await netns.rtnl().link.find({ name: join.ifname });
  if (link?.mac !== mac || !link.up) return false;
  for (const prefix of [v4, v6])
    if (prefix !== undefined) announce(netns, { link: link.index, mac, address: prefixAddress(prefix) });
  return true;
}
