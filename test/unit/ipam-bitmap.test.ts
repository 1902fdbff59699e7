import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RunSet } from '../../src/ipam/bitmap.ts';

test('a run set answers like a plain set after any sequence of adds and removes', () => {
  const step = fc.record({ add: fc.boolean(), value: fc.integer({ min: 0, max: 40 }) });
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 120 }),
      fc.integer({ min: 0, max: 40 }),
      fc.integer({ min: 0, max: 40 }),
      (steps, a, b) => {
        const set = new RunSet();
        const model = new Set<number>();
        for (const { add, value } of steps) {
          expect(add ? set.add(BigInt(value)) : set.remove(BigInt(value))).toBe(add ? !model.has(value) : model.has(value));
          if (add) model.add(value);
          else model.delete(value);
        }
        const [from, to] = a < b ? [a, b] : [b, a];
        const inside = Array.from({ length: to - from + 1 }, (_, i) => from + i);
        const free = inside.find((value) => !model.has(value));
        expect(set.firstFree(BigInt(from), BigInt(to))).toBe(free === undefined ? undefined : BigInt(free));
        expect(set.countIn(BigInt(from), BigInt(to))).toBe(BigInt(inside.filter((value) => model.has(value)).length));
        for (let value = 0; value <= 40; value++) expect(set.has(BigInt(value))).toBe(model.has(value));
        const sorted = [...model].sort((x, y) => x - y);
        expect(set.runs).toBe(sorted.filter((value, i) => sorted[i - 1] !== value - 1).length);
      },
    ),
    { numRuns: 300 },
  );
});

test('neighbouring numbers of a huge range cost one run', () => {
  const set = new RunSet();
  const base = 0xfd00n << 112n;
  for (let i = 0n; i < 5000n; i++) set.add(base + i);
  expect(set.runs).toBe(1);
  expect(set.firstFree(base, base + (1n << 64n))).toBe(base + 5000n);
});
