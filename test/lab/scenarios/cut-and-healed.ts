/** A host is cut off for longer than its lease, and healed. */

import type { Scenario } from '../scenario.ts';
import { must } from '../wait.ts';
import { GONE_MS, ms } from './common.ts';
import { allReachAll, boxesEverywhere, entriesAreTrue, makeOverlay, nameGone } from './overlay.ts';

export const cutAndHealed: Scenario = {
  name: 'cut-and-healed',
  about: 'a host that is cut off keeps its own sandboxes together, the others forget them, and all is true when it is healed',
  hosts: 3,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'split', 81);
    const boxes = await boxesEverywhere(lab, overlay, 2);
    await allReachAll(lab, boxes);
    const far = lab.host(2);
    const [own, others] = [boxes.filter(({ host }) => host === far), boxes.filter(({ host }) => host !== far)];
    await lab.underlay.lose(far.name, 100);
    const begin = performance.now();
    for (const { name } of own) await nameGone(lab, others, name, GONE_MS);
    const goneMs = performance.now() - begin;
    await allReachAll(lab, own);
    await allReachAll(lab, others);
    // What changes meanwhile on the one side.
    const late = await lab.sandboxes.start(lab.host(1), 'late', { network: overlay.name });
    const [left, ...stay] = others;
    await left?.remove();
    await allReachAll(lab, [...stay, late]);
    must((await own[0]?.probe.ask(late.v4, 400)) === null, 'nothing crosses the cut');
    await lab.underlay.heal(far.name);
    const healed = await allReachAll(lab, [...own, ...stay, late], GONE_MS);
    await nameGone(lab, own, left?.name ?? '');
    await entriesAreTrue(lab, overlay);
    return `forgotten after ${ms(goneMs)} (lease ${lab.options.leaseSeconds} s), all true ${ms(healed)} after the heal`;
  },
};
