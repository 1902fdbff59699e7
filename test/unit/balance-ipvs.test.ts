/** What IPVS should have, and the change towards it. */

import { describe, expect, test } from 'vitest';
import type { BalancedService } from '../../src/balance/index.ts';
import { ipvsChanges, ipvsOf, isOwn, marksFor } from '../../src/balance/ipvs-plan.ts';
import type { Address } from '../../src/base/index.ts';
import type { IpvsService } from '../../src/kernel/index.ts';

const TAG = '0123abcd';
const [A, B, C, A6] = ['10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1'] as Address[] as [Address, Address, Address, Address];

const serviceOf = (members: BalancedService['members']): BalancedService => ({ id: 'a1'.repeat(32), vips: [], members });
const ipvs = (mark: number, destinations: readonly (readonly [Address, number])[], family: 4 | 6 = 4): IpvsService => ({
  family,
  mark,
  destinations: new Map(destinations),
});

describe('marks', () => {
  test('are the daemon’s own, and the same for the same services', () => {
    const marks = marksFor(TAG, ['x', 'y'], new Map());
    expect([...marks.values()].every((mark) => isOwn(TAG, mark))).toBe(true);
    expect(marksFor(TAG, ['y', 'x'], new Map())).toEqual(marks);
    expect([...marks.values()].some((mark) => isOwn('fedcba98', mark))).toBe(false);
    expect(isOwn(TAG, 256)).toBe(false);
  });

  test('stay, whatever comes and goes beside them', () => {
    const [x = 0] = marksFor(TAG, ['x'], new Map()).values();
    const now = new Map([['old', x]]);
    const marks = marksFor(TAG, ['x', 'old'], now);
    expect(marks.get('old')).toBe(x);
    expect(marks.get('x')).toBe(x + 1);
    expect(marksFor(TAG, ['x', 'old'], marks)).toEqual(marks);
  });

  test('of others, and one that two have, are not taken for theirs', () => {
    const [x = 0] = marksFor(TAG, ['x'], new Map()).values();
    expect(marksFor(TAG, ['x'], new Map([['x', 256]])).get('x')).toBe(x);
    const twice = marksFor(
      TAG,
      ['p', 'q'],
      new Map([
        ['p', x],
        ['q', x],
      ]),
    );
    expect(twice.get('p')).toBe(x);
    expect(twice.get('q')).not.toBe(x);
  });

  test('many services have one each, and those for whom there is none have none', () => {
    const ids = Array.from({ length: 65_536 }, (_, i) => `s${i}`);
    const marks = marksFor(TAG, ids.slice(0, 3000), new Map());
    expect(new Set(marks.values()).size).toBe(3000);
    const full = new Map(ids.slice(1).map((id, i) => [id, 0x81230001 + i]));
    const all = marksFor(TAG, ids, full);
    expect([all.size, all.has('s0')]).toEqual([65_535, false]);
  });
});

test('a service is one of each family that its members have; who is drained has no share', () => {
  const service = serviceOf([
    { addresses: [A, A6], state: 'serving' },
    { addresses: [B], state: 'draining' },
  ]);
  expect(ipvsOf(service, 7, [A6, A])).toEqual([
    ipvs(7, [
      [B, 0],
      [A, 1],
    ]),
    ipvs(7, [[A6, 1]], 6),
  ]);
  expect(ipvsOf(serviceOf([]), 7, [])).toEqual([]);
});

test('only what differs is changed: first what comes, then what goes', () => {
  const service = { family: 4, mark: 1 } as const;
  const gone = { family: 4, mark: 2 } as const;
  const fresh = { family: 6, mark: 1 } as const;
  const now = [
    ipvs(1, [
      [A, 1],
      [B, 1],
    ]),
    ipvs(2, [[A, 1]]),
  ];
  const wanted = [
    ipvs(1, [
      [A, 0],
      [C, 1],
    ]),
    ipvs(1, [[A6, 1]], 6),
  ];
  expect(ipvsChanges(now, wanted)).toEqual({
    first: [
      { op: 'destination.weigh', service, to: A, weight: 0 },
      { op: 'destination.add', service, to: C, weight: 1 },
      { op: 'service.add', service: fresh },
      { op: 'destination.add', service: fresh, to: A6, weight: 1 },
    ],
    last: [
      { op: 'destination.remove', service, to: B },
      { op: 'service.remove', service: gone },
    ],
  });
  expect(ipvsChanges(wanted, wanted)).toEqual({ first: [], last: [] });
});
