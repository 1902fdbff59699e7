/** Both stores under the contract, and what only the embedded one can suffer: kills, damage, newer versions. */

import { spawn } from 'node:child_process';
import {
  cpSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ClassicLevel } from 'classic-level';
import { rolldown } from 'rolldown';
import { afterEach, describe, expect, test } from 'vitest';
import { codeOf, type Json } from '../../src/base/index.ts';
import { MemoryStore, openEmbeddedStore } from '../../src/store/index.ts';
import { damageIn } from '../../src/store/verify.ts';
import { storeContract } from './store.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});
function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'pbt-store-'));
  folders.push(path);
  return path;
}

storeContract('memory', { open: async () => new MemoryStore() });
storeContract('embedded', {
  open: () => openEmbeddedStore(folder()),
  lasting: { openIn: (path) => openEmbeddedStore(path), folder },
});
storeContract('embedded, with a journal', {
  open: () => openEmbeddedStore(folder(), folder()),
  lasting: { openIn: (path) => openEmbeddedStore(path, path), folder },
});

/** The first commit of a filled store needs less in the log. */
const FIRST_BATCH_OCTETS = 300;

type Dump = readonly (readonly [string, Json])[];

/** A store in `path` after `count` commits; answers what it held after each. */
async function filled(path: string, count = 20): Promise<Dump[]> {
  const store = await openEmbeddedStore(path);
  const states: Dump[] = [[]];
  for (let i = 0; i < count; i++) {
    await store.commit({
      put: [
        { key: `k/${i % 7}`, value: { i, text: 'v'.repeat(50 + i) } },
        { key: `n/${i}`, value: i },
      ],
      remove: [`n/${i - 3}`],
      durable: i % 2 === 0,
    });
    states.push((await store.list('')).entries.map((e) => [e.key, e.value]));
  }
  await store.close();
  return states;
}

const dump = async (path: string): Promise<Dump | string> => {
  try {
    const store = await openEmbeddedStore(path);
    const { entries } = await store.list('');
    await store.close();
    return entries.map((e) => [e.key, e.value]);
  } catch (error) {
    return codeOf(error) ?? `foreign error: ${String(error)}`;
  }
};

const bytesOf = (path: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(path)
      .filter((n) => /\.(log|ldb)$|^MANIFEST|^CURRENT$/.test(n))
      .map((n) => [n, readFileSync(join(path, n), 'base64')]),
  );

const fileIn = (path: string, pattern: RegExp): string => join(path, readdirSync(path).find((n) => pattern.test(n)) ?? 'none');

function flip(file: string, at: number, mask = 0x20): void {
  const bytes = readFileSync(file);
  bytes.writeUInt8((bytes.readUInt8(at) ^ mask) & 0xff, at);
  writeFileSync(file, bytes);
}

describe('a damaged store', () => {
  test(
    'whichever octet of its log is flipped: refused and untouched, or as it was one commit before',
    { timeout: 60_000 },
    async () => {
      const whole = folder();
      const states = await filled(whole);
      const log = fileIn(whole, /\.log$/);
      const size = statSync(log).size;
      let refused = 0;
      for (let at = 0; at < size; at += 37) {
        const path = folder();
        cpSync(whole, path, { recursive: true });
        flip(join(path, log.slice(whole.length + 1)), at);
        const before = bytesOf(path);
        const found = await dump(path);
        if (found === 'store_corrupt') {
          refused++;
          expect(bytesOf(path), `octet ${at}`).toEqual(before);
        } else {
          // Nobody can tell this from a commit that a crash tore off.
          expect(found, `octet ${at}`).toEqual(states.at(-2));
          expect(at).toBeGreaterThan(size - 1000);
        }
      }
      expect(refused).toBeGreaterThan(50);
    },
  );

  test(
    'wherever its log ends early, it is as after a commit no older than the last durable one, or refused',
    { timeout: 60_000 },
    async () => {
      const whole = folder();
      const states = await filled(whole);
      const log = fileIn(whole, /\.log$/);
      // Every other commit is durable, and the first one is.
      const lastDurable = states.length - 2;
      const seen = new Set<number>();
      let refused = 0;
      for (let size = statSync(log).size; size >= 0; size -= 61) {
        const path = folder();
        cpSync(whole, path, { recursive: true });
        truncateSync(join(path, log.slice(whole.length + 1)), size);
        const before = bytesOf(path);
        const found = JSON.stringify(await dump(path));
        if (found === '"store_corrupt"') {
          refused++;
          // A log without a whole batch says nothing, and LevelDB begins another in its place.
          const isEmpty = size < FIRST_BATCH_OCTETS;
          if (!isEmpty) expect(bytesOf(path), `${size} octets`).toEqual(before);
          expect(await dump(path), `${size} octets`).toBe('store_corrupt');
          continue;
        }
        const index = states.findIndex((state) => JSON.stringify(state) === found);
        expect(index, `${size} octets: ${found.slice(0, 200)}`).toBeGreaterThanOrEqual(lastDurable);
        seen.add(index);
      }
      expect(seen.size).toBeGreaterThan(0);
      expect(refused).toBeGreaterThan(10);
    },
  );

  test('a table with a flipped octet is refused', { timeout: 60_000 }, async () => {
    const whole = folder();
    const states = await filled(whole);
    expect(await dump(whole)).toEqual(states.at(-1));
    const table = fileIn(whole, /\.ldb$/);
    for (let at = 0; at < statSync(table).size; at += 53) {
      const path = folder();
      cpSync(whole, path, { recursive: true });
      flip(join(path, table.slice(whole.length + 1)), at);
      // Octets that hold nothing, as in padding and filters, may change.
      const found = await dump(path);
      if (found !== 'store_corrupt') expect(found, `octet ${at}`).toEqual(states.at(-1));
    }
    flip(table, 40);
    expect(await dump(whole)).toBe('store_corrupt');
  });

  test.each([
    ['CURRENT', /^CURRENT$/],
    ['its manifest', /^MANIFEST/],
    ['a table', /\.ldb$/],
  ])('without %s it is refused, and begins nothing anew', async (_, pattern) => {
    const path = folder();
    await filled(path);
    await dump(path);
    rmSync(fileIn(path, pattern));
    const before = Object.keys(bytesOf(path)).filter((n) => n.endsWith('.ldb'));
    expect(await dump(path)).toBe('store_corrupt');
    expect(Object.keys(bytesOf(path)).filter((n) => n.endsWith('.ldb'))).toEqual(before);
  });

  test('a record that someone else changed, removed or added is noticed', async () => {
    const path = folder();
    await filled(path);
    for (const change of [
      (level: ClassicLevel) => level.put('k/1', '{"revision":1,"value":0}'),
      (level: ClassicLevel) => level.del('k/1'),
      (level: ClassicLevel) => level.put('x', '{"revision":1,"value":0}'),
      (level: ClassicLevel) => level.put('k/1', 'no JSON'),
      (level: ClassicLevel) => level.del('!meta'),
    ]) {
      const copy = folder();
      cpSync(path, copy, { recursive: true });
      const level = new ClassicLevel(copy);
      await level.open();
      await change(level);
      await level.close();
      expect(await dump(copy)).toBe('store_corrupt');
    }
  });

  test('a log of many blocks is read over their borders', () => {
    const path = folder();
    return filled(path, 1500).then(async (states) => {
      const log = readFileSync(fileIn(path, /\.log$/));
      expect(log.length).toBeGreaterThan(4 * 32_768);
      expect(damageIn(log)).toBeUndefined();
      for (const at of [5, 32_768, 32_768 * 2 + 3, log.length - 3000]) {
        const copy = Buffer.from(log);
        copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
        expect(damageIn(copy), `octet ${at}`).toBeDefined();
      }
      // Blocks that the file system had promised and never wrote.
      expect(damageIn(Buffer.concat([log, Buffer.alloc(5000)]))).toBeUndefined();
      expect(await dump(path)).toEqual(states.at(-1));
    });
  });
});

