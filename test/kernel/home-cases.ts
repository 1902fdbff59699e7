/** What engines ask of networks of the cluster where some call of it fails. */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Address, type EndpointId, type NetworkId, type Prefix, prefixAddress } from '../../src/base/index.ts';
import type { House } from './house-lab.ts';
import { type TestHost, hostAt, testHosts } from './support.ts';
import type { UseCase } from './use-case.ts';

const NETWORK = 'a1'.repeat(32) as NetworkId;
const ENDPOINTS = ['b2'.repeat(32), 'c3'.repeat(32)] as EndpointId[];
const NAME = 'blue';
const SUBNET = '10.62.0.0/24' as Prefix;
const GATEWAY = '10.62.0.1' as Address;
const OPTIONS = { 'patchbay.network': NAME };
const TO_GATEWAY = { RequestAddressType: 'com.docker.network.gateway' };
const ADDRESSES = ['10.62.0.8', '10.62.0.9'] as Address[];

/** From here on a container counts as running, milliseconds. */
const RUNNING_MS = 2100;
/** Longest wait for what goes on behind an answer, milliseconds. */
const SOON_MS = 10_000;

/** What an engine remembers. */
interface Engine {
  pool: string;
  /** One that it has not named. */
  address?: Address;
  box?: TestHost;
}
const engines = new WeakMap<House, Engine>();
function engineOf(house: House): Engine {
  const engine = engines.get(house) ?? { pool: '' };
  engines.set(house, engine);
  return engine;
}

// A network, as `docker network create` and `docker network rm` ask for it

async function requestPool(house: House): Promise<void> {
  const asked = { family: 4, subnet: SUBNET, options: OPTIONS } as const;
  engineOf(house).pool = (await house.controller.guests.requestHomePool(asked)).pool;
}
const releasePool = (house: House): Promise<void> => house.controller.guests.releasePool(engineOf(house).pool);

/** What an engine says of a network of one subnet. */
export const ofSubnet = (prefix: Prefix, gateway: Address) => ({
  internal: false,
  enableIPv4: true,
  enableIPv6: false,
  options: {},
  v4: [{ prefix, gateway, aux: {} }],
  v6: [],
});

async function create(house: House): Promise<void> {
  const { guests } = house.controller;
  await requestPool(house);
  try {
    await guests.requestAddress(engineOf(house).pool, { owner: '', options: TO_GATEWAY });
    await guests.createNetwork('overlay', NETWORK, ofSubnet(SUBNET, GATEWAY));
  } catch (error) {
    await guests.releaseAddress(engineOf(house).pool, GATEWAY);
    await releasePool(house);
    throw error;
  }
}

async function remove(house: House): Promise<void> {
  await releasePool(house);
  await house.controller.guests.deleteNetwork(NETWORK);
}

/** With the pool too, which the engine may have forgotten. */
const removeAll = (house: House): Promise<void> => house.controller.guests.deleteNetwork(NETWORK);

/** Afterwards the record of all subnets is there, and empty. */
async function bare(house: House): Promise<void> {
  await create(house);
  await remove(house);
}

/** One that no engine has made. */
const cluster = (house: House): Promise<string> =>
  house.network(NAME, { driver: 'overlay', ipam: { config: [{ subnet: SUBNET, gateway: GATEWAY }] } });

// An endpoint, as a container's start and end ask for it

const request = (house: House, at = 0): Promise<Prefix> =>
  house.controller.guests.requestAddress(engineOf(house).pool, { address: ADDRESSES[at] as Address, owner: '', options: {} });
const release = (house: House): Promise<void> =>
  house.controller.guests.releaseAddress(engineOf(house).pool, ADDRESSES[0] as Address);
async function requestAny(house: House): Promise<void> {
  const engine = engineOf(house);
  engine.address = prefixAddress(await house.controller.guests.requestAddress(engine.pool, { owner: '', options: {} }));
}
const releaseAny = (house: House): Promise<void> =>
  house.controller.guests.releaseAddress(engineOf(house).pool, engineOf(house).address as Address);
const idAt = (at: number): EndpointId => ENDPOINTS[at] as EndpointId;
const createEndpoint = (house: House, at = 0): Promise<unknown> =>
  house.controller.guests.createEndpoint(NETWORK, idAt(at), {
    v4: `${ADDRESSES[at]}/24` as Prefix,
    options: {},
    publish: [],
  });
const deleteEndpoint = (house: House): Promise<void> => house.controller.guests.deleteEndpoint(NETWORK, idAt(0));

/** Joined, and names are served in its sandbox: that goes on behind the answer. */
async function joinServed(house: House, at = 0): Promise<void> {
  const { guests } = house.controller;
  const { box } = engineOf(house);
  await guests.join(NETWORK, idAt(at), box?.path ?? '');
  await until(async () => {
    const isNoted = guests.endpoints().some((ep) => ep.id === idAt(at) && ep.join?.resolver !== undefined);
    return isNoted && (await box?.exec('nft', ['list', 'tables']))?.stdout !== '';
  });
}
const join0 = (house: House): Promise<void> => joinServed(house);
const leave = (house: House): Promise<void> => house.controller.guests.leave(NETWORK, idAt(0));

