/** The IPAM driver that hosts share, on a real etcd: its contract, and what several hosts do at once. */

import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Address,
  CnmError,
  type Prefix,
  codeOf,
  parseEtcdAddress,
  prefixAddress,
  silentLogger,
} from '../../src/base/index.ts';
import { type IpamDriver, GATEWAY_REQUEST, REQUEST_ADDRESS_TYPE, createSharedIpam } from '../../src/ipam/index.ts';
import { EtcdChannel } from '../../src/store/etcd/channel.ts';
import { type ClusterStore, type Transaction, openEtcdStore } from '../../src/store/index.ts';
import { EtcdCluster } from './etcd.ts';
import { ipamContract } from './ipam.ts';

const ROUNDS = 1000;
const SUBNET = '10.90.0.0/24' as Prefix;
const ADDRESS = '10.90.0.77' as Address;

let cluster: EtcdCluster;
const stores: ClusterStore[] = [];
beforeAll(async () => {
  cluster = await EtcdCluster.start(3);
});
afterAll(async () => {
  for (const store of stores) await store.close();
  await cluster.close();
});

const freshPrefix = (): string => `/i-${randomBytes(4).toString('hex')}`;

async function openStore(prefix: string): Promise<ClusterStore> {
  const store = await openEtcdStore(parseEtcdAddress(cluster.address(prefix)));
  stores.push(store);
  return store;
}

const ipamOn = (store: ClusterStore, node: string): IpamDriver =>
  createSharedIpam({ store: () => store, site: () => 'site', node, log: silentLogger });

const host = async (prefix: string, node: string): Promise<IpamDriver> => ipamOn(await openStore(prefix), node);

ipamContract('cluster, on etcd', {
  open: () => host(freshPrefix(), 'contract'),
  families: [4, 6],
  allocates: true,
  sharesSubnets: true,
});

async function twoHosts(): Promise<{ ipams: [IpamDriver, IpamDriver]; pool: string }> {
  const prefix = freshPrefix();
  const ipams: [IpamDriver, IpamDriver] = [await host(prefix, 'a'), await host(prefix, 'b')];
  const pools = await Promise.all(
    ipams.map((ipam, i) => ipam.requestPool({ owner: `net${i}`, space: 'Cluster', family: 4, subnet: SUBNET })),
  );
  expect(pools.map((pool) => pool.prefix)).toEqual([SUBNET, SUBNET]);
  return { ipams, pool: pools[0]?.id ?? '' };
}

const settled = async (works: readonly Promise<Prefix>[]): Promise<string[]> =>
  (await Promise.allSettled(works)).map((one) =>
    one.status === 'fulfilled' ? 'got it' : (codeOf(one.reason) ?? String(one.reason)),
  );

test('two hosts that ask for one address at once: one has it, and the other is told', { timeout: 120_000 }, async () => {
  const { ipams, pool } = await twoHosts();
  for (let round = 0; round < ROUNDS; round++) {
    const outcome = await settled(ipams.map((ipam) => ipam.requestAddress(pool, { owner: `ep${round}`, address: ADDRESS })));
    expect(outcome.toSorted()).toEqual(['address_in_use', 'got it']);
    await ipams[outcome.indexOf('got it')]?.releaseAddress(pool, ADDRESS, `ep${round}`);
  }
});

test('two hosts that take any address never take the same one, until none is left', { timeout: 120_000 }, async () => {
  const { ipams, pool } = await twoHosts();
  const taken: string[] = [];
  for (let i = 0; i < 127; i++)
    taken.push(...(await Promise.all(ipams.map((ipam) => ipam.requestAddress(pool, { owner: `ep${i}` })))).map(prefixAddress));
  expect(new Set(taken).size).toBe(254);
  expect(await settled(ipams.map((ipam) => ipam.requestAddress(pool, { owner: 'late' })))).toEqual([
    'no_free_address',
    'no_free_address',
  ]);
  // What the one gives back, the other finds.
  await ipams[0].releaseAddress(pool, taken[10] as Address, 'ep5');
  expect(prefixAddress(await ipams[1].requestAddress(pool, { owner: 'late' }))).toBe(taken[10]);
});

