import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { forFlag, makeFolder, makeOpenFolder, writeOpenFile } from '../../src/base/index.ts';

let folder: string;
let mask: number;
beforeAll(() => void (mask = process.umask(0o077)));
afterAll(() => void process.umask(mask));
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'patchbay-open-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const modeOf = (...names: string[]): string => (statSync(join(folder, ...names)).mode & 0o777).toString(8);

test.each(['a/b/c', 'a/b/c/', 'a/./x/../b/c'])(
  'every folder that is made for %s is open, and the one around stays as it was',
  (path) => {
    makeOpenFolder(`${folder}/${path}`);
    expect(['', 'a', 'a/b', 'a/b/c'].map((name) => modeOf(name))).toEqual(['700', '755', '755', '755']);
  },
);

test.each([
  ['/proc/patchbay/run', 'ENOENT'],
  ['file/run', 'ENOTDIR'],
  ['file', 'EEXIST'],
  ['dangling', 'EEXIST'],
])('a folder that cannot be made, %s, is an error and no endless try', (path, code) => {
  writeFileSync(join(folder, 'file'), '');
  symlinkSync('nowhere', join(folder, 'dangling'));
  const full = resolve(folder, path);
  expect(() => makeFolder(full, 0o700)).toThrow(expect.objectContaining({ code }));
  expect(() => forFlag('--run-dir', full, () => makeOpenFolder(full))).toThrow(
    expect.objectContaining({ code: 'bad_config', message: expect.stringContaining(`--run-dir ${full}: `) }),
  );
  expect(readdirSync(folder).toSorted()).toEqual(['dangling', 'file']);
});

test('a folder that is there already, by a link too, is taken', () => {
  mkdirSync(join(folder, 'a'));
  symlinkSync('a', join(folder, 'b'));
  for (const name of ['a', 'b', 'b/c/d']) makeFolder(join(folder, name), 0o700);
  expect(modeOf('a', 'c', 'd')).toBe('700');
});

test('a folder that is there keeps its mode', () => {
  mkdirSync(join(folder, 'a'));
  chmodSync(join(folder, 'a'), 0o710);
  makeOpenFolder(join(folder, 'a'));
  makeOpenFolder(join(folder, 'a', 'b'));
  expect([modeOf('a'), modeOf('a', 'b')]).toEqual(['710', '755']);
});

test('a file is made open, or as asked for, and keeps its mode when it is written again', () => {
  const paths = ['plain', 'log'].map((name) => join(folder, name)) as [string, string];
  writeOpenFile(paths[0], 'one');
  writeOpenFile(paths[1], 'one', 0o640);
  expect([modeOf('plain'), modeOf('log')]).toEqual(['644', '640']);
  chmodSync(paths[0], 0o604);
  writeOpenFile(paths[0], 'two');
  expect([modeOf('plain'), readFileSync(paths[0], 'utf8')]).toEqual(['604', 'two']);
});
