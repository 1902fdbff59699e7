/** Who is there: all hosts on every host, one that dies is shown within its lease, and comes back. */

import type { Scenario } from '../scenario.ts';
import { killHost } from '../verbs.ts';
import { GONE_MS, ms } from './common.ts';

export const nodes: Scenario = {
  name: 'nodes',
  about: 'every host shows all; one that dies is shown as down within its lease, and as ready when it is back',
  hosts: 2,
  async run(lab) {
    await lab.showsAll();
    const last = lab.host(lab.hosts.length);
    const others = lab.hosts.filter((host) => host !== last);
    await killHost(lab, last.number);
    const down = await lab.showsReady(
      others.map(({ name }) => name),
      others,
      GONE_MS,
    );
    await lab.underlay.heal(last.name);
    await last.start();
    return `down after ${ms(down)} (lease ${lab.options.leaseSeconds} s), ready ${ms(await lab.showsAll())} after its start`;
  },
};
