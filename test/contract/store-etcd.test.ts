/** The cluster store under the stores' contract, on a real etcd, and what only a cluster can suffer. */

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { codeOf, parseEtcdAddress } from '../../src/base/index.ts';
import { type Change, type ClusterStore, HistoryGone, openEtcdStore } from '../../src/store/index.ts';
import { EtcdCluster } from './etcd.ts';
import { storeContract } from './store.ts';

let cluster: EtcdCluster;
beforeAll(async () => {
  cluster = await EtcdCluster.start(3);
});
afterAll(() => cluster.close());

/** Commits that a member is asked for before it hangs: of a few of them it does none. */
const LATE_KEYS = 40;
const freshPrefix = (): string => `/t-${randomBytes(4).toString('hex')}`;
const openAt = (prefix: string): Promise<ClusterStore> => openEtcdStore(parseEtcdAddress(cluster.address(prefix)));

storeContract('etcd', { open: () => openAt(freshPrefix()) });

const codeFrom = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'no error',
    (error: unknown) => codeOf(error) ?? String(error),
  );

/** Watches into a list until it is stopped. */
function watched(store: ClusterStore, prefix: string, after: number) {
  const changes: Change[] = [];
  const stop = new AbortController();
  const end = (async () => {
    for await (const change of store.watch(prefix, after, stop.signal)) changes.push(change);
  })();
  end.catch(() => {});
  const until = async (count: number): Promise<void> => {
    const deadline = performance.now() + 20_000;
    while (changes.length < count) {
      if (performance.now() > deadline) throw new Error(`only ${changes.length} of ${count} changes came`);
      await Promise.race([sleep(10), end]);
    }
  };
  return { changes, until, end, stop: () => stop.abort() };
}

