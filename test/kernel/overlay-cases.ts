/** What is asked of overlay networks where some call of it fails. */

import type { House } from './house-lab.ts';
import type { UseCase } from './use-case.ts';

/** Two wires, so that all of a segment is made twice. */
const network = (house: House): Promise<string> =>
  house.network('over', {
    driver: 'overlay',
    enableIPv6: true,
    ipam: {
      config: [{ subnet: '10.60.0.0/24' }, { subnet: '10.61.0.0/24' }, { subnet: 'fd60::/64' }, { subnet: 'fd61::/64' }],
    },
    options: { 'com.docker.network.driver.overlay.vxlanid_list': '600,601' },
  });

const box = (house: House, name: string, networks: readonly string[]): Promise<unknown> =>
  house.controller.createSandbox({ name, networks: networks.map((net) => [net, {}]) });

async function alone(house: House): Promise<void> {
  await network(house);
  await house.network('one');
  await box(house, 'box', ['one']);
}

async function together(house: House): Promise<void> {
  await alone(house);
  await box(house, 'other', ['over']);
}

const connect = (house: House): Promise<unknown> => house.controller.connect('over', 'box', {});
const disconnect = (house: House): Promise<unknown> => house.controller.disconnect('over', 'box', false);

export const overlayCreations: readonly UseCase[] = [
  {
    title: 'create an overlay network',
    prepare: async () => {},
    act: network,
    revert: (house) => house.controller.deleteNetwork('over'),
  },
  { title: 'first connect to an overlay network', prepare: alone, act: connect, revert: disconnect },
  { title: 'further connect to an overlay network', prepare: together, act: connect, revert: disconnect },
];

const connected = async (house: House, prepare: (house: House) => Promise<void>): Promise<void> => {
  await prepare(house);
  await connect(house);
};

export const overlayRemovals: readonly UseCase[] = [
  {
    title: 'delete an overlay network',
    prepare: network,
    act: (house) => house.controller.deleteNetwork('over'),
    revert: network,
  },
  {
    title: 'last disconnect from an overlay network',
    prepare: (house) => connected(house, alone),
    act: disconnect,
    revert: connect,
  },
  {
    title: 'other disconnect from an overlay network',
    prepare: (house) => connected(house, together),
    act: disconnect,
    revert: connect,
  },
];
