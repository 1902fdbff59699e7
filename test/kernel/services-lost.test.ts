/** A service that the cluster has lost, and whose address somebody else has got meanwhile. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Json, parseEtcdAddress } from '../../src/base/index.ts';
import { openEtcdStore } from '../../src/store/index.ts';
import { EtcdCluster } from '../contract/etcd.ts';
import { House } from './house-lab.ts';
import { NotedBalancer, addressesOf } from './services-lab.ts';

const SOON = { timeout: 30_000, interval: 100 };

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await EtcdCluster.start(1);
});
afterAll(async () => {
  await etcd.close();
});

test('it is neither named nor balanced, says why, and is whole when the address is free', { timeout: 120_000 }, async () => {
  const place = etcd.address(`/lost-${randomBytes(4).toString('hex')}`);
  const balancer = new NotedBalancer();
  const house = await House.open({
    cluster: place,
    parts: (parts) => ({ ...parts, balancer: balancer.over(parts.balancer) }),
  });
  await house.network('net', { driver: 'overlay' });
  const client = await house.sandbox('client', [['net', {}]]);
  const { services } = house.controller;
  const { id, vips } = await services.create({ name: 'web', network: 'net' });
  const other = await services.create({ name: 'other', network: 'net' });
  const vip = vips.map(({ address }) => address as string);
  const balanced = (): string[] => balancer.told.get(client.host.identity)?.map((one) => one.id) ?? [];
  expect(await addressesOf(client, 'web')).toEqual(vip);
  expect(balanced().sort()).toEqual([id, other.id].sort());

  const store = await openEtcdStore(parseEtcdAddress(place));
  try {
    const { entries } = await store.list('');
    const lease = entries.find(({ key, value }) => key.startsWith('ipam/lease/') && JSON.stringify(value).includes(id));
    if (lease === undefined) throw new Error('its address is leased nowhere');
    const taken = JSON.parse(JSON.stringify(lease.value).replace(id, 'f'.repeat(64))) as Json;
    const lost = entries.filter(({ key, value }) => key.startsWith('service') && JSON.stringify([key, value]).includes(id));
    await store.commit({ put: [{ key: lease.key, value: taken }], remove: lost.map(({ key }) => key) });

    await vi.waitFor(() => expect(services.troubleOf(id)).toMatch(/address/), SOON);
    await vi.waitFor(async () => expect(await addressesOf(client, 'web')).toEqual([]), SOON);
    await vi.waitFor(() => expect(balanced()).toEqual([other.id]), SOON);
    expect(services.troubleOf(other.id)).toBeUndefined();

    await store.commit({ remove: [lease.key] });
    await vi.waitFor(() => expect(services.troubleOf(id)).toBeUndefined(), SOON);
    await vi.waitFor(async () => expect(await addressesOf(client, 'web')).toEqual(vip), SOON);
    await vi.waitFor(() => expect(balanced().sort()).toEqual([id, other.id].sort()), SOON);
    await services.remove('web');
    await vi.waitFor(async () => expect(await addressesOf(client, 'web')).toEqual([]), SOON);
  } finally {
    await store.close();
  }
});
