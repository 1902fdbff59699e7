/** House rules that no linter knows. */

import { expect, test } from 'vitest';
import { productFiles } from './source.ts';

const MAX_LINES = 400;

test('no file is longer than it can be read in one go', () => {
  const long = productFiles()
    .map((f) => ({ path: f.path, lines: f.text.split('\n').length }))
    .filter((f) => f.lines > MAX_LINES);
  expect(long).toEqual([]);
});

test('every file but a door says what it is about', () => {
  const silent = productFiles()
    .filter((f) => !f.path.endsWith('/index.ts') && !f.text.startsWith('/**'))
    .map((f) => f.path);
  expect(silent).toEqual([]);
});

test('no leftovers: unfinished work, focused or skipped tests', () => {
  const words = /\b(TODO|FIXME|XXX|HACK)\b/;
  expect(
    productFiles()
      .filter((f) => words.test(f.text))
      .map((f) => f.path),
  ).toEqual([]);
});

test('system calls and processes of the packet filter are reached through their rooms only', () => {
  const spawners = productFiles()
    .filter((f) => f.imports.some(({ target }) => target === 'node:child_process' || target === 'execa'))
    .map((f) => f.path);
  expect(
    spawners.every((path) => /^src\/(launch|firewall|keeper)\/|^src\/cnm\/services\/probe\.ts$/.test(path)),
    spawners.join(', '),
  ).toBe(true);
});
