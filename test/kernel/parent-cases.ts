/** What is asked of networks on a parent where some call of it fails. */

import { randomBytes } from 'node:crypto';
import type { Address, EndpointId, NetworkId, Prefix } from '../../src/base/index.ts';
import type { House } from './house-lab.ts';
import type { UseCase } from './use-case.ts';

/** On the wire of the house, whose own addresses are others. */
const network = (house: House): Promise<string> =>
  house.network('lan', {
    driver: 'macvlan',
    enableIPv6: true,
    ipam: { config: [{ subnet: '10.50.0.0/24', gateway: '10.50.0.254' }, { subnet: 'fd50::/64' }] },
    options: { parent: 'wire0', host_access: 'true' },
  });

async function inBox(house: House): Promise<void> {
  await network(house);
  await house.network('one');
  await house.controller.createSandbox({ name: 'box', networks: [['one', {}]] });
}

const NETWORK = 'c3'.repeat(32) as NetworkId;
const ENDPOINT = 'd4'.repeat(32) as EndpointId;

const guestNetwork = (house: House): Promise<void> =>
  house.controller.guests.createNetwork('macvlan', NETWORK, {
    internal: false,
    enableIPv4: true,
    enableIPv6: false,
    options: { parent: 'wire0', host_access: 'true' },
    v4: [{ prefix: '10.51.0.0/24' as Prefix, gateway: '10.51.0.254' as Address, aux: { host: '10.51.0.253' as Address } }],
    v6: [],
  });

export const parentCreations: readonly UseCase[] = [
  {
    title: 'create network on a parent with a place of the host',
    prepare: async () => {},
    act: network,
    revert: (house) => house.controller.deleteNetwork('lan'),
  },
  {
    title: 'connect to a network on a parent',
    prepare: inBox,
    act: (house) => house.controller.connect('lan', 'box', { gwPriority: 5 }),
    revert: (house) => house.controller.disconnect('lan', 'box', false),
  },
  {
    title: 'join of an endpoint of an engine to a network on a parent',
    prepare: async (house) => {
      await guestNetwork(house);
      await house.controller.guests.createEndpoint(NETWORK, ENDPOINT, {
        v4: '10.51.0.2/24' as Prefix,
        options: {},
        publish: [],
      });
    },
    act: (house) => house.controller.guests.join(NETWORK, ENDPOINT, `/run/netns/${randomBytes(6).toString('hex')}`),
    revert: (house) => house.controller.guests.leave(NETWORK, ENDPOINT),
  },
];
