/** What engines have in networks of the cluster, on a real etcd: what of it is given back, when, and to whom. */

import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Address, EndpointId, NetworkId, Prefix } from '../../src/base/index.ts';
import { Registry } from '../../src/driver/index.ts';
import type { IpamDriver } from '../../src/ipam/index.ts';
import type { Store } from '../../src/store/index.ts';
import { EtcdCluster } from '../contract/etcd.ts';
import { ofSubnet } from './home-cases.ts';
import { House, type HouseOptions } from './house-lab.ts';
import { type TestHost, hostAt, testHosts } from './support.ts';

const [HOME, LOCAL] = ['a1'.repeat(32), 'd4'.repeat(32)] as NetworkId[] as [NetworkId, NetworkId];
const [ONE, OTHER] = ['b2'.repeat(32), 'c3'.repeat(32)] as EndpointId[] as [EndpointId, EndpointId];
const SUBNET = '10.63.0.0/24' as Prefix;
const OTHER_SUBNET = '10.65.0.0/24' as Prefix;
const GATEWAY = '10.63.0.1' as Address;
const ADDRESS = '10.63.0.9' as Address;
const OPTIONS = { 'patchbay.network': 'blue' };
const SOON = { timeout: 10_000, interval: 20 };
/** Longer than any engine takes from an address to its endpoint, milliseconds. */
const LATE_MS = 601_000;

const spec = ofSubnet(SUBNET, GATEWAY);

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await EtcdCluster.start(1);
});
afterAll(async () => {
  await etcd.close();
});

const inCluster = (rest: HouseOptions = {}): Promise<House> =>
  House.open({ ...rest, cluster: etcd.address(`/g-${randomBytes(4).toString('hex')}`) });

const askPool = ({ controller }: House): Promise<{ readonly pool: string }> =>
  controller.guests.requestHomePool({ family: 4, subnet: SUBNET, options: OPTIONS });

/** Answers the engine's pool. */
async function create(house: House): Promise<string> {
  const { pool } = await askPool(house);
  await house.controller.guests.createNetwork('overlay', HOME, spec);
  return pool;
}

const lease = ({ controller }: House, pool: string): Promise<Prefix> =>
  controller.guests.requestAddress(pool, { address: ADDRESS, owner: 'one', options: {} });

const endpoint = ({ controller }: House, network: NetworkId, id: EndpointId): Promise<unknown> =>
  controller.guests.createEndpoint(network, id, { v4: `${ADDRESS}/24` as Prefix, options: {}, publish: [] });

test('the address of a forgotten endpoint of this host is free, and the same one of the cluster is not', async () => {
  const house = await inCluster();
  const { guests } = house.controller;
  const home = await create(house);
  await lease(house, home);
  await endpoint(house, HOME, ONE);
  const own = await guests.requestPool({ space: 'LocalDefault', family: 4, subnet: SUBNET, options: {} });
  await lease(house, own.pool);
  await guests.createNetwork('bridge', LOCAL, spec);
  await endpoint(house, LOCAL, OTHER);
  await guests.forgetEndpoint(LOCAL, OTHER);
  expect(await lease(house, own.pool)).toBe(`${ADDRESS}/24`);
  await expect(lease(house, home)).rejects.toMatchObject({ code: 'address_in_use' });
  await guests.forgetEndpoint(HOME, ONE);
  expect(await lease(house, home)).toBe(`${ADDRESS}/24`);
  await expect(lease(house, own.pool)).rejects.toMatchObject({ code: 'address_in_use' });
  for (const id of [HOME, LOCAL]) await guests.deleteNetwork(id);
});

test('the cluster is told of an engine that has joined when this host knows of it itself: else it would take that for a leftover', async () => {
  let house: House | undefined;
  const isTold = async (): Promise<boolean> => JSON.stringify((await house?.world())?.cluster ?? []).includes(`/house/${HOME}`);
  const toldBefore: boolean[] = [];
  house = await inCluster({
    store: (store) =>
      new Proxy(store, {
        get: (target, key) => {
          const value: unknown = Reflect.get(target, key, target);
          if (typeof value !== 'function') return value;
          const work = value.bind(target) as Store['commit'];
          if (key !== 'commit') return work;
          return async (batch: Parameters<Store['commit']>[0]) => {
            if (/"phase":"ready".*"home":|"home":.*"phase":"ready"/.test(JSON.stringify(batch.put)))
              toldBefore.push(await isTold());
            return work(batch);
          };
        },
      }),
  });
  await create(house);
  expect(toldBefore).toEqual([false]);
  expect(await isTold()).toBe(true);
  await house.controller.guests.deleteNetwork(HOME);
});

