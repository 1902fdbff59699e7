import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { makeOpenFolder, writeOpenFile } from '../../src/base/index.ts';

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
