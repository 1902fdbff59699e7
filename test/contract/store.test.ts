import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ClassicLevel } from 'classic-level';
import { afterEach, expect, test } from 'vitest';
import { codeOf } from '../../src/base/index.ts';
import { MemoryStore, openEmbeddedStore } from '../../src/store/index.ts';
import { storeContract } from './store.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});
function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pbt-store-'));
  folders.push(folder);
  return join(folder, 'store');
}

const folderOf = new WeakMap<object, string>();
async function open(folder = newFolder()) {
  const store = await openEmbeddedStore(folder);
  folderOf.set(store, folder);
  return store;
}

storeContract('memory', { open: async () => new MemoryStore() });
storeContract('embedded', {
  open,
  async reopen(store) {
    await store.close();
    return open(folderOf.get(store));
  },
});

test('a second opener is refused while the first one lives, and disturbs nothing', async () => {
  const store = await open();
  await store.commit({ put: [{ key: 'a', value: 1 }] });
  expect(await openEmbeddedStore(folderOf.get(store) ?? '').catch(codeOf)).toBe('daemon_running');
  await store.commit({ put: [{ key: 'b', value: 1 }] });
  await store.close();
});

test('the folder is for its owner only', async () => {
  const folder = newFolder();
  await (await open(folder)).close();
  expect(statSync(folder).mode & 0o777).toBe(0o700);
});

/** Every file of a folder with its content, to compare. */
const content = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder)
      .filter((name) => !/^(LOCK|LOG|LOG\.old)$/.test(name))
      .map((name) => [name, readFileSync(join(folder, name), 'base64')]),
  );

test('a store of a newer version is refused, and its records stay', async () => {
  const folder = newFolder();
  const level = new ClassicLevel<string, string>(folder);
  await level.open();
  await level.put('!meta', JSON.stringify({ revision: 7, value: { schema: 2, revision: 7 } }));
  await level.put('network/x', JSON.stringify({ revision: 7, value: { from: 'the future' } }));
  await level.close();
  expect(await openEmbeddedStore(folder).catch(codeOf)).toBe('store_newer');
  const again = new ClassicLevel<string, string>(folder);
  await again.open();
  expect(await again.get('network/x')).toContain('the future');
  await again.close();
});

test.each(['a record that is not JSON', 'records without a version'])('%s is refused as corrupt', async (what) => {
  const folder = newFolder();
  const level = new ClassicLevel<string, string>(folder);
  await level.open();
  if (what.startsWith('a record')) await level.put('!meta', JSON.stringify({ revision: 1, value: { schema: 1, revision: 1 } }));
  await level.put('network/x', what.startsWith('a record') ? '{"revision":1,' : '{"revision":1,"value":{}}');
  await level.close();
  expect(await openEmbeddedStore(folder).catch(codeOf)).toBe('store_corrupt');
});

test('a damaged catalogue file is refused as corrupt, and nothing is rewritten', async () => {
  const folder = newFolder();
  const store = await open(folder);
  await store.commit({ put: [{ key: 'a', value: 'x'.repeat(1000) }] });
  await store.close();
  const copy = `${folder}-copy`;
  cpSync(folder, copy, { recursive: true });
  writeFileSync(join(copy, 'CURRENT'), 'nonsense\n');
  const before = content(copy);
  expect(await openEmbeddedStore(copy).catch(codeOf)).toBe('store_corrupt');
  expect(content(copy)).toEqual(before);
});

test(
  'a killed writer loses nothing that it was told is written, and half a commit is never seen',
  { timeout: 60_000 },
  async () => {
    const folder = newFolder();
    let next = 0;
    for (let kill = 0; kill < 8; kill++) {
      const { child, last } = await writeUntilKilled(folder, next);
      expect(child.signalCode).toBe('SIGKILL');
      const store = await open(folder);
      const [left, right] = [await store.list('left/'), await store.list('right/')];
      expect(left.entries.map((e) => e.key.slice(5))).toEqual(right.entries.map((e) => e.key.slice(6)));
      const seen = new Set(left.entries.map((entry) => entry.value));
      for (let i = 0; i <= last; i++) expect(seen.has(i), `pair ${i} after kill ${kill}`).toBe(true);
      await store.close();
      next = Math.max(...left.entries.map((entry) => Number(entry.value))) + 1;
    }
  },
);

async function writeUntilKilled(folder: string, from: number): Promise<{ child: ChildProcess; last: number }> {
  const script = new URL('store-writer.mjs', import.meta.url).pathname;
  const child = spawn(process.execPath, [script, folder, String(from)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let last = -1;
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => (last = Number(line)));
  await new Promise((resolve) => lines.once('line', resolve));
  await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 60));
  const ended = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGKILL');
  await ended;
  return { child, last };
}
