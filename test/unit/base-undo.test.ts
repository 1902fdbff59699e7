import { afterEach, describe, expect, test, vi } from 'vitest';
import { CnmError, attemptAll, codeOf, isCnmError, messageOf, undoable } from '../../src/base/index.ts';

const caught = async (work: Promise<unknown>): Promise<unknown> => {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
};

afterEach(() => void vi.useRealTimers());

describe('undoable', () => {
  test('a return keeps everything', async () => {
    const ran: string[] = [];
    const value = await undoable(async (undo) => {
      undo.add('a', () => ran.push('a'));
      return 7;
    });
    expect(value).toBe(7);
    expect(ran).toEqual([]);
  });

  test('a throw undoes last-first, each step finished before the next starts', async () => {
    const ran: string[] = [];
    const error = new CnmError('bad_name', 'no');
    const thrown = await caught(
      undoable(async (undo) => {
        for (const label of ['a', 'b', 'c']) {
          undo.add(label, async () => {
            ran.push(`${label} starts`);
            await new Promise((resolve) => setImmediate(resolve));
            ran.push(`${label} ends`);
          });
        }
        throw error;
      }),
    );
    expect(thrown).toBe(error);
    expect(error.undoFailures).toBeUndefined();
    expect(ran).toEqual(['c starts', 'c ends', 'b starts', 'b ends', 'a starts', 'a ends']);
  });

  test('only steps registered before the throw run', async () => {
    const ran: string[] = [];
    await caught(
      undoable(async (undo) => {
        undo.add('before', () => ran.push('before'));
        await Promise.reject(new Error('x'));
        undo.add('after', () => ran.push('after'));
      }),
    );
    expect(ran).toEqual(['before']);
  });

  test('failed steps are kept on the first error, and the others still run', async () => {
    const ran: string[] = [];
    const thrown = await caught(
      undoable(async (undo) => {
        undo.add('first', () => ran.push('first'));
        undo.add('throws', () => {
          throw new Error('sync');
        });
        undo.add('middle', () => ran.push('middle'));
        undo.add('rejects', () => Promise.reject(new Error('async')));
        throw new CnmError('bad_subnet', 'cause');
      }),
    );
    expect(ran).toEqual(['middle', 'first']);
    expect(codeOf(thrown)).toBe('bad_subnet');
    const failures = isCnmError(thrown) ? thrown.undoFailures : undefined;
    expect(failures?.map(({ label, error }) => `${label}: ${messageOf(error)}`)).toEqual(['rejects: async', 'throws: sync']);
  });

  test('a thrown value that is no error is thrown as it is', async () => {
    const ran: string[] = [];
    const thrown = await caught(
      undoable(async (undo) => {
        undo.add('bad', () => Promise.reject(new Error('x')));
        undo.add('good', () => ran.push('good'));
        // oxlint-disable-next-line typescript/only-throw-error
        throw 'text';
      }),
    );
    expect(thrown).toBe('text');
    expect(ran).toEqual(['good']);
  });

  test('a step that never ends is given up and the rest runs', async () => {
    vi.useFakeTimers();
    const ran: string[] = [];
    const pending = caught(
      undoable(async (undo) => {
        undo.add('rest', () => ran.push('rest'));
        undo.add('hangs', () => new Promise(() => {}));
        throw new CnmError('internal', 'x');
      }),
    );
    await vi.advanceTimersByTimeAsync(14_999);
    expect(ran).toEqual([]);
    await vi.advanceTimersByTimeAsync(2);
    const thrown = await pending;
    expect(ran).toEqual(['rest']);
    const failures = isCnmError(thrown) ? thrown.undoFailures : undefined;
    expect(failures?.map((f) => f.label)).toEqual(['hangs']);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('an inner undo runs before the outer one', async () => {
    const ran: string[] = [];
    await caught(
      undoable(async (outer) => {
        outer.add('outer', () => ran.push('outer'));
        await undoable(async (inner) => {
          inner.add('inner', () => ran.push('inner'));
          throw new Error('x');
        });
      }),
    );
    expect(ran).toEqual(['inner', 'outer']);
  });
});

describe('attemptAll', () => {
  test('runs in order, one after the other', async () => {
    const ran: number[] = [];
    await attemptAll([
      [
        'slow',
        async () => {
          await new Promise((resolve) => setImmediate(resolve));
          ran.push(1);
        },
      ],
      ['fast', () => ran.push(2)],
    ]);
    expect(ran).toEqual([1, 2]);
  });

  test('nothing to do is no error', async () => {
    await expect(attemptAll([])).resolves.toBeUndefined();
  });

  test('a single failure is thrown as it is, after every step ran', async () => {
    const ran: string[] = [];
    const error = new Error('only');
    const thrown = await caught(
      attemptAll([
        ['a', () => ran.push('a')],
        ['b', () => Promise.reject(error)],
        ['c', () => ran.push('c')],
      ]),
    );
    expect(thrown).toBe(error);
    expect(ran).toEqual(['a', 'c']);
  });

  test('several failures are one error: code of the first, words and causes of all', async () => {
    const failures = [new CnmError('bad_option', 'one'), new Error('two')];
    const thrown = await caught(
      attemptAll([
        ['a', () => Promise.reject(failures[0])],
        ['b', () => undefined],
        [
          'c',
          () => {
            throw failures[1];
          },
        ],
      ]),
    );
    expect(codeOf(thrown)).toBe('bad_option');
    expect(messageOf(thrown)).toBe('a: one; c: two');
    const cause = thrown instanceof Error ? thrown.cause : undefined;
    expect(cause instanceof AggregateError ? cause.errors : cause).toEqual(failures);
  });

  test('several failures without a code are internal', async () => {
    const fail = () => Promise.reject(new Error('x'));
    const thrown = await caught(
      attemptAll([
        ['a', fail],
        ['b', fail],
      ]),
    );
    expect(codeOf(thrown)).toBe('internal');
  });
});
