/** Daemons die and come back one after the other: nobody on the wire notices. */

import type { Scenario } from '../scenario.ts';
import { must } from '../wait.ts';
import { allReachAll, boxesEverywhere, entriesAreTrue, entriesOn, makeOverlay, watchHeld } from './overlay.ts';

/** Longer than a daemon takes to start on a busy machine: nobody takes its host for dead meanwhile. */
const LEASE_S = 60;

export const daemonKilled: Scenario = {
  name: 'daemon-killed',
  about: 'traffic and names go on while daemons are killed and started, and no entry is removed',
  hosts: 2,
  async run(lab) {
    for (const host of lab.hosts) {
      await host.stop();
      await host.start(LEASE_S);
    }
    await lab.showsAll();
    const overlay = await makeOverlay(lab, 'steady', 81);
    const boxes = await boxesEverywhere(lab, overlay);
    await allReachAll(lab, boxes);
    await entriesAreTrue(lab, overlay);
    const [from, to] = [boxes[0], boxes[1]];
    if (from === undefined || to === undefined) throw new Error('too few hosts');
    await from.probe.watch('to', to.v4);
    let looks = 0;
    for (const host of lab.hosts) {
      const before = (await entriesOn(host, overlay)).join('\n');
      await host.kill();
      must((await from.probe.resolve(to.name))?.join() === to.v4, `${to.name} has its name while ${host.name} has no daemon`);
      const isBack = host.start(LEASE_S);
      for (let isDone = false; !isDone; looks++) {
        const after = (await entriesOn(host, overlay)).join('\n');
        must(after === before, `the entries on ${host.name} stay: ${after}`);
        isDone = await Promise.race([isBack.then(() => true), new Promise<false>((go) => setTimeout(() => go(false), 50))]);
      }
    }
    const watched = await watchHeld(from, 'to', to.name);
    await allReachAll(lab, boxes);
    await entriesAreTrue(lab, overlay);
    return `${lab.hosts.length} daemons, ${watched}; ${looks} looks at entries`;
  },
};
