/** A start removes what is ours and wanted by nobody, and never what somebody else has in a folder of ours. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openNetns, pinNetns, removeNetnsPin } from '../../src/kernel/index.ts';
import { House } from './house-lab.ts';
import { afterTest } from './keeper-lab.ts';
import { hostAt, testHosts } from './support.ts';

/** As we name them: by twelve digits of an id. */
const OURS = '0123456789ab';

test('pins and folders of others outlive a start; what looks like ours and is wanted by nobody does not', async () => {
  const house = await House.open();
  const { host: theirs } = hostAt(await testHosts(1), 0);
  const [pins, folders] = [join(house.runDir, 'netns'), join(house.runDir, 'sandboxes')];
  for (const name of ['theirs', OURS]) {
    const path = join(pins, name);
    afterTest(() => removeNetnsPin(path));
    pinNetns(theirs, path)[Symbol.dispose]();
    mkdirSync(join(folders, name));
    writeFileSync(join(folders, name, 'text'), 'kept');
  }
  await house.start();
  using found = openNetns(join(pins, 'theirs'));
  expect(found.identity).toBe(theirs.identity);
  expect(readFileSync(join(folders, 'theirs', 'text'), 'utf8')).toBe('kept');
  expect([pins, folders].map((folder) => existsSync(join(folder, OURS)))).toEqual([false, false]);
});
