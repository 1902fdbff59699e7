/** Tables and lists as the reference prints them: plain columns, three spaces apart at least. */

import { escaped } from '../base/index.ts';
import { UsageError } from './client.ts';
import { JSON_TEXT, executeTemplate } from './template.ts';

/** What an entry of a list shows, by column name as templates know it. */
export type Row = Readonly<Record<string, unknown>> & { readonly [JSON_TEXT]?: string };

export interface Table {
  /** Column name → heading. */
  readonly headings: Readonly<Record<string, string>>;
  /** Default columns. */
  readonly columns: readonly string[];
}

export interface ListOptions {
  readonly format?: string;
  readonly quiet?: boolean;
}

/** Prints rows: table by default; `--format` takes `json`, `table TEMPLATE` or a template. */
export function renderList(rows: readonly Row[], table: Table, options: ListOptions): string {
  const { format } = options;
  if (options.quiet === true) return lines(rows.map((row) => String(row['ID'])));
  if (format === undefined || format === '' || format === 'table') {
    return tabulated([
      table.columns.map((c) => table.headings[c] ?? c),
      ...rows.map((row) => table.columns.map((c) => String(row[c]))),
    ]);
  }
  if (format === 'json') return lines(rows.map(jsonOf));
  if (format === 'raw')
    return rows.map((row) => lines(table.columns.map((c) => `${snake(table.headings[c] ?? c)}: ${String(row[c])}`))).join('\n');
  if (format.startsWith('table ')) {
    const template = unescaped(format.slice('table '.length));
    const heading = executeTemplate(template, strict(headingRow(table)));
    return tabulated([heading, ...rows.map((row) => executeTemplate(template, strict(row)))].map((line) => line.split('\t')));
  }
  const template = unescaped(format);
  return lines(rows.map((row) => executeTemplate(template, strict({ ...row, [JSON_TEXT]: jsonOf(row) }))));
}

/** Labels in one line. Whoever set them may be trusted less than whoever looks: nothing in them acts on a terminal. */
export const labelText = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .sort()
    .map(([key, value]) => escaped(`${key}=${value}`))
    .join(',');

/** Functions of a column (`.Label "x"`) have their argument as heading. */
function headingRow(table: Table): Row {
  return { ...table.headings, Label: (key: unknown) => String(key) };
}

/** A row whose missing columns are an error, since a misspelled one would print `<no value>` on every line. */
function strict(row: Row): Row {
  return new Proxy(row, {
    getOwnPropertyDescriptor(target, key) {
      const found = Reflect.getOwnPropertyDescriptor(target, key);
      if (found === undefined)
        throw new UsageError(`template: there is no column ${String(key)}, there are ${Object.keys(target).join(', ')}`);
      return found;
    },
  });
}

const unescaped = (text: string): string => text.replaceAll('\\t', '\t').replaceAll('\\n', '\n');
const snake = (heading: string): string => heading.toLowerCase().replaceAll(' ', '_');
const lines = (all: readonly string[]): string => all.map((line) => `${line}\n`).join('');

/** The columns by name; what is a function is none. */
const jsonOf = (row: Row): string => JSON.stringify(Object.fromEntries(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1))));

/** Least width of a column with its padding, as the reference has it. */
const MIN_WIDTH = 10;

/** Columns padded to the widest cell and three spaces; the last one is not padded. */
function tabulated(cells: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of cells) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return lines(
    cells.map((row) =>
      row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(Math.max((widths[i] ?? 0) + 3, MIN_WIDTH)))).join(''),
    ),
  );
}

/** Natural order: digit runs compare as numbers, of any length. */
export function naturalCompare(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.match(/\d+|\D+/g) ?? []);
  for (let i = 0; i < Math.max(left?.length ?? 0, right?.length ?? 0); i++) {
    const x = left?.[i];
    const y = right?.[i];
    if (x === undefined || y === undefined) return x === undefined ? -1 : 1;
    const order = /^\d/.test(x) && /^\d/.test(y) ? compareDigits(x, y) : x < y ? -1 : x > y ? 1 : 0;
    if (order !== 0) return order;
  }
  return a < b ? -1 : a > b ? 1 : 0;
}

function compareDigits(x: string, y: string): number {
  const [p, q] = [x.replace(/^0+/, ''), y.replace(/^0+/, '')];
  return p.length - q.length || (p < q ? -1 : p > q ? 1 : 0);
}