test('networks of two hosts may reserve one router, and no endpoint gets it; the last one gives it back', async () => {
  const { ipams, pool } = await twoHosts();
  const router = '10.90.0.1' as Address;
  for (const [i, ipam] of ipams.entries()) await ipam.requestAddress(pool, { owner: `net${i}`, address: router });
  const ask = (): Promise<string[]> => settled([ipams[0].requestAddress(pool, { owner: 'ep', address: router })]);
  expect(await ask()).toEqual(['address_in_use']);
  await ipams[0].releaseAddress(pool, router, 'net0');
  expect(await ask()).toEqual(['address_in_use']);
  await ipams[1].releaseAddress(pool, router, 'net1');
  expect(await ask()).toEqual(['got it']);
});

test('networks of one host that share a subnet by ranges may reserve one router, and the last one gives it back', async () => {
  const { ipams } = await twoHosts();
  const [ipam] = ipams;
  const router = '10.93.0.1' as Address;
  const subnet = '10.93.0.0/24' as Prefix;
  const pools = [];
  for (const [owner, range] of [
    ['one', '10.93.0.64/26'],
    ['two', '10.93.0.128/26'],
  ] as const)
    pools.push(await ipam.requestPool({ owner, space: 'Cluster', family: 4, subnet, range: range as Prefix }));
  const [one, two] = pools.map(({ id }) => id) as [string, string];
  await ipam.requestAddress(one, { owner: 'one', address: router, isOutside: true });
  await ipam.requestAddress(two, { owner: 'two', address: router, isOutside: true });
  const ask = (): Promise<string[]> => settled([ipam.requestAddress(two, { owner: 'ep', address: router })]);
  expect(await ask()).toEqual(['address_in_use']);
  await ipam.releaseAddress(one, router, 'one');
  expect(await ask()).toEqual(['address_in_use']);
  await ipam.releaseAddress(two, router, 'two');
  expect(await ask()).toEqual(['got it']);
});

test('subnets of two hosts do not overlap unless they are the same', async () => {
  const { ipams } = await twoHosts();
  const ask = (i: 0 | 1, subnet?: string): Promise<string> =>
    ipams[i]
      .requestPool({ owner: `more${i}`, space: 'Cluster', family: 4, ...(subnet !== undefined && { subnet: subnet as Prefix }) })
      .then(
        (pool) => pool.prefix,
        (error: unknown) => String(codeOf(error)),
      );
  expect(await ask(0, '10.90.0.0/16')).toBe('pool_overlap');
  expect(await ask(0, '10.90.0.0/24')).toBe('pool_overlap');
  const automatic = await Promise.all([ask(0), ask(1)]);
  expect(new Set([SUBNET, ...automatic]).size).toBe(3);
});

test('a sweep gives back what this host has for owners that are no more, and nothing of another host', async () => {
  const prefix = freshPrefix();
  const [before, other] = [await host(prefix, 'a'), await host(prefix, 'b')];
  const ask = { space: 'Cluster', family: 4, subnet: SUBNET } as const;
  const { id: pool } = await before.requestPool({ owner: 'net', ...ask });
  await before.requestPool({ owner: 'lost', ...ask, range: '10.90.0.128/25' as Prefix });
  await other.requestPool({ owner: 'lost', ...ask });
  const [kept, lost] = [await before.requestAddress(pool, { owner: 'ep' }), await before.requestAddress(pool, { owner: 'gone' })];
  const theirs = await other.requestAddress(pool, { owner: 'gone' });
  const after = await host(prefix, 'a');
  const young = await after.requestAddress(pool, { owner: 'young' });
  await after.sweep?.(new Set(['net', 'ep']));
  const asked = [kept, lost, theirs, young].map((one) =>
    other.requestAddress(pool, { owner: 'new', address: prefixAddress(one) }),
  );
  expect(await settled(asked)).toEqual(['address_in_use', 'got it', 'address_in_use', 'address_in_use']);
  // The range of the lost network is free, its namesake of the other host is there.
  await after.requestPool({ owner: 'next', ...ask, range: '10.90.0.128/25' as Prefix });
  await expect(other.requestPool({ owner: 'next', ...ask })).rejects.toMatchObject({ code: 'pool_overlap' });
});