test('a store of a newer version is refused, and its records are untouched', async () => {
  const path = folder();
  await filled(path);
  const level = new ClassicLevel(path);
  await level.open();
  await level.put('!meta', JSON.stringify({ revision: 99, value: { schema: 2, revision: 99, more: true } }));
  const before = await level.iterator().all();
  await level.close();
  expect(await dump(path)).toBe('store_newer');
  await level.open();
  expect(await level.iterator().all()).toEqual(before);
  await level.close();
});

test('the folder and what is in it is for its owner alone', async () => {
  const path = join(folder(), 'a', 'b');
  await filled(path);
  expect(statSync(path).mode & 0o777).toBe(0o700);
});

test('a path that cannot be a store is refused', async () => {
  const file = join(folder(), 'file');
  writeFileSync(file, 'x');
  expect(await openEmbeddedStore(file).catch((error: unknown) => codeOf(error) ?? 'foreign')).toBe('store_corrupt');
});

/** Commits one after another, says each on stdout once it is done, until it is killed. */
const WRITER = (store: string): string => `
import { openEmbeddedStore } from '${store}';
const store = await openEmbeddedStore(process.argv[2], process.argv[3]);
let n = (await store.list('a/')).entries.length;
for (;;) {
  await store.commit({ put: [{ key: 'a/' + n, value: n }, { key: 'b/' + n, value: n }, { key: 'last', value: n }], durable: n % 10 === 0 });
  process.stdout.write(n++ + '\\n');
}`;

/** The writer as a program; this project's sources are no JavaScript. */
async function writer(): Promise<string> {
  const path = folder();
  writeFileSync(join(path, 'writer.mjs'), WRITER(join(import.meta.dirname, '../../src/store/index.ts')));
  symlinkSync(join(import.meta.dirname, '../../node_modules'), join(path, 'node_modules'));
  const build = await rolldown({
    input: join(path, 'writer.mjs'),
    platform: 'node',
    external: ['classic-level'],
    logLevel: 'silent',
  });
  await build.write({ file: join(path, 'writer.js'), format: 'esm' });
  await build.close();
  writeFileSync(join(path, 'package.json'), '{ "type": "module" }');
  return join(path, 'writer.js');
}

test.each(['without', 'with'])(
  'a killed writer %s a journal loses no commit that it was told of, and none is half there',
  { timeout: 60_000 },
  async (way) => {
    const path = folder();
    const journal = way === 'with' ? [folder()] : [];
    const program = await writer();
    let told = -1;
    for (let round = 0; round < 12; round++) {
      const child = spawn(process.execPath, [program, path, ...journal], { stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = new Promise((resolve) => child.once('exit', resolve));
      const enough = told + 5 + Math.floor(Math.random() * 300);
      for await (const line of createInterface({ input: child.stdout })) {
        told = Number(line);
        if (told >= enough) child.kill('SIGKILL');
      }
      await ended;
      const store = await openEmbeddedStore(path, ...journal);
      const count = (await store.list('a/')).entries.length;
      expect(count).toBeGreaterThan(told);
      expect((await store.list('b/')).entries.length).toBe(count);
      expect((await store.get('last'))?.value).toBe(count - 1);
      await store.close();
    }
  },
);
