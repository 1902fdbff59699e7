import { expect, test, vi } from 'vitest';
import { within } from '../../src/base/index.ts';

test('what is done in time is answered, what fails in time is thrown, and what takes longer is not waited for', async () => {
  vi.useFakeTimers();
  try {
    expect(await within(10, Promise.resolve('done'))).toBe('done');
    await expect(within(10, Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(vi.getTimerCount()).toBe(0);
    const late = within(10, new Promise(() => {}));
    await vi.advanceTimersByTimeAsync(9);
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(await late).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