const called =
  (name: string) =>
  async (house: House): Promise<void> => {
    await house.controller.guests.nameEndpoint(NETWORK, idAt(0), [name]);
  };

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + SOON_MS;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error('an endpoint of an engine is not served');
    await sleep(5);
  }
}

async function withEndpoint(house: House, at = 0): Promise<void> {
  await request(house, at);
  await createEndpoint(house, at);
}

/** A namespace that the engine has just made: it moves the link itself. */
async function fresh(house: House): Promise<void> {
  await create(house);
  await withEndpoint(house);
  engineOf(house).box = hostAt(await testHosts(1), 0);
}

/** A namespace in which a container runs, as far as can be seen from outside. */
async function running(house: House): Promise<void> {
  await fresh(house);
  await engineOf(house).box?.exec('ip', ['link', 'add', 'own0', 'type', 'bridge']);
  await sleep(RUNNING_MS);
}

/** With another endpoint of the network in the same namespace. */
async function beside(house: House): Promise<void> {
  await running(house);
  await withEndpoint(house, 1);
  await joinServed(house, 1);
}

async function joined(house: House): Promise<void> {
  await running(house);
  await joinServed(house);
}

export const homeCreations: readonly UseCase[] = [
  { title: 'lease of a pool for a network of the cluster', prepare: bare, act: requestPool, revert: releasePool },
  {
    title: 'lease of a pool of a network of the cluster',
    prepare: cluster,
    act: requestPool,
    revert: releasePool,
    isOnPaper: true,
  },
  { title: 'create of a network of the cluster', prepare: bare, act: create, revert: remove },
  { title: 'create that joins a network of the cluster', prepare: cluster, act: create, revert: remove },
  { title: 'lease of an address', prepare: create, act: request, revert: release },
  { title: 'lease of an address that the engine does not name', prepare: create, act: requestAny, revert: releaseAny },
  {
    title: 'create of an endpoint',
    prepare: async (house) => {
      await create(house);
      await request(house);
    },
    act: (house) => createEndpoint(house),
    revert: deleteEndpoint,
    isOnPaper: true,
  },
  { title: 'join to a fresh namespace', prepare: fresh, act: join0, revert: leave },
  { title: 'join to a namespace in use', prepare: running, act: join0, revert: leave },
  { title: 'join beside another endpoint', prepare: beside, act: join0, revert: leave },
];

/** What an engine tells of a container that is there already. */
async function begin(house: House): Promise<void> {
  await withEndpoint(house);
  await joinServed(house);
}

export const homeRemovals: readonly UseCase[] = [
  {
    title: 'release of a pool for a network of the cluster',
    prepare: requestPool,
    act: releasePool,
    revert: requestPool,
    isUndoOnly: true,
  },
  {
    title: 'release of an address',
    prepare: async (house) => {
      await create(house);
      await request(house);
    },
    act: release,
    revert: (house) => request(house),
  },
  {
    title: 'removal of a network with all that is in it',
    prepare: joined,
    act: removeAll,
    revert: async (house) => {
      await create(house);
      await begin(house);
    },
  },
  {
    title: 'removal of a network that the cluster keeps',
    prepare: async (house) => {
      await cluster(house);
      await create(house);
    },
    act: removeAll,
    revert: create,
  },
  { title: 'leave', prepare: joined, act: leave, revert: join0 },
  {
    title: 'leave beside another endpoint',
    prepare: async (house) => {
      await beside(house);
      await joinServed(house);
    },
    act: leave,
    revert: join0,
  },
  {
    title: 'removal of an endpoint that is joined',
    prepare: joined,
    act: deleteEndpoint,
    revert: async (house) => {
      await createEndpoint(house);
      await joinServed(house);
    },
  },
  {
    title: 'name of an endpoint',
    prepare: async (house) => {
      await joined(house);
      await called('old')(house);
    },
    act: called('new'),
    revert: called('old'),
  },
];

/** What is left in the engine's namespace, and what keeper and cluster were told of its container. */
export async function lookAtEngine(house: House): Promise<unknown> {
  const { box } = engineOf(house);
  const inside = async (command: string): Promise<string> => (await box?.exec('sh', ['-ec', command]))?.stdout ?? '';
  const links = JSON.parse((await inside('ip -j link')) || '[]') as { readonly ifname: string }[];
  const folder = join(house.runDir, 'keeper/names');
  return {
    links: links.map(({ ifname }) => ifname),
    tables: (await inside('nft list tables')).replaceAll(/[0-9a-f]{8}/g, ''),
    called: readdirSync(folder).map((name) => namesIn(readFileSync(join(folder, name), 'utf8'))),
    // Without ids, which are others when things are made again.
    cluster: (await house.world()).cluster.map((entry) => {
      const [key, value] = entry as readonly [string, unknown];
      const [kind = ''] = key.split('/');
      return kind === 'ipam' ? key : [kind, ...namesIn(JSON.stringify(value))].join(' ');
    }),
  };
}

/** Of the names that are given here. */
const namesIn = (text: string): string[] => text.match(/"(?:old|new)"/g) ?? [];
