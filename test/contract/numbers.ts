/** What a pool of numbers owes, as a suite to run on a store that several clients may share. */

import { describe, expect, test } from 'vitest';
import { codeOf } from '../../src/base/index.ts';
import { createNumbers } from '../../src/cluster/index.ts';
import type { NumberPool } from '../../src/driver/index.ts';
import type { Store } from '../../src/store/index.ts';

export interface NumbersManifest {
  /** Two clients of one empty store; one and the same where only one can have it open. */
  readonly open: () => Promise<readonly [Store, Store]>;
}

const failure = (work: Promise<unknown>): Promise<string | undefined> =>
  work.then(
    () => 'no error',
    (error: unknown) => codeOf(error),
  );

const keysOf = async (store: Store): Promise<string[]> => (await store.list('')).entries.map(({ key }) => key);

export function numbersContract(name: string, { open }: NumbersManifest): void {
  describe(`numbers on ${name}`, () => {
    const few = { from: 10, to: 19 };
    const pools = async (range = few): Promise<{ a: NumberPool; b: NumberPool; store: Store }> => {
      const [one, two] = await open();
      return { a: createNumbers(one, 'test', range), b: createNumbers(two, 'test', range), store: one };
    };

    test('an owner has one number, the same for whoever asks, until it is released', async () => {
      const { a, b, store } = await pools();
      const number = await a.take('net/0');
      expect(number).toBeGreaterThanOrEqual(few.from);
      expect(number).toBeLessThanOrEqual(few.to);
      expect(await b.take('net/0')).toBe(number);
      expect(await a.take('net/0', number)).toBe(number);
      await b.release('net/0');
      await a.release('net/0');
      await a.release('nobody');
      expect(await keysOf(store)).toEqual([]);
    });

    test('a number that is wished is had, also outside the range, and refused to others', async () => {
      const { a, b, store } = await pools();
      expect(await a.take('one', 300)).toBe(300);
      expect(await failure(b.take('two', 300))).toBe('number_taken');
      expect(await a.take('one', 301)).toBe(301);
      expect(await b.take('two', 300)).toBe(300);
      expect(await keysOf(store)).toHaveLength(4);
      await a.release('one');
      expect(await b.take('two', 301)).toBe(301);
      expect((await keysOf(store)).sort()).toEqual(['numbers/test/number/301', 'numbers/test/owner/two']);
    });

    test('the range is given out whole, each number once, and then refused until one is free', async () => {
      const { a, b } = await pools();
      const taken: number[] = [];
      for (let i = 0; i < 10; i++) taken.push(await (i % 2 === 0 ? a : b).take(`net/${i}`));
      expect(taken.toSorted((x, y) => x - y)).toEqual(Array.from({ length: 10 }, (_, i) => few.from + i));
      expect(await failure(a.take('more'))).toBe('numbers_exhausted');
      await b.release('net/3');
      expect(await a.take('more')).toBe(taken[3]);
    });

    test('of many that take at once, from two clients, no two have one number', async () => {
      const { a, b, store } = await pools({ from: 1, to: 60 });
      const takers = Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? a : b).take(`net/${i}`));
      expect(new Set(await Promise.all(takers)).size).toBe(50);
      expect(await keysOf(store)).toHaveLength(100);
      const wished = await Promise.all([a, b].map((pool, i) => failure(pool.take(`wish/${i}`, 70))));
      expect(wished.sort()).toEqual(['no error', 'number_taken']);
      // One owner, asked for by both at once, has one number.
      const twice = await Promise.all([a.take('same'), b.take('same'), a.take('same')]);
      expect(new Set(twice).size).toBe(1);
      await Promise.all(Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? b : a).release(`net/${i}`)));
      expect(await keysOf(store)).toHaveLength(4);
    });
  });
}
