/** What every Store owes its callers, as a suite to run against an implementation. */

import { describe, expect, test } from 'vitest';
import { codeOf } from '../../src/base/index.ts';
import type { Store } from '../../src/store/index.ts';

export interface StoreManifest {
  /** An empty store. */
  readonly open: () => Promise<Store>;
  /** Closes and opens the same store again; absent: it lives as long as its process. */
  readonly reopen?: (store: Store) => Promise<Store>;
}

const put = (key: string, value: string | number) => ({ key, value });
const keys = async (store: Store, prefix: string): Promise<string[]> =>
  (await store.list(prefix)).entries.map((entry) => entry.key);

export function storeContract(name: string, { open, reopen }: StoreManifest): void {
  describe(`store contract: ${name}`, () => {
    test('what is put is got and listed in key order, whatever the order of writing', async () => {
      const store = await open();
      await store.commit({ put: [put('b/2', 1), put('a/1', 2), put('b/10', 3)] });
      expect((await store.get('a/1'))?.value).toBe(2);
      expect(await store.get('a/2')).toBeUndefined();
      expect(await keys(store, 'b/')).toEqual(['b/10', 'b/2']);
      expect(await keys(store, '')).toEqual(['a/1', 'b/10', 'b/2']);
      expect(await keys(store, 'c/')).toEqual([]);
      await store.close();
    });

    test('revisions grow with every commit and mark the entries that it wrote', async () => {
      const store = await open();
      const first = await store.commit({ put: [put('a', 1), put('b', 1)] });
      const second = await store.commit({ put: [put('b', 2)] });
      expect(second).toBeGreaterThan(first);
      expect((await store.get('a'))?.revision).toBe(first);
      expect((await store.get('b'))?.revision).toBe(second);
      expect((await store.list('')).revision).toBe(second);
      await store.close();
    });

    test('a commit whose expectation does not hold changes nothing', async () => {
      const store = await open();
      const revision = await store.commit({ put: [put('a', 1)] });
      for (const expectation of [
        { key: 'a', revision: undefined },
        { key: 'a', revision: revision + 1 },
        { key: 'x', revision },
      ]) {
        const error = await store
          .commit({ expect: [expectation], put: [put('a', 2), put('new', 1)], remove: ['a'] })
          .catch(codeOf);
        expect(error).toBe('stale_revision');
      }
      expect((await store.get('a'))?.value).toBe(1);
      expect(await store.get('new')).toBeUndefined();
      await store.commit({
        expect: [
          { key: 'a', revision },
          { key: 'new', revision: undefined },
        ],
        put: [put('new', 1)],
      });
      expect((await store.get('new'))?.value).toBe(1);
      await store.close();
    });

    test('of writers that expect the same revision exactly one wins', async () => {
      const store = await open();
      const revision = await store.commit({ put: [put('seat', 'free')] });
      const writers = Array.from({ length: 20 }, (_, i) =>
        store.commit({ expect: [{ key: 'seat', revision }], put: [put('seat', i)] }),
      );
      const results = await Promise.allSettled(writers);
      expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
      await store.close();
    });

    test('a key that is removed and put in one commit is there; removing what is absent is fine', async () => {
      const store = await open();
      await store.commit({ put: [put('a', 1)], remove: ['a', 'never'] });
      expect((await store.get('a'))?.value).toBe(1);
      await store.commit({ remove: ['a'] });
      expect(await store.get('a')).toBeUndefined();
      await store.close();
    });

    test('a value that its writer changes afterwards stays as it was written', async () => {
      const store = await open();
      const value = { list: [1] };
      await store.commit({ put: [{ key: 'a', value }] });
      value.list.push(2);
      expect((await store.get('a'))?.value).toEqual({ list: [1] });
      await store.close();
    });

    test('large values and odd characters come back', async () => {
      const store = await open();
      const value = { text: 'ü\u0000\u{1F600}'.repeat(100_000) };
      await store.commit({ put: [{ key: 'big', value }] });
      expect((await store.get('big'))?.value).toEqual(value);
      await store.close();
    });

    if (reopen !== undefined) durabilityContract(open, reopen);
  });
}

function durabilityContract(open: StoreManifest['open'], reopen: NonNullable<StoreManifest['reopen']>): void {
  test('entries, revisions and the count of commits survive a close', async () => {
    const store = await open();
    await store.commit({ put: [put('a', 1), put('b', 2)] });
    const last = await store.commit({ put: [put('a', 3)], remove: ['b'], durable: true });
    const again = await reopen(store);
    expect((await again.list('')).entries).toEqual([{ key: 'a', value: 3, revision: last }]);
    expect(await again.commit({ put: [put('c', 1)] })).toBeGreaterThan(last);
    await again.close();
  });

  test('commits under way when it closes are kept', async () => {
    const store = await open();
    const commits = Array.from({ length: 50 }, (_, i) => store.commit({ put: [put(`k${i}`, i)] }));
    const again = await reopen(store);
    await Promise.all(commits);
    expect(await keys(again, 'k')).toHaveLength(50);
    await again.close();
  });
}
