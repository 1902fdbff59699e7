/** As cnm-undo and cnm-crash, for services: what is left when any call of theirs fails or is the last one before a kill. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, test, vi } from 'vitest';
import { EtcdCluster } from '../contract/etcd.ts';
import type { HouseOptions } from './house-lab.ts';
import { serviceCreations, serviceRemovals } from './services-cases.ts';
import { eachCallFails, eachCallIsTheLast, roundsOf } from './services-rounds.ts';
import { FAULT_STEP, KILL_STEP } from './shares.ts';

vi.mock(import('../../src/kernel/index.ts'), async (original) =>
  (await import('./fault-modules.ts')).kernelWithFaults(await original()),
);
vi.mock(import('../../src/cnm/shared/shared.ts'), async (original) =>
  (await import('./fault-modules.ts')).sharedWithFaults(await original()),
);

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await EtcdCluster.start(1);
});
afterAll(async () => {
  await etcd.close();
});

const placeOf = (isShared: boolean): HouseOptions =>
  isShared ? { cluster: etcd.address(`/s-${randomBytes(4).toString('hex')}`) } : {};

const ROUNDS = [false, true].flatMap((isShared) => [
  ...roundsOf(serviceCreations(isShared), { isShared, losesAnswers: isShared, makes: true }),
  ...roundsOf(serviceRemovals(isShared), { isShared, losesAnswers: isShared, makes: false }),
]);

test.each(ROUNDS)('$title of $where: whichever call fails, before its work or after it', { timeout: 480_000 }, (round) =>
  eachCallFails(round, placeOf(round.isShared), FAULT_STEP),
);

test.each(ROUNDS)(
  '$title of $where: killed before or after any call, the next start puts it right',
  { timeout: 480_000 },
  (round) => eachCallIsTheLast(round, placeOf(round.isShared), KILL_STEP),
);
