/**
 * As services-undo, for services with published ports and with checks. Such a service has a sandbox on each host: of its many calls,
 * which cnm-undo and cnm-crash break one by one, some of each kind are broken here.
 */

import { test, vi } from 'vitest';
import { publishedCreations, publishedRemovals } from './services-cases.ts';
import { eachCallFails, eachCallIsTheLast, roundsOf } from './services-rounds.ts';

vi.mock(import('../../src/kernel/index.ts'), async (original) =>
  (await import('./fault-modules.ts')).kernelWithFaults(await original()),
);
vi.mock(import('../../src/cnm/shared/shared.ts'), async (original) =>
  (await import('./fault-modules.ts')).sharedWithFaults(await original()),
);

const ROUNDS = [
  ...roundsOf(publishedCreations, { isShared: false, makes: true, isMended: true }),
  ...roundsOf(publishedRemovals, { isShared: false, makes: false, isMended: true }),
];
/** Every so many calls: each kill is two starts. */
const STEP = { fail: 2, kill: 5 };

test.each(ROUNDS)('$title: whichever call fails, before its work or after it', { timeout: 480_000 }, (round) =>
  eachCallFails(round, {}, STEP.fail),
);

test.each(ROUNDS)('$title: killed before or after any call, the next start puts it right', { timeout: 480_000 }, (round) =>
  eachCallIsTheLast(round, {}, STEP.kill),
);
