/** The leader of etcd dies, and changes go on with the next one. */

import type { Scenario } from '../scenario.ts';
import { must } from '../wait.ts';
import { ms } from './common.ts';
import { allReachAll, boxesEverywhere, entriesAreTrue, makeOverlay, watchHeld } from './overlay.ts';

export const etcdLeaderKilled: Scenario = {
  name: 'etcd-leader-killed',
  about: 'with the leader of etcd killed traffic goes on, and so do changes, with the next leader',
  hosts: 2,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'led', 81);
    const boxes = await boxesEverywhere(lab, overlay);
    await allReachAll(lab, boxes);
    const [from, to] = [boxes[0], boxes[1]];
    if (from === undefined || to === undefined) throw new Error('too few hosts');
    await from.probe.watch('to', to.v4);
    const times: number[] = [];
    for (let round = 1; round <= 2; round++) {
      const leader = await lab.etcd.leader();
      if (leader === undefined) throw new Error('etcd has no leader');
      await lab.etcd.kill(leader);
      const begin = performance.now();
      boxes.push(await lab.sandboxes.start(lab.host(round), `late-${round}`, { network: overlay.name }));
      await allReachAll(lab, boxes);
      times.push(performance.now() - begin);
      const next = await lab.etcd.leader();
      must(next !== undefined && next !== leader, `another member leads: ${next} after ${leader}`);
      await lab.etcd.startAll();
    }
    await entriesAreTrue(lab, overlay);
    return `a sandbox made then is reached after ${times.map(ms).join(' and ')}; ${await watchHeld(from, 'to', to.name)}`;
  },
};
