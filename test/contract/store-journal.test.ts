/** What the embedded store has in its journal only: after a kill, damage, a return to an older folder, and beside durable commits. */

import { appendFileSync, copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openEmbeddedStore } from '../../src/store/index.ts';
import { waitUntil } from '../e2e/lab.ts';

const FILES = ['journal-0', 'journal-1'];
const LIMIT_MS = 10_000;

let root: string;
let store: string;
let journal: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pbt-journal-'));
  [store, journal] = [join(root, 'store'), mkdtempSync(join(root, 'run-'))];
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const open = () => openEmbeddedStore(store, journal);
const put = (key: string, value: number) => ({ put: [{ key, value }] });

/** What a kill would leave at this moment: the folders as they are. */
function killed(): { store: string; journal: string } {
  const copy = mkdtempSync(join(root, 'copy-'));
  cpSync(store, join(copy, 'store'), { recursive: true });
  cpSync(journal, join(copy, 'journal'), { recursive: true });
  return { store: join(copy, 'store'), journal: join(copy, 'journal') };
}

/** Keys and values of what was left. */
async function found(left: { store: string; journal: string }): Promise<Record<string, unknown>> {
  const opened = await openEmbeddedStore(left.store, left.journal);
  const { entries } = await opened.list('');
  await opened.close();
  return Object.fromEntries(entries.map(({ key, value }) => [key, value]));
}

/** A store with one durable record, and three commits that only the journal has. */
async function filled() {
  const opened = await open();
  await opened.commit({ ...put('old', 0), durable: true });
  const before = killed();
  await opened.commit(put('a', 1));
  await opened.commit(put('b', 2));
  await opened.commit({ ...put('c', 3), remove: ['old'] });
  return { opened, before, left: killed() };
}

test('a commit is in the journal when it resolves, and in the folder soon after', async () => {
  const { opened, left } = await filled();
  expect(statSync(join(left.journal, FILES[0] ?? '')).size).toBeGreaterThan(0);
  expect(await found(left)).toEqual({ a: 1, b: 2, c: 3 });
  await waitUntil(() => FILES.every((name) => statSync(join(journal, name)).size === 0), LIMIT_MS);
  expect(await found({ store: killed().store, journal: mkdtempSync(join(root, 'none-')) })).toEqual({ a: 1, b: 2, c: 3 });
  await opened.close();
});

test('a last line that was being written is no commit; a broken one before others is damage', async () => {
  const { opened, left } = await filled();
  await opened.close();
  const file = join(left.journal, FILES[0] ?? '');
  appendFileSync(file, '{"revision":');
  expect(await found(left)).toEqual({ a: 1, b: 2, c: 3 });
  const { left: again } = await filled();
  const other = join(again.journal, FILES[0] ?? '');
  const lines = readFileSync(other, 'utf8').split('\n');
  writeFileSync(other, [lines[0]?.slice(0, 20), ...lines.slice(1)].join('\n'));
  await expect(openEmbeddedStore(again.store, again.journal)).rejects.toMatchObject({ code: 'store_corrupt' });
});

test('entries of another store, or from after a gap, are left out', async () => {
  const { opened, before, left } = await filled();
  await opened.close();
  const other = join(root, 'other');
  const foreign = await openEmbeddedStore(other);
  await foreign.commit({ ...put('mine', 9), durable: true });
  await foreign.close();
  expect(await found({ store: other, journal: killedCopy(left.journal) })).toEqual({ mine: 9 });
  const file = join(left.journal, FILES[0] ?? '');
  writeFileSync(file, readFileSync(file, 'utf8').split('\n').slice(1).join('\n'));
  expect(await found({ store: before.store, journal: left.journal })).toEqual({ old: 0 });
});

function killedCopy(folder: string): string {
  const copy = mkdtempSync(join(root, 'journal-'));
  for (const name of FILES) copyFileSync(join(folder, name), join(copy, name));
  return copy;
}

test('a durable commit takes with it what came before, and what comes at the same time keeps its order', async () => {
  const opened = await open();
  await opened.commit(put('a', 1));
  const both = [opened.commit({ ...put('x', 1), durable: true }), opened.commit(put('x', 2)), opened.commit(put('y', 3))];
  expect(await Promise.all(both)).toEqual([2, 3, 4]);
  expect(await found(killed())).toEqual({ a: 1, x: 2, y: 3 });
  await opened.close();
  expect(await found({ store, journal })).toEqual({ a: 1, x: 2, y: 3 });
});

test('many commits over many turns are all there at any moment', async () => {
  const opened = await open();
  for (let i = 0; i < 400; i++) {
    await opened.commit({
      put: [
        { key: `k/${i % 50}`, value: i },
        { key: 'last', value: i },
      ],
      remove: [`k/${(i + 25) % 50}`],
    });
    if (i % 40 !== 0) continue;
    const there = await found(killed());
    expect(there['last']).toBe(i);
    expect(there[`k/${i % 50}`]).toBe(i);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await opened.close();
});
