/** What every Store owes its callers, as a suite to run against an implementation. */

import { describe, expect, test } from 'vitest';
import type { Json } from '../../src/base/index.ts';
import type { Store } from '../../src/store/index.ts';

export interface StoreManifest {
  /** An empty store. */
  readonly open: () => Promise<Store>;
  /** Absent: the store ends with its process. */
  readonly lasting?: {
    /** Opens what `folder` holds; two calls with one folder reach the same records. */
    readonly openIn: (folder: string) => Promise<Store>;
    /** An empty folder, removed after the test. */
    readonly folder: () => string;
  };
}

const codeFrom = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'no error',
    (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : `foreign error: ${String(error)}`),
  );

const put = (key: string, value: Json = key) => ({ put: [{ key, value }] });
const keysOf = async (store: Store, prefix = ''): Promise<string[]> => (await store.list(prefix)).entries.map((e) => e.key);

export function storeContract(name: string, manifest: StoreManifest): void {
  describe(`store contract: ${name}`, () => {
    reading(manifest);
    committing(manifest);
    if (manifest.lasting !== undefined) lasting(manifest.lasting);
  });
}

function reading({ open }: StoreManifest): void {
  test('an empty store has nothing', async () => {
    const store = await open();
    expect(await store.get('a')).toBeUndefined();
    expect((await store.list('')).entries).toEqual([]);
    await store.close();
  });

  test('what was put is got and listed, with the revision of its commit', async () => {
    const store = await open();
    const value = { text: 'ü \u0000 \ud83d\ude00', list: [1, null, true, { deep: [] }], none: null };
    const revision = await store.commit(put('a/1', value));
    expect(await store.get('a/1')).toEqual({ key: 'a/1', value, revision });
    expect(await store.list('a/')).toEqual({ entries: [{ key: 'a/1', value, revision }], revision });
    await store.close();
  });

  test('a list has exactly the keys with the prefix, in the order of their text', async () => {
    const store = await open();
    for (const key of ['b/10', 'b/2', 'a/1', 'b', 'b/', 'b0', 'B/1', 'b/é', 'b/z']) await store.commit(put(key));
    expect(await keysOf(store, 'b/')).toEqual(['b/', 'b/10', 'b/2', 'b/z', 'b/é']);
    expect(await keysOf(store)).toHaveLength(9);
    await store.close();
  });

  test('a caller that changes its object afterwards does not change the record', async () => {
    const store = await open();
    const value = { list: [1] };
    await store.commit(put('a', value));
    value.list.push(2);
    expect((await store.get('a'))?.value).toEqual({ list: [1] });
    await store.close();
  });

  test('big values and many records come back whole', async () => {
    const store = await open();
    const big = 'x'.repeat(3 * 1024 * 1024);
    await store.commit(put('big', big));
    await store.commit({ put: Array.from({ length: 5000 }, (_, i) => ({ key: `n/${i}`, value: i })) });
    expect((await store.get('big'))?.value).toBe(big);
    expect(await keysOf(store, 'n/')).toHaveLength(5000);
    await store.close();
  });
}

