import { expect, test } from 'vitest';
import { isSmall, smallStart } from '../../src/kernel/memory.ts';

test('a plain start gets a small young generation and one heap of the C library, before what is there', () => {
  expect(smallStart({ flags: ['--no-warnings'], env: { PATH: '/bin' } })).toEqual({
    flags: ['--max-semi-space-size=2', '--no-warnings'],
    env: { MALLOC_ARENA_MAX: '1', PATH: '/bin' },
  });
});

test('what the one who starts it has chosen stays', () => {
  const flags = ['--max-semi-space-size=32'];
  expect(smallStart({ flags, env: { MALLOC_ARENA_MAX: '4' } })).toEqual({ flags, env: { MALLOC_ARENA_MAX: '4' } });
  const env = { MALLOC_ARENA_MAX: '4', NODE_OPTIONS: '--max-semi-space-size=8' };
  expect(smallStart({ flags: [], env })).toEqual({ flags: [], env });
});

test.each([
  [{ flags: [], env: {} }],
  [{ flags: ['--max-semi-space-size=8'], env: {} }],
  [{ flags: [], env: { MALLOC_ARENA_MAX: '4' } }],
])('one restart is enough: %j', (start) => {
  expect(isSmall(start)).toBe(false);
  expect(isSmall(smallStart(start))).toBe(true);
});
