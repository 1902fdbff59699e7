import { expect, test } from 'vitest';
import { Contention, Quota } from '../../src/keeper/quota.ts';

const ALLOWANCE = { rate: 40_000, burst: 4000 };

test('one sandbox alone is never contended, two within a moment are, and that passes', () => {
  const contention = new Contention();
  const [a, b] = [new Quota(ALLOWANCE), new Quota(ALLOWANCE)];
  for (let t = 1000; t < 2000; t += 10) expect(contention.note(a, t)).toBe(false);
  contention.note(b, 2001);
  expect(contention.note(a, 2002)).toBe(true);
  expect(contention.note(a, 2120)).toBe(true);
  for (let t = 2400; t < 3000; t += 10) expect(contention.note(a, t)).toBe(false);
});

test('a span of silence is not contention', () => {
  const contention = new Contention();
  contention.note(new Quota(ALLOWANCE), 1000);
  contention.note(new Quota(ALLOWANCE), 1001);
  expect(contention.note(new Quota(ALLOWANCE), 9000)).toBe(false);
});

test('spending is bounded by a burst and a rate; a debt is paid by waiting', () => {
  const quota = new Quota(ALLOWANCE);
  let spent = 0;
  while (quota.spend(64, 1000)) spent += 64;
  expect(spent).toBeLessThanOrEqual(4000);
  expect(spent).toBeGreaterThan(3800);
  expect(quota.isCovered(1000)).toBe(false);
  expect(quota.isCovered(1010)).toBe(true);
  let second = 0;
  for (let t = 1010; t < 2010; t++)
    while (quota.isCovered(t)) {
      quota.spend(64, t);
      second += 64;
    }
  expect(second).toBeLessThan(45_000);
  expect(second).toBeGreaterThan(15_000);
});
