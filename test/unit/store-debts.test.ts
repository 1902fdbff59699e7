/** What is owed to a store that is away, hangs or refuses. */

import { describe, expect, test, vi } from 'vitest';
import { CnmError, codeOf, silentLogger } from '../../src/base/index.ts';
import { Debts } from '../../src/store/index.ts';

type State = 'well' | 'store_unreachable' | 'store_refused' | 'hangs';

/** A store of one value a record, whose state the test sets. */
function store() {
  const done: string[] = [];
  const held: (() => void)[] = [];
  const at = { state: 'well' as State, tries: 0 };
  const write = (value: string) => async (): Promise<void> => {
    at.tries++;
    if (at.state === 'hangs') await new Promise<void>((resolve) => held.push(resolve));
    else if (at.state !== 'well') throw new CnmError(at.state, 'the test says so');
    done.push(value);
  };
  return { at, done, write, release: () => held.splice(0).forEach((go) => go()) };
}

async function withTimers(work: () => Promise<void>): Promise<void> {
  vi.useFakeTimers();
  try {
    await work();
  } finally {
    vi.useRealTimers();
  }
}

const paid = (): Promise<unknown> => vi.advanceTimersByTimeAsync(1000);

describe('debts to a store', () => {
  test.each(['store_unreachable', 'store_refused'] as const)('what meets %s is done when that is over', (state) =>
    withTimers(async () => {
      const { at, done, write } = store();
      const debts = new Debts(silentLogger);
      at.state = state;
      await debts.pay('a', write('a1'));
      await debts.pay('b', write('b1'));
      await paid();
      expect(done).toEqual([]);
      at.state = 'well';
      await paid();
      expect(done).toEqual(['a1', 'b1']);
      await debts.pay('a', write('a2'));
      expect(done).toEqual(['a1', 'b1', 'a2']);
    }),
  );

  test('of one record only the last is owed, however often it changes', () =>
    withTimers(async () => {
      const { at, done, write } = store();
      const debts = new Debts(silentLogger);
      at.state = 'store_unreachable';
      for (let i = 0; i < 1000; i++) await debts.pay('a', write(`a${i}`));
      at.state = 'well';
      await paid();
      expect(done).toEqual(['a999']);
    }));

  test('one that the store refuses for good keeps no other from being done', () =>
    withTimers(async () => {
      const { done, write } = store();
      const debts = new Debts(silentLogger);
      let tries = 0;
      await debts.pay('a', async () => {
        tries++;
        throw new CnmError('store_refused', 'too large');
      });
      await debts.pay('b', write('b1'));
      expect(done).toEqual(['b1']);
      await paid();
      await paid();
      expect(tries).toBeGreaterThanOrEqual(3);
    }));

  test('what hangs is waited for a second, goes on, and the newer change comes after it', () =>
    withTimers(async () => {
      const { at, done, write, release } = store();
      const debts = new Debts(silentLogger);
      at.state = 'hangs';
      const first = debts.pay('a', write('a1'));
      await paid();
      await first;
      await debts.pay('a', write('a2'));
      at.state = 'well';
      await paid();
      expect(done).toEqual([]);
      release();
      await vi.advanceTimersByTimeAsync(0);
      expect(done).toEqual(['a1', 'a2']);
    }));

  test('every other error is the caller’s, and nothing is owed for it', () =>
    withTimers(async () => {
      const { done, write } = store();
      const debts = new Debts(silentLogger);
      const broken = debts.pay('a', () => Promise.reject(new CnmError('network_in_use', 'the test says so')));
      expect(await broken.then(() => undefined, codeOf)).toBe('network_in_use');
      expect(vi.getTimerCount()).toBe(0);
      await debts.pay('a', write('a1'));
      expect(done).toEqual(['a1']);
    }));

  test('closed, nothing is tried any more', () =>
    withTimers(async () => {
      const { at, write } = store();
      const debts = new Debts(silentLogger);
      at.state = 'store_unreachable';
      await debts.pay('a', write('a1'));
      debts.close();
      const { tries } = at;
      await paid();
      await paid();
      expect(at.tries).toBe(tries);
      expect(vi.getTimerCount()).toBe(0);
    }));
});
