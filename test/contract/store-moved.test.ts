/** The embedded store whose folder somebody takes away while it is open: nothing is acknowledged that no later start would find. */

import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { codeOf, messageOf } from '../../src/base/index.ts';
import { type EmbeddedStore, openEmbeddedStore } from '../../src/store/index.ts';

/** The store looks at most every 10 ms. */
const SEEN_MS = 20;

let folder: string;
let at: string;
let journal: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pbt-moved-'));
  at = join(folder, 'state', 'store');
  journal = join(folder, 'run');
  mkdirSync(join(folder, 'state'));
  mkdirSync(journal);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const put = (store: EmbeddedStore, key: string, durable: boolean): Promise<unknown> =>
  store.commit({ put: [{ key, value: key }], durable }).then(
    () => undefined,
    (error: unknown) => `${codeOf(error)}: ${messageOf(error)}`,
  );

test.each<[what: string, take: () => void, word: string]>([
  ['removed', () => rmSync(at, { recursive: true }), 'is gone'],
  ['removed with the one around it', () => rmSync(join(folder, 'state'), { recursive: true }), 'is gone'],
  [
    'replaced by a copy',
    () => (cpSync(at, `${at}.copy`, { recursive: true }), rmSync(at, { recursive: true }), renameSync(`${at}.copy`, at)),
    'is another one',
  ],
])('a folder that was %s: changes are refused, and that is told', async (_what, take, word) => {
  const store = await openEmbeddedStore(at, journal);
  expect([await put(store, 'a', true), await put(store, 'b', false), store.problem()]).toEqual([undefined, undefined, undefined]);
  take();
  await sleep(SEEN_MS);
  for (const durable of [true, false]) {
    const refusal = await put(store, 'c', durable);
    expect(refusal).toMatch(/^store_unreachable: .*put the folder back/);
    expect(refusal).toContain(word);
  }
  expect(store.problem()).toContain(word);
  expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['a', 'b']);
  await store.close();
});

test('a folder that comes back takes changes again, and has all that was acknowledged', async () => {
  const store = await openEmbeddedStore(at, journal);
  await put(store, 'a', true);
  await put(store, 'b', false);
  const away = join(folder, 'away');
  renameSync(join(folder, 'state'), away);
  await sleep(SEEN_MS);
  expect(await put(store, 'c', false)).toMatch(/^store_unreachable/);
  renameSync(away, join(folder, 'state'));
  expect([await put(store, 'd', false), await put(store, 'e', true)]).toEqual([undefined, undefined]);
  const before = await store.list('');
  await store.close();
  const again = await openEmbeddedStore(at, journal);
  expect(await again.list('')).toEqual(before);
  await again.close();
});

test('a journal that was removed is written no more: the folder has each change before it is acknowledged', async () => {
  const store = await openEmbeddedStore(at, journal);
  await put(store, 'a', true);
  for (const name of ['journal-0', 'journal-1']) rmSync(join(journal, name));
  await sleep(SEEN_MS);
  expect(await put(store, 'b', false)).toBeUndefined();
  // As after a kill in this moment.
  cpSync(at, join(folder, 'copy'), { recursive: true });
  const copy = await openEmbeddedStore(join(folder, 'copy'));
  expect((await copy.list('')).entries.map(({ key }) => key)).toEqual(['a', 'b']);
  await copy.close();
  await store.close();
});
