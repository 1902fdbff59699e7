/** What is asked of networks whose addresses a DHCP server gives where some call of it fails. */

import { join } from 'node:path';
import { DhcpServer, endServers } from './dhcp-server.ts';
import type { House } from './house-lab.ts';
import { afterTest } from './keeper-lab.ts';
import type { UseCase } from './use-case.ts';

/** On the wire of the house. Its file lies where leftovers are looked for: a lease that is not given back is one. */
async function serve(house: House): Promise<void> {
  afterTest(endServers);
  await DhcpServer.start({
    netns: house.outside.path,
    link: 'wire0',
    leaseFile: join(house.runDir, 'leases-of-the-server'),
    range: '198.51.100.100,198.51.100.200,2h',
  });
}

const network = (house: House): Promise<string> =>
  house.network('lan', { driver: 'macvlan', ipam: { driver: 'dhcp' }, options: { parent: 'wire0' } });

export const dhcpCreations: readonly UseCase[] = [
  {
    title: 'create network by DHCP',
    prepare: serve,
    act: network,
    revert: (house) => house.controller.deleteNetwork('lan'),
  },
  {
    title: 'connect to a network by DHCP',
    prepare: async (house) => {
      await serve(house);
      await network(house);
      await house.network('one');
      await house.controller.createSandbox({ name: 'box', networks: [['one', {}]] });
    },
    act: (house) => house.controller.connect('lan', 'box', { gwPriority: 5 }),
    revert: (house) => house.controller.disconnect('lan', 'box', false),
  },
];
