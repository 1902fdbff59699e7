/** A daemon starts while etcd is away: it cannot know what is true, and removes nothing. */

import type { Scenario } from '../scenario.ts';
import { must } from '../wait.ts';
import { pause } from './common.ts';
import { allReachAll, boxesEverywhere, entriesAreTrue, entriesOn, makeOverlay, watchHeld } from './overlay.ts';

export const earlyRestart: Scenario = {
  name: 'early-restart',
  about: 'a daemon that is restarted while etcd is away removes no entry, and traffic and names go on',
  hosts: 2,
  async run(lab, { awayMs }) {
    const overlay = await makeOverlay(lab, 'early', 81);
    const boxes = await boxesEverywhere(lab, overlay);
    await allReachAll(lab, boxes);
    await entriesAreTrue(lab, overlay);
    const [to, from] = [boxes[0], boxes[1]];
    if (from === undefined || to === undefined) throw new Error('too few hosts');
    const before = (await entriesOn(from.host, overlay)).join('\n');
    must(before !== '', 'there are entries');
    await from.probe.watch('to', to.v4);
    await lab.etcd.stopAll();
    await from.host.kill();
    await from.host.start();
    const begin = performance.now();
    while (performance.now() - begin < awayMs) {
      const after = (await entriesOn(from.host, overlay)).join('\n');
      must(after === before, `the entries on ${from.host.name} stay: ${after}`);
      must((await from.probe.resolve(to.name))?.join() === to.v4, `${to.name} has its name`);
      await pause(200);
    }
    const watched = await watchHeld(from, 'to', to.name);
    await allReachAll(lab, boxes);
    await lab.etcd.startAll();
    await lab.showsAll();
    await allReachAll(lab, boxes);
    await entriesAreTrue(lab, overlay);
    return `${before.split('\n').length} entries stay; ${watched}`;
  },
};
