/** How many replies of an upstream wait for their turn. */

import { expect, test } from 'vitest';
import { WaitingReplies } from '../../src/keeper/waiting.ts';

function lined() {
  const turns: (() => void)[] = [];
  let done = 0;
  const waiting = new WaitingReplies((go) => turns.push(go));
  const add = (octets: number, times = 1): void => {
    for (let i = 0; i < times; i++) waiting.add(octets, () => done++);
  };
  const run = (): number => {
    done = 0;
    for (const turn of turns.splice(0)) turn();
    return done;
  };
  return { add, run };
}

test('small ones by number, long ones by octets', () => {
  const { add, run } = lined();
  add(100, 1000);
  expect(run()).toBe(64);
  add(65_507, 1000);
  expect(run()).toBe(2);
});

test('what has had its turn makes room, and one that has none takes none', () => {
  const { add, run } = lined();
  add(65_507, 3);
  add(50);
  expect(run()).toBe(3);
  add(65_507, 2);
  expect(run()).toBe(2);
});

test('a failure, which has no octets, is told behind the longest replies', () => {
  const { add, run } = lined();
  add(65_536, 2);
  add(0);
  expect(run()).toBe(3);
});
