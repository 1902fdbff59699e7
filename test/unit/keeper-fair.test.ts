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

test('while others have work too nobody gets more than its share of the time, and alone all of it', async () => {
  const shareOf = async (isAlone: boolean): Promise<number> => {
    let time = 1000;
    let worked = 0;
    const turns = new FairTurns<string>(() => time);
    const greedy = (): void => {
      time += 0.2;
      worked += 0.2;
      turns.add('greedy', greedy);
    };
    turns.add('greedy', greedy);
    for (let round = 0; time < 2000; round++) {
      if (!isAlone && round % 10 === 0) turns.add('other', () => {});
      await new Promise((resolve) => setTimeout(resolve, 1));
      time += 1;
    }
    turns.add = () => {};
    return worked / 1000;
  };
  expect(await shareOf(true)).toBeGreaterThan(0.45);
  const beside = await shareOf(false);
  expect(beside).toBeLessThan(0.4);
  expect(beside).toBeGreaterThan(0.25);
});

test('who has time left does not wait for those who have overdrawn, and what waits of a forgotten owner is done', async () => {
  const turns = new FairTurns<string>();
  const done: string[] = [];
  turns.add('other', () => void done.push('first'));
  for (let i = 0; i < 3; i++) turns.add('greedy', () => (busy(20), void done.push(`greedy${i}`)));
  turns.add('other', () => void done.push('second'));
  turns.forget('greedy');
  while (!done.includes('second')) await nextTurn();
  expect(done).toEqual(['first', 'greedy0', 'second']);
  while (done.length < 5) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(done.slice(3)).toEqual(['greedy1', 'greedy2']);
});
