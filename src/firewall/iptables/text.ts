/** Changes and whole rule books as input of iptables-restore --noflush. Pure. */

import type { Edit, TableEdit } from '../diff.ts';
import { TABLES, type TableName } from './names.ts';

type Tables = ReadonlyMap<TableName, ReadonlyMap<string, readonly string[]>>;

/** Jumps from built-in chains and chains to end, per table; see saved.ts. */
export interface Surroundings {
  /** Before the chains' rules: lines such as `-N CHAIN` and `-D FORWARD …`. */
  readonly before: readonly string[];
  /** After the chains' rules: lines such as `-I FORWARD 1 …` and `-X CHAIN`. */
  readonly after: readonly string[];
  /** Chains to empty. */
  readonly empty: readonly string[];
}

/**
 * One change. The tables are committed one by one, hence in this order: nat loses what goes, filter and raw change, nat gets
 * what comes. No host port leads anywhere while the filter is not ready for it.
 */
export function editText(edit: Edit<TableName>): string {
  const nat = edit.get('nat');
  const sections: [TableName, readonly string[]][] = [];
  if (nat !== undefined) sections.push(['nat', editLines({ write: [], remove: nat.remove, add: [], drop: nat.drop })]);
  for (const table of ['filter', 'raw'] as const) {
    const part = edit.get(table);
    if (part !== undefined) sections.push([table, editLines(part)]);
  }
  if (nat !== undefined) sections.push(['nat', editLines({ write: nat.write, remove: [], add: nat.add, drop: [] })]);
  return sections
    .filter(([, lines]) => lines.length > 0)
    .map(([table, lines]) => section(table, lines))
    .join('');
}

function editLines({ write, remove, add, drop }: TableEdit): readonly string[] {
  return [
    ...write.map(({ chain }) => declaration(chain)),
    ...remove.map(({ chain, rule }) => `-D ${chain} ${rule}`),
    ...write.flatMap(({ chain, rules }) => rules.map((rule) => `-A ${chain} ${rule}`)),
    ...add.map(({ chain, rule }) => `-A ${chain} ${rule}`),
    ...drop.map((chain) => `-F ${chain}`),
    ...drop.map((chain) => `-X ${chain}`),
  ];
}

/** All of `tables`, emptying each chain first; filter before raw before nat. */
export function wholeText(tables: Tables, around: (table: TableName) => Surroundings | undefined = () => undefined): string {
  return TABLES.map((table) => {
    const chains = [...(tables.get(table) ?? [])];
    const { before = [], after = [], empty = [] } = around(table) ?? {};
    return section(table, [
      ...[...chains.map(([chain]) => chain), ...empty].map(declaration),
      ...before,
      ...chains.flatMap(([chain, rules]) => rules.map((rule) => `-A ${chain} ${rule}`)),
      ...after,
    ]);
  }).join('');
}

/** Makes a chain, and empties it where it exists. */
const declaration = (chain: string): string => `:${chain} - [0:0]`;

const section = (table: TableName, lines: readonly string[]): string => ['*' + table, ...lines, 'COMMIT', ''].join('\n');
