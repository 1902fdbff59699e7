import { expect, test } from 'vitest';
import { RuleBook, type RuleSet } from '../../src/firewall/diff.ts';
import type { TableName } from '../../src/firewall/iptables/names.ts';
import { editText } from '../../src/firewall/iptables/text.ts';

const wish = (port: number): RuleSet<TableName> => ({
  own: [
    { table: 'nat', chain: `E${port}`, rules: [`--dport ${port} -j DNAT`] },
    { table: 'filter', chain: `E${port}`, rules: [`--dport ${port} -j ACCEPT`] },
  ],
  shared: [
    { table: 'nat', chain: 'DNAT', rule: `-j E${port}` },
    { table: 'filter', chain: 'IN', rule: `-j E${port}` },
    { table: 'raw', chain: 'LO', rule: `--dport ${port} -j DROP` },
  ],
  uses: [],
});

const tables = (text: string): string[] => [...text.matchAll(/^\*(\w+)/gm)].map((match) => match[1] ?? '');

test('the filter is ready before a host port leads anywhere', () => {
  const text = editText(new RuleBook<TableName>().plan([['e', wish(1)]]));
  expect(tables(text)).toEqual(['filter', 'raw', 'nat']);
  expect(text.match(/COMMIT\n/g)).toHaveLength(3);
});

test('a withdrawn host port leads nowhere before the filter lets go of it', () => {
  const book = new RuleBook<TableName>();
  book.set([['e', wish(1)]]);
  expect(tables(editText(book.plan([['e', undefined]])))).toEqual(['nat', 'filter', 'raw']);
});

test('when ports move, the old ones go first and the new ones come last', () => {
  const book = new RuleBook<TableName>();
  book.set([['old', wish(1)]]);
  const text = editText(
    book.plan([
      ['old', undefined],
      ['new', wish(2)],
    ]),
  );
  expect(tables(text)).toEqual(['nat', 'filter', 'raw', 'nat']);
  expect(text.indexOf('-X E1')).toBeLessThan(text.indexOf(':E2'));
});

test('nothing to change is no text', () => {
  const book = new RuleBook<TableName>();
  book.set([['e', wish(1)]]);
  expect(editText(book.plan([['e', wish(1)]]))).toBe('');
});
