/** Links of ours on the host that go with their network. */

import { ignoring } from '../../src/base/index.ts';
import type { LinkParts } from './parts.ts';

/**
 * Takes a link out of service, for the reaper to delete. One that is gone is fine, and one without our mark stays: somebody
 * may have put another link under the name.
 */
export async function retireHostLink(parts: LinkParts, name: string): Promise<void> {
  const rtnl = parts.host.rtnl();
  const link = await rtnl.link.find({ name });
  if (link === undefined || link.group !== parts.mark.liveGroup) return;
  const dead = `dead${link.index}`.slice(0, 15);
  try {
    await ignoring(['ENODEV'], () =>
      rtnl.batch([
        { op: 'link.set', at: { index: link.index }, change: { up: false } },
        { op: 'link.set', at: { index: link.index }, change: { name: dead, group: parts.mark.deadGroup } },
      ]),
    );
  } finally {
    // Also after a failure, which may have come behind the last change: no later call finds the link by its name.
    parts.reaper.kick();
  }
}
