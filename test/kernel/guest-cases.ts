/** What a foreign engine asks of us where some call of it fails. */

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Address, EndpointId, NetworkId, Prefix } from '../../src/base/index.ts';
import type { House } from './house-lab.ts';
import { hostAt, testHosts } from './support.ts';
import type { UseCase } from './use-case.ts';

const NETWORK = 'a1'.repeat(32) as NetworkId;
const ENDPOINT = 'b2'.repeat(32) as EndpointId;
const ROLES = { v4: true, v6: true };

const spec = {
  internal: false,
  enableIPv4: true,
  enableIPv6: true,
  options: {},
  v4: [{ prefix: '10.41.0.0/24' as Prefix, gateway: '10.41.0.1' as Address, aux: {} }],
  v6: [{ prefix: 'fd41::/64' as Prefix, gateway: 'fd41::1' as Address, aux: {} }],
};
const endpoint = {
  v4: '10.41.0.2/24' as Prefix,
  v6: 'fd41::2/64' as Prefix,
  options: {},
  publish: [{ protocol: 'tcp', port: 80, hostPorts: { from: 8080, to: 8080 } } as const],
};

/** Namespaces that an engine names. */
const keys = new WeakMap<House, string>();
/** Pools that an engine leased. */
const pools = new WeakMap<House, string>();

const createNetwork = ({ controller }: House): Promise<void> => controller.guests.createNetwork('bridge', NETWORK, spec);
const createEndpoint = ({ controller }: House): Promise<unknown> => controller.guests.createEndpoint(NETWORK, ENDPOINT, endpoint);
const join = (house: House): Promise<unknown> => house.controller.guests.join(NETWORK, ENDPOINT, keys.get(house) ?? '');
const publish = ({ controller }: House): Promise<void> => controller.guests.program(NETWORK, ENDPOINT, { roles: ROLES });

async function prepareEndpoint(house: House): Promise<void> {
  await createNetwork(house);
  await createEndpoint(house);
}

/** A namespace in which something runs already, as far as can be seen from outside. */
async function inUse(house: House): Promise<void> {
  await prepareEndpoint(house);
  const host = hostAt(await testHosts(1), 0);
  await host.exec('ip', ['link', 'add', 'own0', 'type', 'bridge']);
  keys.set(house, host.path);
  await sleep(2100);
}

export const guestCreations: readonly UseCase[] = [
  {
    title: 'create network of an engine',
    prepare: async () => {},
    act: createNetwork,
    revert: ({ controller }) => controller.guests.deleteNetwork(NETWORK),
  },
  {
    title: 'create endpoint of an engine',
    prepare: createNetwork,
    act: createEndpoint,
    revert: ({ controller }) => controller.guests.deleteEndpoint(NETWORK, ENDPOINT),
    isOnPaper: true,
  },
  {
    title: 'join of an endpoint of an engine to a namespace in use',
    prepare: inUse,
    act: join,
    revert: ({ controller }) => controller.guests.leave(NETWORK, ENDPOINT),
  },
  {
    title: 'join of an endpoint of an engine to a namespace that is to come',
    prepare: async (house) => {
      await prepareEndpoint(house);
      keys.set(house, `/run/netns/${randomBytes(6).toString('hex')}`);
    },
    act: join,
    revert: ({ controller }) => controller.guests.leave(NETWORK, ENDPOINT),
  },
  {
    title: 'publish of an endpoint of an engine',
    prepare: async (house) => {
      await inUse(house);
      await join(house);
    },
    act: publish,
    revert: ({ controller }) => controller.guests.revoke(NETWORK, ENDPOINT),
  },
  {
    title: 'lease of a pool of an engine',
    prepare: async () => {},
    async act(house) {
      const asked = { space: 'LocalDefault', family: 4, subnet: '10.43.0.0/24' as Prefix, options: {} } as const;
      pools.set(house, (await house.controller.guests.requestPool(asked)).pool);
    },
    revert: (house) => house.controller.guests.releasePool(pools.get(house) ?? ''),
    isOnPaper: true,
  },
  {
    title: 'lease of an address of an engine',
    async prepare(house) {
      const asked = { space: 'LocalDefault', family: 4, subnet: '10.43.0.0/24' as Prefix, options: {} } as const;
      pools.set(house, (await house.controller.guests.requestPool(asked)).pool);
    },
    act: (house) =>
      house.controller.guests.requestAddress(pools.get(house) ?? '', {
        address: '10.43.0.9' as Address,
        owner: 'one',
        options: {},
      }),
    revert: (house) => house.controller.guests.releaseAddress(pools.get(house) ?? '', '10.43.0.9' as Address),
    isOnPaper: true,
  },
];

export const guestRemovals: readonly UseCase[] = [
  {
    title: 'delete network of an engine with all that is in it',
    prepare: async (house) => {
      await inUse(house);
      await join(house);
      await publish(house);
    },
    act: ({ controller }) => controller.guests.deleteNetwork(NETWORK),
    revert: async (house) => {
      await prepareEndpoint(house);
      await join(house);
      await publish(house);
    },
  },
  {
    title: 'leave of an endpoint of an engine',
    prepare: async (house) => {
      await inUse(house);
      await join(house);
      await publish(house);
    },
    act: ({ controller }) => controller.guests.leave(NETWORK, ENDPOINT),
    revert: async (house) => {
      await join(house);
      await publish(house);
    },
  },
];
