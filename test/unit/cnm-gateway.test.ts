import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { EndpointId } from '../../src/base/index.ts';
import { type Candidate, elect, ordered } from '../../src/cnm/gateway.ts';

/** `name[:priority][:i][:4][:6]`, such as `a:5:46` or `b:i:4`. */
function candidate(text: string): Candidate {
  const [networkName = '', ...rest] = text.split(':');
  const has = (flag: string): boolean => rest.some((part) => !part.startsWith('p') && part.includes(flag));
  return {
    id: networkName as EndpointId,
    networkName,
    gwPriority: Number(rest.find((part) => part.startsWith('p'))?.slice(1) ?? 0),
    internal: has('i'),
    hasGateway4: has('4'),
    hasGateway6: has('6'),
  };
}

const rows: readonly [why: string, candidates: string[], order: string, v4: string | undefined, v6: string | undefined][] = [
  ['no endpoint, no gateway', [], '', undefined, undefined],
  ['one with both', ['a:46'], 'a', 'a', 'a'],
  ['one without any', ['a'], 'a', undefined, undefined],
  ['only IPv4', ['a:4'], 'a', 'a', undefined],
  ['only IPv6', ['a:6'], 'a', undefined, 'a'],
  ['by name', ['b:4', 'a:4', 'c:4'], 'a b c', 'a', undefined],
  ['upper case sorts before lower case', ['a:4', 'B:4'], 'B a', 'B', undefined],
  ['names compare as text, not as numbers', ['n10:4', 'n9:4'], 'n10 n9', 'n10', undefined],
  ['priority beats name', ['a:4', 'b:4:p1'], 'b a', 'b', undefined],
  ['a negative priority goes last', ['a:4:p-1', 'b:4'], 'b a', 'b', undefined],
  ['priorities compare as numbers', ['a:4:p9', 'b:4:p10'], 'b a', 'b', undefined],
  ['priority beats internal', ['a:4', 'b:i4:p1'], 'b a', 'b', undefined],
  ['priority beats the number of families', ['a:46', 'b:4:p1'], 'b a', 'b', 'a'],
  ['internal goes behind', ['a:i4', 'b:4'], 'b a', 'b', undefined],
  ['internal beats the number of families', ['a:i46', 'b:4'], 'b a', 'b', 'a'],
  ['two families before one', ['a:4', 'b:46'], 'b a', 'b', 'b'],
  ['one family before none', ['a', 'b:6'], 'b a', undefined, 'b'],
  ['either family counts the same', ['b:4', 'a:6'], 'a b', 'b', 'a'],
  ['families are elected independently', ['a:4', 'b:6', 'c'], 'a b c', 'a', 'b'],
  ['a priority without a gateway elects nothing', ['a:p100', 'b:46'], 'a b', 'b', 'b'],
  ['dual stack loses one family to a priority', ['a:46', 'b:6:p1'], 'b a', 'a', 'b'],
  ['only internal networks', ['b:i4', 'a:i6'], 'a b', 'b', 'a'],
];

describe('gateway election', () => {
  test.each(rows)('%s', (_why, texts, order, v4, v6) => {
    for (const list of [texts, [...texts].reverse()]) {
      const candidates = list.map(candidate);
      expect(
        ordered(candidates)
          .map((c) => c.networkName)
          .join(' '),
      ).toBe(order);
      expect(elect(candidates)).toEqual({ ...(v4 && { v4 }), ...(v6 && { v6 }) });
    }
  });

  test('what is asked is left as it was', () => {
    const candidates = ['b:4', 'a:4'].map(candidate);
    ordered(candidates);
    expect(candidates.map((c) => c.networkName)).toEqual(['b', 'a']);
  });

  test('the answer does not depend on the order of asking', () => {
    const anyCandidate = fc.record({
      gwPriority: fc.integer({ min: -2, max: 2 }),
      internal: fc.boolean(),
      hasGateway4: fc.boolean(),
      hasGateway6: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(anyCandidate, { maxLength: 6 }), fc.infiniteStream(fc.nat()), (parts, random) => {
        const all: Candidate[] = parts.map((part, i) => ({ ...part, id: `n${i}` as EndpointId, networkName: `n${i}` }));
        const shuffled = all
          .map((c) => ({ c, key: random.next().value ?? 0 }))
          .sort((a, b) => a.key - b.key)
          .map(({ c }) => c);
        expect(ordered(shuffled)).toEqual(ordered(all));
        const { v4, v6 } = elect(shuffled);
        expect(v4 !== undefined).toBe(all.some((c) => c.hasGateway4));
        expect(v6 !== undefined).toBe(all.some((c) => c.hasGateway6));
        expect(elect(all)).toEqual({ ...(v4 && { v4 }), ...(v6 && { v6 }) });
      }),
      { numRuns: 200 },
    );
  });
});
