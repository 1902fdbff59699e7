/** Who has something of the cluster, and who has no more. */

import { expect, test } from 'vitest';
import { Served } from '../../src/ipam/shared-served.ts';

test('an owner is known while it asks and while it has anything, and not longer', async () => {
  const served = new Served();
  const give = (name: string): Promise<string> =>
    served.give(
      'ep',
      (one) => one,
      async () => {
        expect(served.has('ep')).toBe(true);
        return name;
      },
    );
  await give('10.0.0.2');
  await give('10.0.0.2');
  await give('fd00::2');
  served.take('ep', '10.0.0.2');
  served.take('other', 'fd00::2');
  expect(served.has('ep')).toBe(true);
  served.take('ep', 'fd00::2');
  served.take('ep', 'fd00::2');
  expect(served.has('ep')).toBe(false);
  expect(served.size).toBe(0);
});

test('what is refused leaves nothing behind, and takes nothing away', async () => {
  const served = new Served();
  const refused = (): Promise<string> =>
    served.give(
      'ep',
      (one) => one,
      async () => {
        throw new Error('taken');
      },
    );
  await expect(refused()).rejects.toThrow('taken');
  expect(served.size).toBe(0);
  await served.give(
    'ep',
    (one) => one,
    async () => '10.0.0.2',
  );
  await expect(refused()).rejects.toThrow('taken');
  expect(served.has('ep')).toBe(true);
});
