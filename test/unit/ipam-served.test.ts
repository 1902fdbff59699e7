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

test('all that is named so is taken at once, but for what is asked for', async () => {
  const served = new Served();
  const give = (work: () => Promise<string>): Promise<string> => served.give('ep', (one) => one, work);
  await give(async () => '10.0.0.0/24 10.0.0.2');
  await give(async () => 'fd00::/64 fd00::2');
  served.takeAll('ep', (name) => name.startsWith('10.0.0.0/24 '));
  expect(served.has('ep')).toBe(true);
  await give(async () => {
    served.takeAll('ep', () => true);
    expect(served.has('ep')).toBe(true);
    return 'fd00::/64 fd00::3';
  });
  served.takeAll('ep', () => true);
  expect(served.size).toBe(0);
});
