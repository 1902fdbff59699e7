/** The cluster's records of networks, on a store in memory. */

import { describe, expect, test } from 'vitest';
import { type EndpointId, type NetworkId, codeOf, silentLogger } from '../../src/base/index.ts';
import type { Cluster } from '../../src/cluster/index.ts';
import type { NetworkRecord } from '../../src/cnm/records.ts';
import { endpointKey, goneKey, nameKey, networkKey } from '../../src/cnm/shared/records.ts';
import { Registry } from '../../src/cnm/shared/registry.ts';
import { MemoryStore } from '../../src/store/index.ts';

const net = {
  schema: 1,
  id: 'a'.repeat(64) as NetworkId,
  name: 'blue',
  phase: 'ready',
  created: 1,
  driver: 'overlay',
  enableIPv4: true,
  enableIPv6: false,
  internal: false,
  attachable: false,
  ingress: false,
  ipam: { driver: 'cluster', options: {}, config: [] },
  pools: [],
  options: {},
  labels: {},
  driverState: null,
} as unknown as NetworkRecord;

const codeFrom = (work: Promise<unknown>): Promise<string | undefined> => work.then(() => undefined, codeOf);

/** One host's registry, and the store of all. */
function host(store = new MemoryStore(), now: () => number = () => 1, self = 'c'.repeat(32)) {
  const cluster: Pick<Cluster, 'self' | 'isAway' | 'nameOf'> & { readonly store: MemoryStore } = {
    store,
    self,
    isAway: () => false,
    nameOf: (id) => id,
  };
  return { store, registry: new Registry(cluster as unknown as Cluster, { now, log: silentLogger }) };
}

describe('a network that the cluster has lost', () => {
  test('stays removed when it is removed meanwhile, for a host too that is about to tell it again', async () => {
    const { store, registry } = host();
    await registry.claim(net);
    await registry.remove(net);
    expect(await registry.isGone(net.id)).toBe(true);
    expect(await store.get(nameKey(net.name))).toBeUndefined();
    await registry.claim(net);
    expect(await codeFrom(registry.publish(net))).toBe('stale_revision');
    expect(await registry.isThere(net.id)).toBe(false);
  });

  test('is told again while nobody has removed it', async () => {
    const { registry } = host();
    await registry.claim(net);
    await registry.publish(net);
    expect(await registry.isThere(net.id)).toBe(true);
    expect(await registry.isGone(net.id)).toBe(false);
  });
});

test('one that was never told leaves nothing when its making is taken back', async () => {
  const { store, registry } = host();
  const draft = { ...net, phase: 'creating' as const };
  await registry.claim(draft);
  await registry.remove(draft);
  expect((await store.list('')).entries).toEqual([]);
});

test('removals are remembered for a while, and then forgotten', async () => {
  const days = (count: number): number => count * 24 * 3600 * 1000;
  let now = 1;
  const { store, registry } = host(undefined, () => now);
  const makeAndRemove = async (id: string): Promise<void> => {
    const one = { ...net, id: id.repeat(64) as NetworkId };
    await registry.claim(one);
    await registry.publish(one);
    await registry.remove(one);
  };
  await makeAndRemove('1');
  now = days(29);
  await makeAndRemove('2');
  now = days(31);
  await makeAndRemove('3');
  const remembered = (await store.list('network-gone/')).entries.map(({ key }) => key);
  expect(remembered).toEqual(['2', '3'].map((id) => goneKey(id.repeat(64) as NetworkId)));
});

test('a host is forgotten with the names that it did not use, be other names of a later version', async () => {
  const { store, registry } = host();
  await store.commit({ put: [{ key: nameKey('a-later'), value: { schema: 99 } }] });
  const key = (node: string): string => endpointKey('d'.repeat(64) as NetworkId, node, 'e'.repeat(64) as EndpointId);
  // In a network that this host knows nothing of.
  await store.commit({ put: ['c'.repeat(32), 'f'.repeat(32)].map((node) => ({ key: key(node), value: null })) });
  await registry.claim(net);
  expect(await registry.forgetHost('c'.repeat(32))).toEqual([net.id]);
  expect((await store.list('')).entries.map(({ key }) => key)).toEqual([key('f'.repeat(32)), nameKey('a-later')]);
  expect(await store.get(networkKey(net.id))).toBeUndefined();
});

test('a name that a failed making has left is free for the host that left it, and taken for others while that one lives', async () => {
  const mine = host();
  const other = host(mine.store, undefined, 'd'.repeat(32));
  await mine.registry.claim(net);
  const again = { ...net, id: 'b'.repeat(64) as NetworkId };
  expect(await codeFrom(other.registry.claim(again))).toBe('name_taken');
  await mine.registry.claim(again);
  // What is owed for the first one comes late, and takes nothing from the second.
  await mine.registry.takeBack({ ...net, phase: 'creating' });
  await mine.registry.publish(again);
  expect(await mine.registry.isThere(again.id)).toBe(true);
});
