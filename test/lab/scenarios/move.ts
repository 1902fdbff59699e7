/** A sandbox that moves to another host with its address. */

import type { Scenario } from '../scenario.ts';
import { until } from '../wait.ts';
import { SPREAD_MS, ms } from './common.ts';
import { allReachAll, entriesAreTrue, makeOverlay } from './overlay.ts';

const ROUNDS = 4;

export const move: Scenario = {
  name: 'move',
  about: 'a sandbox with an address of its own is reached on its new host',
  hosts: 3,
  async run(lab) {
    const overlay = await makeOverlay(lab, 'moving', 81);
    const network = overlay.name;
    const address = `${overlay.v4}50`;
    const flags = ['--ip', address, '--ip6', `${overlay.v6}50`];
    const watcher = await lab.sandboxes.start(lab.host(1), 'watcher', { network });
    let mover = await lab.sandboxes.start(lab.host(2), 'mover-0', { network, flags });
    await allReachAll(lab, [watcher, mover]);
    await watcher.probe.watch('mover', address);
    const times: number[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      await mover.remove();
      const name = `mover-${round}`;
      mover = await lab.sandboxes.start(lab.host(round % 2 === 0 ? 2 : 3), name, { network, flags });
      const isThere = async (): Promise<boolean> => Object.keys((await watcher.probe.seen('mover')).names).includes(name);
      times.push(await until(`${name} answers at ${address}`, isThere, SPREAD_MS, lab.commands.signal));
      await allReachAll(lab, [watcher, mover]);
    }
    await entriesAreTrue(lab, overlay);
    return `reached ${ms(Math.max(...times))} after it runs there, at worst of ${ROUNDS} moves`;
  },
};
