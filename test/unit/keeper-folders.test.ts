import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keeperPaths, makeFolders } from '../../src/keeper/files.ts';

let folder: string;
let mask: number;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'patchbay-keeper-'));
  mask = process.umask(0o077);
});
afterAll(() => {
  process.umask(mask);
  rmSync(folder, { recursive: true, force: true });
});

test('a keeper that is started before any daemon leaves the run directory open, and its own closed', () => {
  const run = join(folder, 'run');
  for (let times = 0; times < 2; times++) makeFolders(keeperPaths(run));
  const modes = [run, join(run, 'keeper'), join(run, 'keeper', 'holds')].map((path) => statSync(path).mode & 0o777);
  expect(modes).toEqual([0o755, 0o700, 0o700]);
});
