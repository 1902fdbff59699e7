/** History that a host has missed is compacted away while it is cut off: it lists anew, and loses nothing. */

import type { Scenario } from '../scenario.ts';
import { GONE_MS, ms, pause } from './common.ts';
import { allReachAll, boxesEverywhere, entriesAreTrue, makeOverlay, nameGone } from './overlay.ts';

/** After so long without an answer a daemon gives its connection up, so that it has to watch anew, milliseconds. */
const CUT_MS = 10_000;

export const compaction: Scenario = {
  name: 'compaction',
  about: 'a host whose missed history is compacted away knows everything after it is healed',
  hosts: 3,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'compact', 81);
    const boxes = await boxesEverywhere(lab, overlay);
    await allReachAll(lab, boxes);
    const far = lab.host(3);
    await lab.underlay.lose(far.name, 100);
    const begin = performance.now();
    const late = await lab.sandboxes.start(lab.host(1), 'late', { network: overlay.name });
    const [left, ...stay] = boxes;
    await left?.remove();
    await pause(Math.max(0, CUT_MS - (performance.now() - begin)));
    const revision = await lab.etcd.compact();
    await lab.underlay.heal(far.name);
    const all = await allReachAll(lab, [...stay, late], GONE_MS);
    await nameGone(lab, stay, left?.name ?? '');
    await entriesAreTrue(lab, overlay);
    return `all true ${ms(all)} after the heal, history up to revision ${revision} gone`;
  },
};
