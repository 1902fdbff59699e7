/** Files of the keeper's entries on a disk that is full: what was there stays, and nothing lies beside it. */

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Address, newEndpointId, newNetworkId } from '../../src/base/index.ts';
import { keeperPaths, makeFolders, readEntry, writeEntry } from '../../src/keeper/files.ts';

let [folder, disk] = ['', ''];
beforeEach(async () => {
  folder = mkdtempSync('/tmp/pbt-');
  disk = join(folder, 'disk');
  mkdirSync(disk);
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]);
});
afterEach(async () => {
  await execa('umount', ['-l', disk]);
  rmSync(folder, { recursive: true, force: true });
});

test('an entry that does not fit', () => {
  const paths = keeperPaths(join(disk, 'run'));
  makeFolders(paths);
  const [id, network] = [newEndpointId(), newNetworkId()];
  const entry = (aliases: number) => ({
    id,
    revision: '1',
    value: {
      network,
      networkName: 'mynet',
      names: Array.from({ length: aliases }, (_, i) => `alias-${i}`),
      addresses: ['10.0.0.2' as Address],
    },
  });
  writeEntry(paths, 'names', entry(1));
  const before = readEntry(paths, 'names', id);
  expect(before?.id).toBe(id);
  expect(() => writeFileSync(join(disk, 'ballast'), Buffer.alloc(1 << 20))).toThrow('ENOSPC');
  expect(() => writeEntry(paths, 'names', entry(1000))).toThrow('ENOSPC');
  expect(readdirSync(join(paths.folder, 'names'))).toEqual([`${id}.json`]);
  expect(readEntry(paths, 'names', id)).toEqual(before);
});
