/** A host dies: what it had is gone everywhere within its lease, and back when it is. */

import type { Scenario } from '../scenario.ts';
import { killHost } from '../verbs.ts';
import { GONE_MS, ms } from './common.ts';
import { allReachAll, boxesEverywhere, entriesAreTrue, makeOverlay, nameGone } from './overlay.ts';

export const hostKilled: Scenario = {
  name: 'host-killed',
  about: 'entries and names of a host that dies are gone everywhere within its lease, and back after it rejoins',
  hosts: 3,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'mortal', 81);
    const boxes = await boxesEverywhere(lab, overlay);
    await allReachAll(lab, boxes);
    const dead = lab.host(lab.hosts.length);
    const others = lab.hosts.filter((host) => host !== dead);
    const [gone, left] = [boxes.filter(({ host }) => host === dead), boxes.filter(({ host }) => host !== dead)];
    const begin = performance.now();
    await killHost(lab, dead.number);
    for (const { name } of gone) await nameGone(lab, left, name, GONE_MS);
    const goneMs = performance.now() - begin;
    await entriesAreTrue(lab, overlay, others);
    await allReachAll(lab, left);
    await lab.underlay.heal(dead.name);
    await dead.start();
    const back = await allReachAll(lab, boxes, GONE_MS);
    await entriesAreTrue(lab, overlay);
    return `gone after ${ms(goneMs)} (lease ${lab.options.leaseSeconds} s), back ${ms(back)} after its daemon serves`;
  },
};
