/** A network is removed while a host that has sandboxes in it is dead: when the host is back, nothing of the network is there. */

import type { SandboxAnswer } from '../../../src/base/index.ts';
import type { Scenario } from '../scenario.ts';
import { killHost } from '../verbs.ts';
import { must, until } from '../wait.ts';
import { GONE_MS, SPREAD_MS, ms } from './common.ts';
import { allReachAll, boxesEverywhere, everyHost, lists, makeOverlay, nameGone, pinOf } from './overlay.ts';

export const removedWhileAway: Scenario = {
  name: 'removed-while-away',
  about: 'a network that is removed while a host is dead is gone from it when it is back, with its namespace',
  hosts: 3,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'forgotten', 81);
    const boxes = await boxesEverywhere(lab, overlay);
    await allReachAll(lab, boxes);
    const dead = lab.host(lab.hosts.length);
    const left = boxes.filter(({ host }) => host !== dead);
    const ghost = boxes.find(({ host }) => host === dead);
    must((await lab.host(1).cli('rm', overlay.name)).exitCode === 1, 'a network with endpoints on other hosts is not removed');
    await killHost(lab, dead.number);
    await nameGone(lab, left, ghost?.name ?? '', GONE_MS);
    for (const box of left) await box.remove();
    await lab.host(1).ok('rm', overlay.name);
    must(dead.pins().includes(pinOf(overlay.id)), 'the dead host has its namespace still');
    await lab.underlay.heal(dead.name);
    await dead.start();
    const isGone = (): Promise<boolean> => everyHost(lab, async (host) => !(await lists(host, overlay.id)));
    const gone = await until('no host lists the network', isGone, SPREAD_MS, lab.commands.signal);
    await until('its namespace is gone', () => !dead.pins().includes(pinOf(overlay.id)), SPREAD_MS, lab.commands.signal);
    const { Networks } = await dead.must<SandboxAnswer>('GET', `/sandboxes/${ghost?.name}`);
    must(!(overlay.name in Networks), 'the sandbox is there, and in the network no more');
    // The name and the addresses are free for another.
    const again = await makeOverlay(lab, 'forgotten', 81);
    await allReachAll(lab, await boxesEverywhere(lab, again, 1, lab.hosts.slice(0, 2)));
    return `gone ${ms(gone)} after the daemon serves`;
  },
};
