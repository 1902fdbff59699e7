import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { FairTurns } from '../../src/keeper/fair.ts';

/** Occupies the thread for some milliseconds. */
function busy(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test('who has little is not behind all of who has much, and the order of each stays', async () => {
  const turns = new FairTurns<string>();
  const done: string[] = [];
  const add = (owner: string, count: number): void => {
    for (let i = 0; i < count; i++) turns.add(owner, () => void done.push(`${owner}${i}`));
  };
  add('loud', 100);
  add('quiet', 2);
  expect(done).toEqual([]);
  while (done.length < 102) await nextTurn();
  expect(done.slice(0, 5)).toEqual(['loud0', 'quiet0', 'loud1', 'quiet1', 'loud2']);
  expect(done.filter((name) => name.startsWith('loud'))).toEqual(Array.from({ length: 100 }, (_, i) => `loud${i}`));
});

test('the event loop turns between pieces of work that take long', async () => {
  const turns = new FairTurns<number>();
  let done = 0;
  for (let i = 0; i < 20; i++) {
    turns.add(i % 2, () => {
      busy(2);
      done++;
    });
  }
  let loops = 0;
  while (done < 20) {
    await nextTurn();
    loops++;
  }
  expect(loops).toBeGreaterThanOrEqual(19);
});

test('work that adds work is not done before what others wait for', async () => {
  const turns = new FairTurns<string>();
  const done: string[] = [];
  const again = (left: number): void => {
    done.push('greedy');
    if (left > 0) turns.add('greedy', () => again(left - 1));
  };
  turns.add('greedy', () => again(10));
  turns.add('other', () => void done.push('other'));
  while (done.length < 12) await nextTurn();
  expect(done.indexOf('other')).toBe(1);
});