test('a record that nobody can read keeps its own address from all, and nothing else', async () => {
  const prefix = freshPrefix();
  const ipam = await host(prefix, 'a');
  const { id: pool } = await ipam.requestPool({ owner: 'net', space: 'Cluster', family: 4, subnet: SUBNET });
  const gone = prefixAddress(await ipam.requestAddress(pool, { owner: 'gone' }));
  const store = stores.at(-1) as ClusterStore;
  const [lease] = (await store.list('ipam/lease/')).entries;
  const folder = lease?.key.replace(/[^/]+$/, '') ?? '';
  const broken = [
    lease?.key.replace(/1$/, '2'),
    `${folder}zz`,
    `${folder}${'f'.repeat(32)}`,
    `${folder}${'0'.repeat(32)}`,
    'ipam/lease/what',
  ];
  await store.commit({ put: broken.map((key = '') => ({ key, value: { schema: 2 } })) });
  // What is not even JSON, as no host writes it.
  const channel = new EtcdChannel(parseEtcdAddress(cluster.address(prefix)));
  const put = { key: Buffer.from(`${prefix}/${lease?.key.replace(/1$/, '3')}`), value: Buffer.from('garbage') };
  await channel.call('KV', 'Txn', { compare: [], success: [{ request_put: put }] });
  channel.close();
  const after = await host(prefix, 'a');
  await after.sweep?.(new Set(['net']));
  const taken: string[] = [];
  for (let i = 0; i < 2; i++) taken.push(prefixAddress(await after.requestAddress(pool, { owner: `ep${i}` })));
  expect([gone, ...taken]).toEqual(['10.90.0.1', '10.90.0.1', '10.90.0.4']);
  expect((await after.usage?.(pool))?.inUse).toBe(6n);
});

test('records that nobody can read keep no endpoint and no network from going', async () => {
  const ipam = await host(freshPrefix(), 'a');
  const { id: pool } = await ipam.requestPool({ owner: 'net', space: 'Cluster', family: 4, subnet: SUBNET });
  const address = prefixAddress(await ipam.requestAddress(pool, { owner: 'ep' }));
  const store = stores.at(-1) as ClusterStore;
  const keys = (await store.list('ipam/')).entries.map(({ key }) => key);
  expect(keys).toHaveLength(2);
  await store.commit({ put: keys.map((key) => ({ key, value: { schema: 2 } })) });
  await ipam.releaseAddress(pool, address, 'ep');
  await ipam.releasePool(pool, 'net');
  await ipam.sweep?.(new Set());
  expect((await store.list('ipam/')).entries.map(({ value }) => value)).toEqual([{ schema: 2 }, { schema: 2 }]);
});

test('a network that hosts share has its subnet for itself, and whoever ends it ends every address in it, once', async () => {
  const prefix = freshPrefix();
  const [a, b] = [await host(prefix, 'a'), await host(prefix, 'b')];
  const shared = { owner: 'net', space: 'Shared', family: 4, subnet: SUBNET } as const;
  const pool = await a.requestPool(shared);
  expect(await b.requestPool(shared)).toEqual(pool);
  const gateway = { owner: 'net', address: '10.90.0.1' as Address, isForPool: true };
  await a.requestAddress(pool.id, gateway);
  expect(await b.requestAddress(pool.id, { owner: 'far', address: ADDRESS })).toBe('10.90.0.77/24');
  for (const space of ['Shared', 'Cluster'])
    for (const ipam of [a, b])
      expect(await settled([ipam.requestPool({ ...shared, owner: 'other', space }).then((one) => one.prefix)])).toEqual([
        'pool_overlap',
      ]);
  // No host's sweep takes what is all hosts'.
  for (const ipam of [await host(prefix, 'a'), await host(prefix, 'b')]) await ipam.sweep?.(new Set(['far']));
  expect((await a.usage?.(pool.id))?.inUse).toBe(4n);
  await b.releaseAddress(pool.id, gateway.address, 'net');
  await b.releasePool(pool.id, 'net');
  const next = await b.requestPool({ ...shared, owner: 'next' });
  await b.requestAddress(next.id, { owner: 'new', address: ADDRESS });
  // It comes late.
  await a.releasePool(pool.id, 'net');
  expect(await settled([a.requestAddress(next.id, { owner: 'far', address: ADDRESS })])).toEqual(['address_in_use']);
});

