import { expect, test } from 'vitest';
import { UpstreamHealth } from '../../src/dns/health.ts';
import { Slots } from '../../src/dns/slots.ts';

test('silence shortens the patience, twice demotes, any answer restores, and changes are told once', () => {
  const now = 0;
  const told: string[] = [];
  const health = new UpstreamHealth(
    () => now,
    (key, isDemoted) => told.push(`${key} ${isDemoted}`),
  );
  expect(health.patienceMs('a')).toBe(1000);
  health.silent('a');
  expect([health.patienceMs('a'), health.isDemoted('a')]).toEqual([200, false]);
  health.silent('a');
  health.silent('a');
  expect(health.isDemoted('a')).toBe(true);
  expect(health.isDemoted('b')).toBe(false);
  health.answered('a');
  health.answered('a');
  expect([health.patienceMs('a'), health.isDemoted('a')]).toEqual([1000, false]);
  expect(told).toEqual(['a true', 'a false']);
});

test('how many were silent the last time is told when it changes', () => {
  const counts: number[] = [];
  const health = new UpstreamHealth(
    () => 0,
    () => {},
    (silent) => counts.push(silent),
  );
  health.answered('a');
  health.silent('a');
  health.silent('b');
  health.answered('a');
  health.answered('a');
  health.answered('b');
  expect(counts).toEqual([1, 2, 1, 0]);
});

test('tries of a demoted upstream are a second apart', () => {
  let now = 5000;
  const health = new UpstreamHealth(() => now);
  health.silent('a');
  health.silent('a');
  const tries: number[] = [];
  for (; now < 9000; now += 100) if (health.takeProbe('a')) tries.push(now);
  expect(tries).toEqual([6000, 7000, 8000]);
  expect(health.takeProbe('b')).toBe(false);
});

test('the memory is bounded: the longest unused upstream is forgotten', () => {
  const health = new UpstreamHealth(() => 0);
  for (const key of ['first', 'first', 'second', 'second']) health.silent(key);
  health.silent('first');
  for (let i = 0; i < 4095; i++) health.silent(`n${i}`);
  expect(health.isDemoted('second')).toBe(false);
  expect(health.isDemoted('first')).toBe(true);
});

test('slots are handed on in order, waiting is bounded in number and time', async () => {
  const slots = new Slots(1, 2, 30);
  const take = (): Promise<boolean> => new Promise((resolve) => slots.take(resolve));
  expect(await take()).toBe(true);
  const order: string[] = [];
  const first = take().then((granted) => order.push(`first ${granted}`));
  const second = take().then((granted) => order.push(`second ${granted}`));
  expect(await take()).toBe(false);
  slots.release();
  await first;
  await second;
  expect(order).toEqual(['first true', 'second false']);
  slots.release();
  expect(slots.taken).toBe(0);
  await take();
  const waiting = take();
  slots.clear();
  expect(await waiting).toBe(false);
});
