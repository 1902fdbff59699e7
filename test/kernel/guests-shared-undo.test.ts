/** As shared-undo, for what engines have in networks of the cluster: what is left when any call of theirs fails or is the last one before a kill. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { EtcdCluster } from '../contract/etcd.ts';
import { OF_HOMES, deleteLabels, seen, undoLabels } from './fault-labels.ts';
import { homeCreations, homeRemovals, lookAtEngine } from './home-cases.ts';
import type { HouseOptions } from './house-lab.ts';
import { eachCallFails, eachCallIsTheLast, roundsOf } from './services-rounds.ts';
import { FAULT_STEP, KILL_STEP, isWhole } from './shares.ts';

vi.mock(import('../../src/kernel/index.ts'), async (original) =>
  (await import('./fault-modules.ts')).kernelWithFaults(await original()),
);
vi.mock(import('../../src/cnm/shared/shared.ts'), async (original) =>
  (await import('./fault-modules.ts')).sharedWithFaults(await original(), ['rewrite']),
);
vi.mock(import('../../src/base/index.ts'), async (original) =>
  (await import('./fault-labels.ts')).baseWithLabels(await original()),
);

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await EtcdCluster.start(1);
});
afterAll(async () => {
  await etcd.close();
});

const place = (): HouseOptions => ({ cluster: etcd.address(`/g-${randomBytes(4).toString('hex')}`) });

const PLACE = { isShared: true, losesAnswers: true, alsoLook: lookAtEngine } as const;
const ROUNDS = [...roundsOf(homeCreations, { ...PLACE, makes: true }), ...roundsOf(homeRemovals, { ...PLACE, makes: false })];

test.each(ROUNDS)('$title: whichever call fails, before its work or after it', { timeout: 480_000 }, (round) =>
  eachCallFails(round, place(), FAULT_STEP),
);

test.each(ROUNDS.filter(({ isUndoOnly }) => isUndoOnly !== true))(
  '$title: killed before or after any call, the next start puts it right',
  { timeout: 480_000 },
  (round) => eachCallIsTheLast(round, place(), KILL_STEP),
);

test('every undo step of engines in the cluster has run, and every step of a delete has failed, in a case above', () => {
  const missed = [
    ...OF_HOMES.undo.filter((label) => !seen.undone.has(label)),
    ...OF_HOMES.deletes.filter((label) => !seen.failed.has(label)),
  ];
  // A share of the calls meets most of them.
  expect(missed.length).toBeLessThanOrEqual(isWhole ? 0 : 4);
  // None of them is there for nothing.
  expect(undoLabels()).toEqual(expect.arrayContaining([...OF_HOMES.undo]));
  expect(deleteLabels()).toEqual(expect.arrayContaining([...OF_HOMES.deletes]));
});