describe('hosts that share a store', () => {
  test('what one commits, the other reads at once, and sees in its watch as one change', async () => {
    const prefix = freshPrefix();
    const [one, other] = [await openAt(prefix), await openAt(prefix)];
    expect(one.clusterId).toBe(other.clusterId);
    const { revision } = await other.list('');
    const seen = watched(other, 'a/', revision);
    const first = await one.commit({ put: ['a/1', 'a/2', 'b/1'].map((key) => ({ key, value: key })) });
    expect((await other.get('a/1'))?.revision).toBe(first);
    const second = await one.commit({ remove: ['a/1', 'b/1'], put: [{ key: 'a/2', value: 2 }] });
    await seen.until(2);
    expect(seen.changes).toEqual([
      { revision: first, put: ['a/1', 'a/2'].map((key) => ({ key, value: key, revision: first })), removed: [] },
      { revision: second, put: [{ key: 'a/2', value: 2, revision: second }], removed: ['a/1'] },
    ]);
    seen.stop();
    await seen.end;
    await Promise.all([one.close(), other.close()]);
  });

  test('stores of other prefixes are not touched, also where one begins like the other', async () => {
    const prefix = freshPrefix();
    const [one, other] = [await openAt(prefix), await openAt(`${prefix}x`)];
    await one.commit({ put: [{ key: 'a', value: 1 }] });
    expect((await other.list('')).entries).toEqual([]);
    await Promise.all([one.close(), other.close()]);
  });

  test('a cluster that is full takes nothing new, and gives back all the same', { timeout: 60_000 }, async () => {
    // The least that etcd takes: eight pages of its file, and a fill that no list of records is spared.
    const full = await EtcdCluster.start(1, ['--quota-backend-bytes', String(512 * 1024)]);
    try {
      const store = await openEtcdStore(parseEtcdAddress(full.address(freshPrefix())));
      await store.commit({ put: ['a', 'b', 'c'].map((key) => ({ key, value: key })) });
      const { revision } = (await store.get('b')) ?? { revision: 0 };
      const fill = async (): Promise<void> => {
        for (let i = 0; i < 200; i++) await store.commit({ put: [{ key: `fill/${i}`, value: 'x'.repeat(20_000) }] });
      };
      expect(await codeFrom(fill())).toBe('store_refused');
      await store.commit({ remove: ['a'] });
      expect(await codeFrom(store.commit({ expect: [{ key: 'b', revision: revision - 1 }], remove: ['b'] }))).toBe(
        'stale_revision',
      );
      await store.commit({ expect: [{ key: 'b', revision }], remove: ['b', 'nothing'] });
      expect((await store.list('')).entries.map(({ key }) => key).filter((key) => !key.startsWith('fill/'))).toEqual(['c']);
      await store.close();
    } finally {
      await full.close();
    }
  });

  test('hundreds of commits at once leave nothing that a later one cannot take away', { timeout: 60_000 }, async () => {
    // With etcd's own limit of operations in a transaction.
    const strict = await EtcdCluster.start(1, []);
    try {
      const store = await openEtcdStore(parseEtcdAddress(strict.address(freshPrefix())));
      await Promise.all(Array.from({ length: 400 }, (_, i) => store.commit({ put: [{ key: `k/${i}`, value: i }] })));
      for (let i = 0; i < 6; i++) await store.commit({ put: [{ key: 'last', value: i }] });
      expect((await store.list('k/')).entries).toHaveLength(400);
      await store.close();
    } finally {
      await strict.close();
    }
  });

  test('of many that take the same number at once, each gets another one', { timeout: 60_000 }, async () => {
    const prefix = freshPrefix();
    const stores = await Promise.all(Array.from({ length: 4 }, () => openAt(prefix)));
    const taken: number[] = [];
    await Promise.all(
      stores.flatMap((store, host) =>
        Array.from({ length: 10 }, async (_, i) => {
          for (let number = 0; ; number++) {
            const tx = { expect: [{ key: `n/${number}`, revision: undefined }], put: [{ key: `n/${number}`, value: [host, i] }] };
            if ((await codeFrom(store.commit(tx))) === 'no error') return taken.push(number);
          }
        }),
      ),
    );
    expect(taken.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i));
    await Promise.all(stores.map((store) => store.close()));
  });

  test('records of a lease go with it, and a host that lives keeps it', { timeout: 30_000 }, async () => {
    const prefix = freshPrefix();
    const [one, other] = [await openAt(prefix), await openAt(prefix)];
    const [kept, revoked, abandoned] = [await one.lease(2), await one.lease(60), await other.lease(2)];
    await one.commit({
      put: [
        { key: 'kept', value: 1, lease: kept.id },
        { key: 'revoked', value: 1, lease: revoked.id },
        { key: 'abandoned', value: 1, lease: abandoned.id },
      ],
    });
    await revoked.revoke();
    expect(await one.get('revoked')).toBeUndefined();
    await other.close();
    await expect.poll(() => one.get('abandoned'), { timeout: 15_000 }).toBeUndefined();
    expect(kept.lost.aborted).toBe(false);
    expect((await one.get('kept'))?.value).toBe(1);
    await one.close();
  });
});

