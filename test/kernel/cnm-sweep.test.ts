/** A start removes what is ours and wanted by nobody, and never what somebody else has in a folder of ours. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PIN_PREFIX } from '../../drivers/overlay/segments.ts';
import { WIREGUARD_PIN } from '../../drivers/overlay/wireguard.ts';
import { openNetns, pinNetns, removeNetnsPin } from '../../src/kernel/index.ts';
import { House } from './house-lab.ts';
import { afterTest } from './keeper-lab.ts';
import { hostAt, testHosts } from './support.ts';

/** As we name them: most by twelve digits of an id. */
const ID = '0123456789ab';
const OURS = [ID, `${PIN_PREFIX}${ID}`, WIREGUARD_PIN];

test('pins and folders of others outlive a start; what looks like ours and is wanted by nobody does not', async () => {
  const house = await House.open();
  const { host: theirs } = hostAt(await testHosts(1), 0);
  const [pins, folders] = [join(house.runDir, 'netns'), join(house.runDir, 'sandboxes')];
  for (const name of ['theirs', `${PIN_PREFIX}theirs`, ...OURS]) {
    const path = join(pins, name);
    afterTest(() => removeNetnsPin(path));
    pinNetns(theirs, path)[Symbol.dispose]();
    mkdirSync(join(folders, name));
    writeFileSync(join(folders, name, 'text'), 'kept');
  }
  await house.start();
  for (const name of ['theirs', `${PIN_PREFIX}theirs`]) {
    using found = openNetns(join(pins, name));
    expect(found.identity).toBe(theirs.identity);
    expect(readFileSync(join(folders, name, 'text'), 'utf8')).toBe('kept');
  }
  expect(OURS.filter((name) => existsSync(join(pins, name)))).toEqual([]);
  expect(existsSync(join(folders, ID))).toBe(false);
});
