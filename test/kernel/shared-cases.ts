/** What is asked of networks that hosts share where some call of it fails. */

import { codeOf } from '../../src/base/index.ts';
import type { House } from './house-lab.ts';
import type { UseCase } from './use-case.ts';

const network = (house: House): Promise<string> =>
  house.network('over', { driver: 'overlay', enableIPv6: true, ipam: { config: [{ subnet: '10.60.0.0/24' }] } });

/** One that failed when the cluster had done it is done by the host itself. */
const removed = (house: House): Promise<void> =>
  house.controller.deleteNetwork('over').catch((error: unknown) => {
    if (codeOf(error) !== 'no_network') throw error;
  });

/** Afterwards the record of all subnets is there, and empty. */
async function bare(house: House): Promise<void> {
  await network(house);
  await removed(house);
}

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

async function apart(house: House): Promise<void> {
  await alone(house);
  await house.controller.createEndpoint('over', 'ep');
}

const connect = (house: House): Promise<unknown> => house.controller.connect('over', 'box', {});
const disconnect = (house: House): Promise<unknown> => house.controller.disconnect('over', 'box', false);
const join = (house: House): Promise<unknown> => house.controller.joinEndpoint('ep', 'box');
const leave = (house: House): Promise<unknown> => house.controller.leaveEndpoint('ep');

export const sharedCreations: readonly UseCase[] = [
  { title: 'create a shared network', prepare: bare, act: network, revert: removed },
  { title: 'first connect to a shared network', prepare: alone, act: connect, revert: disconnect },
  { title: 'further connect to a shared network', prepare: together, act: connect, revert: disconnect },
  {
    title: 'create an endpoint in a shared network',
    prepare: alone,
    act: (house) => house.controller.createEndpoint('over', 'ep'),
    revert: (house) => house.controller.deleteEndpoint('ep', false),
  },
  { title: 'join of an endpoint of a shared network', prepare: apart, act: join, revert: leave, keeps: true },
];

const connected = async (house: House, prepare: (house: House) => Promise<void>): Promise<void> => {
  await prepare(house);
  await connect(house);
};

export const sharedRemovals: readonly UseCase[] = [
  { title: 'delete a shared network', prepare: network, act: removed, revert: network },
  {
    title: 'last disconnect from a shared network',
    prepare: (house) => connected(house, alone),
    act: disconnect,
    revert: connect,
  },
  {
    title: 'other disconnect from a shared network',
    prepare: (house) => connected(house, together),
    act: disconnect,
    revert: connect,
  },
  {
    title: 'leave of an endpoint of a shared network',
    prepare: async (house) => {
      await apart(house);
      await join(house);
    },
    act: leave,
    revert: join,
  },
  {
    title: 'removal of an endpoint of a shared network',
    prepare: apart,
    act: (house) => house.controller.deleteEndpoint('ep', false),
    revert: (house) => house.controller.createEndpoint('over', 'ep'),
  },
];