function committing({ open }: StoreManifest): void {
  test('a commit of several keys is one revision, and revisions grow', async () => {
    const store = await open();
    const first = await store.commit({
      put: [
        { key: 'a', value: 1 },
        { key: 'b', value: 2 },
      ],
    });
    const second = await store.commit({ put: [{ key: 'b', value: 3 }], remove: ['a'] });
    expect(second).toBeGreaterThan(first);
    expect((await store.list('')).entries).toEqual([{ key: 'b', value: 3, revision: second }]);
    expect((await store.list('')).revision).toBe(second);
    await store.close();
  });

  test('removing what is not there is fine; a key that is removed and put is there', async () => {
    const store = await open();
    await store.commit({ remove: ['nothing'] });
    await store.commit({ remove: ['a'], put: [{ key: 'a', value: 1 }] });
    expect(await keysOf(store)).toEqual(['a']);
    await store.close();
  });

  test('a commit that expects no key of a kind is refused whole while there is one', async () => {
    const store = await open();
    await store.commit({ put: [{ key: 'a/1', value: 1 }] });
    const change = { put: [{ key: 'b', value: 1 }], remove: ['a/1'] };
    expect(await codeFrom(store.commit({ ...change, expectNone: ['c/', 'a/'] }))).toBe('stale_revision');
    expect(await keysOf(store)).toEqual(['a/1']);
    await store.commit({ ...change, expectNone: ['a/2', 'c/'] });
    expect(await keysOf(store)).toEqual(['b']);
  });

  test('a commit whose expectation does not hold is refused whole', async () => {
    const store = await open();
    const revision = await store.commit(put('a', 1));
    const changes = {
      put: [
        { key: 'a', value: 2 },
        { key: 'b', value: 2 },
      ],
      remove: ['c'],
    };
    await store.commit(put('c', 1));
    for (const expectation of [
      { key: 'a', revision: revision + 1 },
      { key: 'a', revision: undefined },
      { key: 'b', revision },
    ]) {
      expect(await codeFrom(store.commit({ ...changes, expect: [{ key: 'c', revision: revision + 1 }, expectation] }))).toBe(
        'stale_revision',
      );
    }
    expect((await store.get('a'))?.value).toBe(1);
    expect(await keysOf(store)).toEqual(['a', 'c']);
    await store.commit({
      ...changes,
      expect: [
        { key: 'a', revision },
        { key: 'b', revision: undefined },
      ],
    });
    expect(await keysOf(store)).toEqual(['a', 'b']);
    await store.close();
  });

  test('of two that expect the same, one wins', async () => {
    const store = await open();
    const tries = Array.from({ length: 10 }, (_, i) =>
      codeFrom(store.commit({ ...put('a', i), expect: [{ key: 'a', revision: undefined }] })),
    );
    expect((await Promise.all(tries)).sort()).toEqual(['no error', ...Array<string>(9).fill('stale_revision')].sort());
    await store.close();
  });

  test('commits that overlap all happen, each with a revision of its own', async () => {
    const store = await open();
    const revisions = await Promise.all(Array.from({ length: 200 }, (_, i) => store.commit(put(`k${i % 50}`, i))));
    expect(new Set(revisions).size).toBe(200);
    const { entries } = await store.list('');
    expect(entries.map((e) => e.value).sort()).toEqual(Array.from({ length: 50 }, (_, i) => 150 + i).sort());
    await store.close();
  });
}

function lasting({ openIn, folder }: NonNullable<StoreManifest['lasting']>): void {
  test('everything is there after reopening, and revisions go on growing', async () => {
    const path = folder();
    const store = await openIn(path);
    await store.commit({ put: Array.from({ length: 300 }, (_, i) => ({ key: `n/${i}`, value: { i, text: 'x'.repeat(i) } })) });
    await store.commit({ remove: ['n/7'], durable: true });
    const before = await store.list('');
    await store.close();
    for (let round = 0; round < 3; round++) {
      const again = await openIn(path);
      expect(await again.list('')).toEqual(before);
      await again.close();
    }
    const last = await openIn(path);
    expect(await last.commit(put('more'))).toBe(before.revision + 1);
    await last.close();
  });

  test('a second opener is refused while the first one lives, and not after', async () => {
    const path = folder();
    const store = await openIn(path);
    await store.commit(put('a'));
    expect(await codeFrom(openIn(path))).toBe('daemon_running');
    await store.commit(put('b'));
    await store.close();
    const next = await openIn(path);
    expect(await keysOf(next)).toEqual(['a', 'b']);
    await next.close();
  });

  test('a closed store takes nothing more, and says so', async () => {
    const path = folder();
    const store = await openIn(path);
    const last = store.commit(put('a'));
    await store.close();
    await last;
    // The second one finds a store that has refused one already.
    for (const key of ['b', 'c'])
      expect(await codeFrom(store.commit({ ...put(key), durable: true })), key).toBe('store_unreachable');
    const next = await openIn(path);
    expect(await keysOf(next)).toEqual(['a']);
    await next.close();
  });
}
