import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { refuseOfOthers, refuseOwner } from '../../src/base/index.ts';

const NOBODY = 65_534;

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'patchbay-own-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test.each([
  [0, 0o700],
  [0, 0o755],
  [0, 0o775],
  [NOBODY, 0o755],
])('of root, group %i, mode %o: nobody else writes', (gid, mode) => {
  chownSync(folder, 0, gid);
  chmodSync(folder, mode);
  refuseOfOthers('--run-dir', folder);
});

test.each([
  [0, 0, 0o777, /others may write in .*: chmod go-w it/],
  [0, 0, 0o1777, /others may write in/],
  [0, NOBODY, 0o775, /others may write in/],
  [NOBODY, 0, 0o700, /belongs to user 65534: chown it to root/],
])('of user %i, group %i, mode %o is refused', (uid, gid, mode, message) => {
  chownSync(folder, uid, gid);
  chmodSync(folder, mode);
  expect(() => refuseOfOthers('--run-dir', folder)).toThrow(
    expect.objectContaining({ code: 'bad_config', message: expect.stringMatching(message) }),
  );
});

test('where the mode is set anyway, only the owner counts; what is missing is nobody’s', () => {
  chmodSync(folder, 0o777);
  refuseOwner('--state-dir', folder);
  refuseOfOthers('--run-dir', join(folder, 'missing'));
  chownSync(folder, NOBODY, 0);
  expect(() => refuseOwner('--state-dir', folder)).toThrow(/^--state-dir: .* belongs to user 65534/);
});