describe('a cluster in trouble', () => {
  test('each member in turn is killed and started: no change is lost, none comes twice', { timeout: 90_000 }, async () => {
    const prefix = freshPrefix();
    const store = await openAt(prefix);
    const seen = watched(store, '', (await store.list('')).revision);
    let count = 0;
    let isOver = false;
    const writing = (async () => {
      while (!isOver) {
        await store.commit({ put: [{ key: `n/${count}`, value: count }] });
        count++;
        await sleep(10);
      }
    })();
    for (let member = 0; member < 3; member++) {
      await cluster.kill(member);
      await sleep(1000);
      cluster.begin(member);
      // Two of three have to be there when the next one is killed.
      await cluster.listens(member);
      await sleep(1500);
    }
    isOver = true;
    await writing;
    await seen.until(count);
    expect(count).toBeGreaterThan(20);
    expect(seen.changes.flatMap(({ put }) => put.map(({ value }) => value))).toEqual(Array.from({ length: count }, (_, i) => i));
    seen.stop();
    await store.close();
  });

  test('what a member that hung was asked for is not done again when it goes on', { timeout: 90_000 }, async () => {
    const prefix = freshPrefix();
    const store = await openAt(prefix);
    const keys = Array.from({ length: LATE_KEYS }, (_, i) => `late/${i}`);
    await store.commit({ put: [{ key: 'first', value: 0 }] });
    cluster.freeze(0);
    try {
      await Promise.all(keys.map((key) => store.commit({ expect: [{ key, revision: undefined }], put: [{ key, value: 1 }] })));
      await store.commit({ remove: keys });
      // Whatever is taken away of commits that are done is taken away.
      for (let i = 0; i < 3; i++) await store.commit({ put: [{ key: 'first', value: i }] });
    } finally {
      cluster.thaw(0);
    }
    for (let i = 0; i < 10; i++) {
      // The member itself answers: it has read what it was sent before.
      const other = await openAt(prefix);
      expect((await other.list('late/')).entries).toEqual([]);
      await other.close();
      await sleep(100);
    }
    await store.close();
  });

  test('a member that hangs: the next call goes to another one, the watch too', { timeout: 90_000 }, async () => {
    const prefix = freshPrefix();
    const [store, writer] = [await openAt(prefix), await openAt(prefix)];
    const seen = watched(store, '', (await store.list('')).revision);
    await writer.commit({ put: [{ key: 'a', value: 0 }] });
    await seen.until(1);
    cluster.freeze(0);
    try {
      for (let i = 1; i <= 5; i++) await writer.commit({ put: [{ key: 'a', value: i }] });
      await seen.until(6);
    } finally {
      cluster.thaw(0);
    }
    expect(seen.changes.map(({ put }) => put[0]?.value)).toEqual([0, 1, 2, 3, 4, 5]);
    seen.stop();
    await Promise.all([store.close(), writer.close()]);
  });

  test('all members away: an error that says so, and on it goes when they are back', { timeout: 90_000 }, async () => {
    const prefix = freshPrefix();
    const store = await openAt(prefix);
    const first = await store.commit({ put: [{ key: 'a', value: 1 }] });
    const seen = watched(store, '', first);
    await cluster.killAll();
    expect(await codeFrom(store.commit({ put: [{ key: 'a', value: 2 }] }))).toBe('store_unreachable');
    expect(await codeFrom(store.get('a'))).toBe('store_unreachable');
    await cluster.startAll();
    await expect.poll(() => codeFrom(store.get('a')), { timeout: 20_000 }).toBe('no error');
    const before = seen.changes.length;
    const last = await store.commit({ put: [{ key: 'b', value: 3 }] });
    await seen.until(before + 1);
    expect(seen.changes.at(-1)).toEqual({ revision: last, put: [{ key: 'b', value: 3, revision: last }], removed: [] });
    seen.stop();
    await store.close();
  });

  test('data made anew under a watch: it says that they are older, and is not fooled', { timeout: 60_000 }, async () => {
    const other = await EtcdCluster.start(1);
    try {
      const store = await openEtcdStore(parseEtcdAddress(other.address('/t')));
      for (let i = 0; i < 20; i++) await store.commit({ put: [{ key: 'a', value: i }] });
      const seen = watched(store, '', (await store.list('')).revision);
      await store.commit({ put: [{ key: 'a', value: 'last' }] });
      await seen.until(1);
      await other.killAll();
      other.forget();
      await other.startAll();
      await expect(seen.end).rejects.toBeInstanceOf(HistoryGone);
      await expect(seen.end).rejects.toMatchObject({ reason: 'older' });
      await store.close();
    } finally {
      await other.close();
    }
  });

  test(
    "a commit beyond the cluster's own limits is refused in words, and nothing of it is there",
    { timeout: 60_000 },
    async () => {
      const other = await EtcdCluster.start(1, []);
      try {
        const store = await openEtcdStore(parseEtcdAddress(other.address('/t')));
        const many = Array.from({ length: 200 }, (_, i) => ({ key: `n/${i}`, value: i }));
        expect(await codeFrom(store.commit({ put: many }))).toBe('store_refused');
        expect(await codeFrom(store.commit({ put: [{ key: 'big', value: 'x'.repeat(3_000_000) }] }))).toBe('store_refused');
        expect((await store.list('')).entries).toEqual([]);
        await store.close();
      } finally {
        await other.close();
      }
    },
  );

  test('nobody there at the start', async () => {
    expect(await codeFrom(openEtcdStore(parseEtcdAddress('etcd:///tmp/nobody:1')))).toBe('store_unreachable');
  });
});
