/** Which changes of the host's links make the mender look before its time. */

import type { LinkNews } from '../kernel/index.ts';
import type { Hosting } from './guests/context.ts';
import { guestLinks } from './guests/restore.ts';
import { wantedLinks } from './sweep.ts';

/** Without news anything may have changed. */
export function concernsUs(hosting: Hosting, news: LinkNews | undefined): boolean {
  if (news === undefined) return true;
  const { cnm, state } = hosting;
  const { liveGroup, deadGroup } = cnm.mark;
  // Links come and go with every join: what bears our mark changes by our own hand, and what is dead is gone already.
  if (news.group === deadGroup) return false;
  if (news.isGone) return wantedLinks(cnm).includes(news.name) || guestLinks(hosting).includes(news.name);
  if (news.group === liveGroup) return false;
  return [...cnm.state.networks(), ...state.networks.values()].some(({ degraded }) => degraded !== undefined);
}
