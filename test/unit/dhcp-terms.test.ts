/** When a lease is asked for again, and how long it holds. */

import { describe, expect, test } from 'vitest';
import type { Reply } from '../../drivers/dhcp/message.ts';
import { nextTry, stageAt, termsOf } from '../../drivers/dhcp/terms.ts';
import type { Address } from '../../src/base/index.ts';

const of = (leaseSeconds?: number, renewSeconds?: number, rebindSeconds?: number) =>
  termsOf({
    type: 'ack',
    server: '10.0.0.1' as Address,
    ...(leaseSeconds !== undefined && { leaseSeconds }),
    ...(renewSeconds !== undefined && { renewSeconds }),
    ...(rebindSeconds !== undefined && { rebindSeconds }),
  } satisfies Reply);

const terms = (renew: number, rebind: number, lease: number) => ({
  renewMs: renew * 1000,
  rebindMs: rebind * 1000,
  leaseMs: lease * 1000,
});

test.each<[string, ReturnType<typeof of>, ReturnType<typeof of>]>([
  ['without times has those of the RFC', of(800), terms(400, 700, 800)],
  ['with times has those', of(120, 3, 7), terms(3, 7, 120)],
  ['with times behind its end has those of the RFC', of(100, 200, 300), terms(50, 87.5, 100)],
  ['whose second time is before the first has a right one', of(100, 60, 20), terms(60, 87.5, 100)],
  ['whose first time is late has no second one before it', of(100, 95), terms(95, 95, 100)],
  ['of nothing is taken as ten seconds', of(0), terms(5, 8.75, 10)],
  ['whose first time is 0 is not asked for all the time', of(100, 0, 0), terms(50, 87.5, 100)],
  ['without an end has none', of(0xffffffff, 5, 6), { renewMs: Infinity, rebindMs: Infinity, leaseMs: Infinity }],
  ['that says nothing of its length is none', of(undefined, 5, 6), undefined],
])('a lease %s', (_what, found, wanted) => {
  expect(found).toEqual(wanted);
});

describe('a lease of 100 s, renewed at 50, asked of all at 80', () => {
  const lease = terms(50, 80, 100);
  const patience = { leastMs: 4000, mostMs: 6000 };

  test.each([
    [0, 'bound'],
    [49.9, 'bound'],
    [50, 'renewing'],
    [80, 'rebinding'],
    [99.9, 'rebinding'],
    [100, 'expired'],
    [1e9, 'expired'],
  ])('is at %s s %s', (age, stage) => {
    expect(stageAt(lease, age * 1000)).toBe(stage);
  });

  test.each([
    [10, 50],
    // Half-way to the next stage,
    [50, 65],
    [65, 72.5],
    // but not all the time,
    [74, 78],
    // and when that begins at the latest.
    [78, 80],
    // When the network shows it: soon.
    [80, 86],
    [95, 99],
    [98, 100],
    [100, 104],
    [5000, 5004],
  ])('is tried after %s s again at %s', (age, next) => {
    expect(nextTry(lease, age * 1000, patience)).toBe(next * 1000);
  });

  test('that has no end is never tried again', () => {
    const endless = { renewMs: Infinity, rebindMs: Infinity, leaseMs: Infinity };
    expect(nextTry(endless, 1e12, patience)).toBe(Infinity);
    expect(stageAt(endless, 1e12)).toBe('bound');
  });
});