test('the gateway of a network is the first address, however often other hosts have had it before', async () => {
  const prefix = freshPrefix();
  const [a, b] = [await host(prefix, 'a'), await host(prefix, 'b')];
  for (let round = 0; round < 6; round++) {
    const [one, other] = round % 2 === 0 ? [a, b] : [b, a];
    const owner = `net${round}`;
    const { id } = await one.requestPool({ owner, space: 'Shared', family: 4, subnet: SUBNET });
    const options = { [REQUEST_ADDRESS_TYPE]: GATEWAY_REQUEST };
    expect(await one.requestAddress(id, { owner, options, isForPool: true })).toBe('10.90.0.1/24');
    await other.requestAddress(id, { owner: `ep${round}` });
    await other.releaseAddress(id, '10.90.0.1' as Address, owner);
    await other.releasePool(id, owner);
  }
});

test('what a host had that does not come back is given back', async () => {
  const { ipams, pool } = await twoHosts();
  await ipams[0].requestAddress(pool, { owner: 'gone', address: ADDRESS });
  await ipams[1].forgetHost?.('a');
  expect(await ipams[1].requestAddress(pool, { owner: 'new', address: ADDRESS })).toBe('10.90.0.77/24');
  const all = { owner: 'third', space: 'Cluster', family: 4, subnet: SUBNET } as const;
  expect((await ipams[0].requestPool(all)).prefix).toBe(SUBNET);
});

/** A store whose commits are done, while `answer` says what becomes of the answer. */
const answering = (store: ClusterStore, answer: (revision: number, tx: Transaction) => Promise<number>): ClusterStore =>
  new Proxy(store, {
    get: (target, key) => {
      if (key === 'commit') return async (tx: Transaction) => answer(await target.commit(tx), tx);
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });

test.each(['Shared', 'Cluster'])(
  'space %s: what was leased when the answer was lost is given back by its owner',
  async (space) => {
    const store = await openStore(freshPrefix());
    let isLost = true;
    const ipam = ipamOn(
      answering(store, async (revision) => {
        if (isLost) throw new CnmError('store_unreachable', 'the answer is lost');
        return revision;
      }),
      'a',
    );
    const losing = async (ask: () => Promise<unknown>): Promise<void> => {
      isLost = true;
      await expect(ask()).rejects.toMatchObject({ code: 'store_unreachable' });
      isLost = false;
    };
    const records = async (): Promise<unknown> => (await store.list('ipam/')).entries.map(({ key, value }) => [key, value]);
    const asked = { space, family: 4, subnet: SUBNET } as const;
    await losing(() => ipam.requestPool({ ...asked, owner: 'lost' }));
    await ipam.releaseOwned?.('lost');
    expect(await records()).toEqual([['ipam/pools', { schema: 1, pools: {} }]]);

    const { id: pool } = await ipam.requestPool({ ...asked, owner: 'net' });
    const kept = await ipam.requestAddress(pool, { owner: 'kept' });
    const before = await records();
    for (const request of [
      { owner: 'lost' },
      { owner: 'lost', address: ADDRESS },
      { owner: 'lost', isForPool: true, options: { [REQUEST_ADDRESS_TYPE]: GATEWAY_REQUEST } },
    ]) {
      await losing(() => ipam.requestAddress(pool, request));
      expect(await records()).not.toEqual(before);
      await ipam.releaseOwned?.('lost', pool);
      expect(await records()).toEqual(before);
    }
    // It was the next one all the time, also for who has it in mind.
    expect([kept, await ipam.requestAddress(pool, { owner: 'next' })]).toEqual(['10.90.0.1/24', '10.90.0.2/24']);
  },
);

test('what an owner leases again while its release is under way is no stray', async () => {
  const store = await openStore(freshPrefix());
  const gate = new EventEmitter();
  const [removed, answered] = [once(gate, 'removed'), once(gate, 'answered')];
  const ipam = ipamOn(
    answering(store, async (revision, tx) => {
      if (tx.remove?.length !== 1) return revision;
      gate.emit('removed');
      await answered;
      return revision;
    }),
    'a',
  );
  const { id: pool } = await ipam.requestPool({ owner: 'net', space: 'Cluster', family: 4, subnet: SUBNET });
  await ipam.requestAddress(pool, { owner: 'ep', address: ADDRESS });
  const releasing = ipam.releaseAddress(pool, ADDRESS, 'ep');
  await removed;
  await ipam.requestAddress(pool, { owner: 'ep', address: ADDRESS });
  gate.emit('answered');
  await releasing;
  await ipam.sweep?.(new Set(['net']));
  expect((await store.list('ipam/lease/')).entries).toHaveLength(1);
});
