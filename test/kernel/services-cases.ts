/** What is asked of services where some call of it fails, in a network of one host or of all. */

import { codeOf } from '../../src/base/index.ts';
import type { House } from './house-lab.ts';
import { membersOf } from './services-lab.ts';
import type { UseCase } from './use-case.ts';

const SPEC = { name: 'web', network: 'net', aliases: ['www'] };

/** `net` with a client; `isShared`: all hosts have it. */
const withClient =
  (isShared: boolean) =>
  async (house: House): Promise<void> => {
    await house.network('net', { enableIPv6: true, ...(isShared && { driver: 'overlay' }) });
    await house.network('own');
    await house.controller.createSandbox({ name: 'client', networks: [['net', {}]] });
    await house.controller.createSandbox({ name: 'box', networks: [['own', {}]] });
    // The resolver stays until the sandbox ends, by design.
    await connect(house);
    await disconnect(house);
  };

const create = (house: House): Promise<unknown> => house.controller.services.create(SPEC);
const remove = async (house: House): Promise<unknown> => {
  try {
    return await house.controller.services.remove('web');
  } catch (error) {
    // One that failed when all was done.
    if (codeOf(error) !== 'no_service') throw error;
    return undefined;
  }
};
const connect = (house: House): Promise<unknown> => house.controller.connect('net', 'box', {});
const disconnect = async (house: House): Promise<unknown> => {
  try {
    return await house.controller.disconnect('net', 'box', false);
  } catch (error) {
    if (codeOf(error) !== 'not_connected') throw error;
    return undefined;
  }
};
const add = ({ controller: { services } }: House, name: string): Promise<void> =>
  services.members.add(services.find('web'), name);

/** Longest wait for a member that goes, milliseconds. */
const GONE_MS = 10_000;
async function leave(house: House, name: string): Promise<void> {
  const { services } = house.controller;
  try {
    await services.members.drain(services.find('web'), name, 0);
  } catch (error) {
    if (codeOf(error) !== 'no_member') throw error;
  }
  const until = performance.now() + GONE_MS;
  while (membersOf(house, 'web')[name] !== undefined) {
    if (performance.now() > until) throw new Error(`${name} is still a member`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const joined = (isShared: boolean) => async (house: House) => {
  await withClient(isShared)(house);
  await create(house);
  await add(house, 'client');
};

export const serviceCreations = (isShared: boolean): readonly UseCase[] => [
  { title: 'create a service', prepare: withClient(isShared), act: create, revert: remove },
  {
    title: 'create a service without an address',
    prepare: withClient(isShared),
    act: (house) => house.controller.services.create({ ...SPEC, mode: 'dnsrr' }),
    revert: remove,
  },
  { title: 'connect to a network with a service', prepare: joined(isShared), act: connect, revert: disconnect },
  {
    title: 'add a member',
    prepare: async (house) => {
      await joined(isShared)(house);
      await connect(house);
    },
    act: (house) => add(house, 'box'),
    revert: (house) => leave(house, 'box'),
  },
];

export const serviceRemovals = (isShared: boolean): readonly UseCase[] => [
  {
    title: 'remove a service with a member',
    prepare: joined(isShared),
    act: remove,
    revert: async (house) => {
      await create(house);
      await add(house, 'client');
    },
  },
  {
    title: 'disconnect of a member',
    prepare: async (house) => {
      await joined(isShared)(house);
      await connect(house);
      await add(house, 'box');
    },
    act: disconnect,
    revert: async (house) => {
      await connect(house);
      await add(house, 'box');
    },
  },
];

const PUBLISHED = { ...SPEC, ports: [{ published: 8080, target: 80 }] };
/** Nobody listens: it stays as it began. */
const CHECKED = { ...SPEC, health: { tcp: 80, retries: 100, intervalMs: 3_600_000 } };

/** One host: its ingress is in the network itself. */
export const publishedCreations: readonly UseCase[] = [
  {
    title: 'create a service that publishes',
    prepare: withClient(false),
    act: (house) => house.controller.services.create(PUBLISHED),
    revert: remove,
  },
  {
    title: 'add a member with a check',
    prepare: async (house) => {
      await withClient(false)(house);
      await house.controller.services.create(CHECKED);
      await connect(house);
    },
    act: (house) => add(house, 'box'),
    revert: (house) => leave(house, 'box'),
  },
];

/** With a member, known to the ingress as well. */
async function published(house: House): Promise<void> {
  await house.controller.services.create(PUBLISHED);
  await add(house, 'client');
  // Which is told beside the answer.
  await house.controller.services.audit();
}

export const publishedRemovals: readonly UseCase[] = [
  {
    title: 'remove a service that publishes',
    prepare: async (house) => {
      await withClient(false)(house);
      await published(house);
    },
    act: remove,
    revert: async (house) => {
      await published(house);
    },
  },
];