test('a pool that is asked for while the last one of its network is given back is leased', async () => {
  const house = await inCluster();
  const { guests } = house.controller;
  const isLeased = async (): Promise<boolean> => JSON.stringify((await house.world()).cluster).includes(SUBNET);
  let { pool } = await askPool(house);
  for (let i = 0; i < 20; i++) {
    const [, next] = await Promise.all([guests.releasePool(pool), askPool(house)]);
    expect(await isLeased()).toBe(true);
    ({ pool } = next);
  }
  await guests.releasePool(pool);
  expect(await isLeased()).toBe(false);
});

test('a network that is created while its last pool is given back has its subnet in the cluster, or is not created', async () => {
  const gate = new EventEmitter();
  const [begun, goesOn] = [once(gate, 'begun'), once(gate, 'goes on')];
  const slow = (ipam: IpamDriver): IpamDriver =>
    new Proxy(ipam, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        const work = value.bind(target) as (...args: unknown[]) => unknown;
        if (key !== 'releaseAll') return work;
        return async (...args: unknown[]) => {
          gate.emit('begun');
          await goesOn;
          return work(...args);
        };
      },
    });
  const parts: HouseOptions['parts'] = (all) => ({ ...all, ipams: new Registry('IPAM driver', all.ipams.all().map(slow)) });
  const house = await inCluster({ parts });
  const { guests } = house.controller;
  const { pool } = await askPool(house);
  const release = guests.releasePool(pool);
  await begun;
  const created = guests.createNetwork('overlay', HOME, spec).then(
    () => true,
    () => false,
  );
  // As far as it gets by itself.
  await Promise.race([created, sleep(500)]);
  gate.emit('goes on');
  await release;
  const isThere = await created;
  const { cluster } = await house.world();
  const pools = cluster.find((entry) => (entry as readonly unknown[])[0] === 'ipam/pools');
  expect(JSON.stringify(pools).includes(SUBNET)).toBe(isThere);
  expect(guests.networks()).toHaveLength(isThere ? 1 : 0);
  await guests.deleteNetwork(HOME);
});

const questions = async (box: TestHost): Promise<string[]> => {
  const { stdout } = await box.exec('sh', [
    '-ec',
    'nft list tables | while read -r _ f t; do nft -a list chain $f $t questions; done',
  ]);
  return stdout.split('\n').filter((line) => line.includes('# handle') && !line.includes('chain'));
};

test('a rule that was lost in the sandbox of an engine is laid again, whichever it is', async () => {
  const house = await inCluster();
  const { guests } = house.controller;
  await lease(house, await create(house));
  await endpoint(house, HOME, ONE);
  const box = hostAt(await testHosts(1), 0);
  await guests.join(HOME, ONE, box.path);
  await vi.waitFor(async () => expect(await questions(box)).toHaveLength(4), SOON);
  for (let at = 0; at < 4; at++) {
    const handle = /handle (\d+)/.exec((await questions(box))[at] ?? '')?.[1] ?? '';
    const { stdout } = await box.exec('nft', ['list', 'tables']);
    await box.exec('sh', ['-ec', `nft delete rule ${stdout.replace('table ', '')} questions handle ${handle}`]);
    expect(await questions(box)).toHaveLength(3);
    await house.controller.mend();
    expect(await questions(box)).toHaveLength(4);
  }
  await guests.deleteNetwork(HOME);
});

test('an address that no endpoint came for is free again after a while, and one that has an endpoint is not', async () => {
  let later = 0;
  const house = await inCluster({
    parts: (parts) => ({ ...parts, env: { ...parts.env, steady: () => performance.now() + later } }),
  });
  const { guests } = house.controller;
  const pool = await create(house);
  await lease(house, pool);
  const isTaken = (): Promise<void> => expect(lease(house, pool)).rejects.toMatchObject({ code: 'address_in_use' });
  await house.controller.mend();
  await isTaken();
  later = LATE_MS;
  await house.controller.mend();
  expect(await lease(house, pool)).toBe(`${ADDRESS}/24`);
  await endpoint(house, HOME, ONE);
  later = 2 * LATE_MS;
  await house.controller.mend();
  await isTaken();
  await guests.deleteNetwork(HOME);
});

test('what an engine is about to use stays its own while the time of day is set forward', async () => {
  let later = 0;
  const house = await inCluster({
    parts: (parts) => ({ ...parts, env: { ...parts.env, now: () => Date.now() + later } }),
  });
  const { guests } = house.controller;
  const pool = await create(house);
  await lease(house, pool);
  const waiting = await guests.requestHomePool({ family: 4, subnet: OTHER_SUBNET, options: { 'patchbay.network': 'red' } });
  later = LATE_MS;
  await house.controller.mend();
  await expect(lease(house, pool)).rejects.toMatchObject({ code: 'address_in_use' });
  expect(guests.pools().map((one) => one.pool)).toContain(waiting.pool);
  await guests.releasePool(waiting.pool);
  await guests.deleteNetwork(HOME);
});
