import { afterEach, describe, expect, test, vi } from 'vitest';
import { KeyedLock, codeOf } from '../../src/base/index.ts';

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

function gate(): Gate {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

afterEach(() => void vi.useRealTimers());

describe('KeyedLock', () => {
  test('one holder of a key at a time, served in order of arrival', async () => {
    const lock = new KeyedLock();
    const served: number[] = [];
    let inside = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        lock.run('k', async () => {
          most = Math.max(most, ++inside);
          await tick();
          served.push(i);
          inside--;
        }),
      ),
    );
    expect(most).toBe(1);
    expect(served).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(lock.size).toBe(0);
  });

  test('other keys do not wait', async () => {
    const lock = new KeyedLock();
    const door = gate();
    const held = lock.run('a', () => door.opened);
    expect(await lock.run('b', async () => 'through')).toBe('through');
    expect(lock.size).toBe(1);
    door.open();
    await held;
    expect(lock.size).toBe(0);
  });

  test('hands on what the work returns or throws, and is free afterwards', async () => {
    const lock = new KeyedLock();
    expect(await lock.run('k', async () => 5)).toBe(5);
    await expect(lock.run('k', () => Promise.reject(new Error('mine')))).rejects.toThrow('mine');
    expect(lock.size).toBe(0);
    expect(await lock.run('k', async () => 6)).toBe(6);
  });

  test('a failing holder lets the next one in', async () => {
    const lock = new KeyedLock();
    const first = lock.run('k', async () => {
      await tick();
      throw new Error('x');
    });
    const second = lock.run('k', async () => 'second');
    await expect(first).rejects.toThrow('x');
    expect(await second).toBe('second');
    expect(lock.size).toBe(0);
  });

  test('several keys are held together, a key named twice once', async () => {
    const lock = new KeyedLock();
    const door = gate();
    const held = lock.runAll(['b', 'a', 'b'], () => door.opened);
    await tick();
    expect(lock.size).toBe(2);
    const got: string[] = [];
    const waiting = ['a', 'b'].map((key) => lock.run(key, async () => void got.push(key)));
    await tick();
    expect(got).toEqual([]);
    door.open();
    await Promise.all([held, ...waiting]);
    expect(got.sort()).toEqual(['a', 'b']);
    expect(lock.size).toBe(0);
  });

  test('no keys: the work just runs', async () => {
    expect(await new KeyedLock().runAll([], async () => 1)).toBe(1);
  });

  test('callers that name the same keys in any order never wait for each other for good', async () => {
    const lock = new KeyedLock();
    const orders = [
      ['a', 'b', 'c'],
      ['c', 'b', 'a'],
      ['b', 'c'],
      ['c', 'a'],
      ['b', 'a'],
    ];
    const holders = new Map<string, number>();
    const done = await Promise.all(
      Array.from({ length: 50 }, (_, i) => {
        const keys = orders[i % orders.length] ?? [];
        return lock.runAll(keys, async () => {
          for (const key of keys) {
            expect(holders.has(key), `${key} is held by ${holders.get(key)}`).toBe(false);
            holders.set(key, i);
          }
          await tick();
          for (const key of keys) holders.delete(key);
          return i;
        });
      }),
    );
    expect(done).toHaveLength(50);
    expect(lock.size).toBe(0);
  });

  describe('when a wait takes too long', () => {
    const setup = async () => {
      vi.useFakeTimers();
      const lock = new KeyedLock();
      const door = gate();
      const ran: string[] = [];
      const holder = lock.run('k', () => door.opened);
      const late = lock.run('k', async () => void ran.push('late')).catch(codeOf);
      await vi.advanceTimersByTimeAsync(29_999);
      expect(await Promise.race([late, Promise.resolve('waits')])).toBe('waits');
      await vi.advanceTimersByTimeAsync(2);
      expect(await late).toBe('deadline_exceeded');
      return { lock, door, ran, holder };
    };

    test('it is refused and its work never runs', async () => {
      const { lock, door, ran, holder } = await setup();
      door.open();
      await holder;
      await vi.advanceTimersByTimeAsync(1);
      expect(ran).toEqual([]);
      expect(lock.size).toBe(0);
      expect(vi.getTimerCount()).toBe(0);
    });

    test('the key is still held for those who come after it', async () => {
      const { lock, door, ran, holder } = await setup();
      const next = lock.run('k', async () => void ran.push('next'));
      await vi.advanceTimersByTimeAsync(10);
      expect(ran).toEqual([]);
      door.open();
      await Promise.all([holder, next]);
      expect(ran).toEqual(['next']);
      await vi.advanceTimersByTimeAsync(1);
      expect(lock.size).toBe(0);
    });
  });
});
