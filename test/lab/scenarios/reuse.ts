/** An address that becomes free is given at once on another host, and everybody finds the new one there. */

import type { Scenario } from '../scenario.ts';
import { until } from '../wait.ts';
import { SPREAD_MS, ms } from './common.ts';
import { allReachAll, boxesEverywhere, entriesAreTrue, makeOverlay } from './overlay.ts';

const ROUNDS = 4;

export const reuse: Scenario = {
  name: 'reuse',
  about: 'an address that is free is used at once on another host, and all hosts reach the new one there',
  hosts: 3,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'reused', 81);
    const watchers = await boxesEverywhere(lab, overlay);
    const address = `${overlay.v4}99`;
    const wish = { network: overlay.name, flags: ['--ip', address] };
    let user = await lab.sandboxes.start(lab.host(1), 'user-0', wish);
    await allReachAll(lab, [...watchers, user]);
    for (const { probe } of watchers) await probe.watch('user', address);
    const times: number[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      await user.remove();
      const name = `user-${round}`;
      user = await lab.sandboxes.start(lab.host(1 + (round % lab.hosts.length)), name, wish);
      const isThere = async (): Promise<boolean> => {
        const seen = await Promise.all(watchers.map(({ probe }) => probe.seen('user')));
        return seen.every(({ names }) => Object.keys(names).join() === name);
      };
      times.push(await until(`${name} alone answers at ${address}`, isThere, SPREAD_MS, lab.commands.signal));
      await allReachAll(lab, [...watchers, user]);
    }
    await entriesAreTrue(lab, overlay);
    return `${ROUNDS} times, reached by all after ${ms(Math.max(...times))} at worst`;
  },
};
