/** The embedded store on a disk that gets full and has room again: what was acknowledged is there after a kill at any moment, and the rest never was. */

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { codeOf, messageOf, type Json } from '../../src/base/index.ts';
import { type EmbeddedStore, openEmbeddedStore } from '../../src/store/index.ts';

let folder: string;
let disk: string;
/** Room that can be had again. */
let ballast: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pbt-full-'));
  disk = join(folder, 'disk');
  ballast = join(disk, 'ballast');
  mkdirSync(disk);
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]);
  writeFileSync(ballast, Buffer.alloc(700 * 1024));
});
afterEach(async () => {
  await execa('umount', ['-l', disk]);
  rmSync(folder, { recursive: true, force: true });
});

const put = (store: EmbeddedStore, i: number, durable: boolean): Promise<number> =>
  store.commit({ put: [{ key: `k/${i}`, value: `${i}`.padEnd(9000 + 37 * i, 'v') }], remove: [`k/${i - 5}`], durable });

const held = async (store: EmbeddedStore): Promise<(readonly [string, Json, number])[]> =>
  (await store.list('')).entries.map(({ key, value, revision }) => [key, value, revision] as const);

/** What a start finds after a kill at this moment. */
async function afterKill(journal?: string): Promise<unknown> {
  const copy = mkdtempSync(join(folder, 'copy-'));
  for (const from of ['store', ...(journal === undefined ? [] : [journal])])
    cpSync(join(disk, '..', from === 'store' ? 'disk/store' : from), join(copy, from), { recursive: true });
  const store = await openEmbeddedStore(join(copy, 'store'), journal && join(copy, journal));
  try {
    return await held(store);
  } finally {
    await store.close();
  }
}

/** Commits until one is refused; answers which. */
async function fill(store: EmbeddedStore, first: number): Promise<number> {
  for (let i = first; ; i++) {
    const code = await put(store, i, true).then(() => undefined, codeOf);
    if (code === undefined) continue;
    expect(code).toBe('store_unreachable');
    return i;
  }
}

test('a commit that does not fit is refused and leaves nothing, and those that come when there is room again last', async () => {
  const store = await openEmbeddedStore(join(disk, 'store'));
  let next = 0;
  for (let round = 0; round < 3; round++) {
    next = await fill(store, next);
    const before = await held(store);
    expect(before.map(([key]) => key)).toContain(`k/${next - 1}`);
    expect(before.map(([key]) => key)).not.toContain(`k/${next}`);
    expect(await afterKill()).toEqual(before);
    const again = await put(store, next, true).catch((error: unknown) => error);
    expect(codeOf(again)).toBe('store_unreachable');
    expect(messageOf(again)).toContain('No space left');

    rmSync(ballast, { force: true });
    for (const last = next + 5; next < last; next++) await put(store, next, next % 2 === 0);
    expect(await afterKill()).toEqual(await held(store));
    writeFileSync(ballast, Buffer.alloc(300 * 1024));
  }
  const before = await held(store);
  await store.close();
  const again = await openEmbeddedStore(join(disk, 'store'));
  expect(await held(again)).toEqual(before);
  await again.close();
});

test('with a journal, what is not durable is refused too until there is room: the folder may have the revision that it would get', async () => {
  mkdirSync(join(folder, 'journal'));
  const store = await openEmbeddedStore(join(disk, 'store'), join(folder, 'journal'));
  let next = await fill(store, 0);
  const full = await held(store);
  for (let i = next; i < next + 3; i++)
    expect(await put(store, i, false).then(() => undefined, codeOf)).toBe('store_unreachable');
  expect(await held(store)).toEqual(full);
  expect(await afterKill('journal')).toEqual(full);
  rmSync(ballast);
  for (const last = next + 3; next < last; next++) await put(store, next, next % 2 === 0);
  const before = await held(store);
  expect(await afterKill('journal')).toEqual(before);
  await store.close();
  const again = await openEmbeddedStore(join(disk, 'store'), join(folder, 'journal'));
  expect(await held(again)).toEqual(before);
  await again.close();
});
