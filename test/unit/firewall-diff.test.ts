import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RuleBook, type Edit, type OwnerChange, type RuleSet } from '../../src/firewall/diff.ts';

type Table = 'filter' | 'nat';
type Kernel = Map<string, string[]>;

/** Applies an edit as the kernel would: a missing chain, rule or a chain still led to is an error. */
function applyEdit(kernel: Kernel, edit: Edit<Table>): void {
  for (const [table, { write, remove, add, drop }] of edit) {
    const at = (chain: string): string[] => {
      const rules = kernel.get(`${table} ${chain}`);
      if (rules === undefined) throw new Error(`no chain ${chain}`);
      return rules;
    };
    for (const { chain } of write) kernel.set(`${table} ${chain}`, []);
    for (const { chain, rule } of remove) {
      const index = at(chain).indexOf(rule);
      if (index < 0) throw new Error(`no rule ${rule} in ${chain}`);
      at(chain).splice(index, 1);
    }
    for (const { chain, rules } of write) at(chain).push(...rules);
    for (const { chain, rule } of add) {
      at(chain).push(rule);
      const target = rule.slice(3);
      if (rule.startsWith('-j ')) at(target);
    }
    for (const chain of drop) at(chain).length = 0;
    for (const chain of drop) {
      for (const [key, rules] of kernel)
        if (key.startsWith(table) && rules.includes(`-j ${chain}`)) throw new Error(`${chain} is in use`);
      kernel.delete(`${table} ${chain}`);
    }
  }
}

const asWhole = (book: RuleBook<Table>): Record<string, string[]> =>
  Object.fromEntries(
    [...book.whole()].flatMap(([table, chains]) => [...chains].map(([chain, rules]) => [`${table} ${chain}`, [...rules].sort()])),
  );

const asKernel = (kernel: Kernel): Record<string, string[]> =>
  Object.fromEntries([...kernel].map(([key, rules]) => [key, [...rules].sort()]));

const wishOf = (owner: string): fc.Arbitrary<RuleSet<Table> | undefined> =>
  fc.option(
    fc
      .record({
        table: fc.constantFrom<Table>('filter', 'nat'),
        rules: fc.array(fc.constantFrom('r1', 'r2', 'r3'), { maxLength: 3 }),
        blocks: fc.uniqueArray(fc.constantFrom('B1', 'B2', 'B3'), { maxLength: 3 }),
      })
      .map(({ table, rules, blocks }) => ({
        own: [{ table, chain: `OWN-${owner}`, rules }],
        shared: blocks.flatMap((block) => [
          { table, chain: 'DISPATCH', rule: `-j ${block}` },
          { table, chain: block, rule: `-j OWN-${owner}` },
        ]),
        uses: [{ table, chain: 'DISPATCH' }],
      })),
    { nil: undefined },
  );

test('any sequence of changes leads the kernel to exactly the whole of what is wished', () => {
  const change = fc.tuple(wishOf('a'), wishOf('b'), wishOf('c'), fc.integer({ min: 1, max: 7 })).map(([a, b, c, which]) => {
    const all: OwnerChange<Table>[] = [
      ['a', a],
      ['b', b],
      ['c', c],
    ];
    return all.filter((_, i) => (which >> i) & 1);
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 12 }), (sequence) => {
      const book = new RuleBook<Table>();
      const kernel: Kernel = new Map();
      for (const changes of sequence) {
        applyEdit(kernel, book.plan(changes));
        book.set(changes);
        expect(asKernel(kernel)).toEqual(asWhole(book));
        expect(book.plan(changes).size).toBe(0);
      }
      const end: OwnerChange<Table>[] = book.owners.map((owner) => [owner, undefined]);
      applyEdit(kernel, book.plan(end));
      book.set(end);
      expect(kernel.size).toBe(0);
      expect(asWhole(book)).toEqual({});
    }),
    { numRuns: 500 },
  );
});

test('an unchanged own chain is not written again', () => {
  const book = new RuleBook<Table>();
  const wish = (rule: string): RuleSet<Table> => ({
    own: [
      { table: 'filter', chain: 'A', rules: ['x', 'y'] },
      { table: 'filter', chain: 'B', rules: [rule] },
    ],
    shared: [],
    uses: [],
  });
  book.set([['o', wish('1')]]);
  expect(book.plan([['o', wish('1')]]).size).toBe(0);
  expect(book.plan([['o', wish('2')]]).get('filter')?.write).toEqual([{ chain: 'B', rules: ['2'] }]);
});
