import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { UsageError } from '../../src/cli/client.ts';
import { type ListOptions, type Row, type Table, labelText, naturalCompare, renderList } from '../../src/cli/render.ts';

const table: Table = { headings: { ID: 'NETWORK ID', Name: 'NAME', Driver: 'DRIVER' }, columns: ['ID', 'Name', 'Driver'] };
const rows: Row[] = [
  { ID: 'abcdef012345', Name: 'a', Driver: 'bridge', Label: (key: unknown) => `<${String(key)}>` },
  { ID: '123456789012', Name: 'a-longer-name', Driver: 'host', Label: () => '' },
];
const render = (options: ListOptions, list = rows): string => renderList(list, table, options);

const DEFAULT_TABLE = [
  'NETWORK ID     NAME            DRIVER',
  'abcdef012345   a               bridge',
  '123456789012   a-longer-name   host',
  '',
].join('\n');

describe('lists', () => {
  test.each([undefined, '', 'table'])('format %j is the table', (format) => {
    expect(render(format === undefined ? {} : { format })).toBe(DEFAULT_TABLE);
  });

  test('labels are one line, in which nothing acts on a terminal', () => {
    expect(labelText({ b: 'two\nlines', a: '\u001b[31mred', plain: 'näh, ok' })).toBe(
      'a=\\u{1b}[31mred,b=two\\nlines,plain=näh, ok',
    );
  });

  test('no rows: the headings', () => {
    expect(render({}, [])).toBe('NETWORK ID   NAME      DRIVER\n');
  });

  test('a column that does not exist is refused, and what exists is named', () => {
    for (const format of ['{{.Nmae}}', 'table {{.Nmae}}'])
      expect(() => render({ format })).toThrow(
        new UsageError('template: there is no column Nmae, there are ID, Name, Driver, Label'),
      );
    expect(() => render({ format: 'table {{.Nmae}}' }, [])).toThrow(UsageError);
    expect(render({ format: '{{json .}}' }, rows.slice(1))).toContain('"Name":"a-longer-name"');
  });

  test('narrow columns are ten wide', () => {
    expect(render({ format: 'table {{.Name}}\\t{{.Driver}}' }, rows.slice(0, 1))).toBe('NAME      DRIVER\na         bridge\n');
  });

  test('quiet is the ids, whatever the format', () => {
    for (const format of ['table', 'json', '{{.Name}}'])
      expect(render({ quiet: true, format })).toBe('abcdef012345\n123456789012\n');
    expect(render({ quiet: true }, [])).toBe('');
  });

  test('json is one object a line, keys sorted, without functions', () => {
    expect(render({ format: 'json' })).toBe(
      '{"Driver":"bridge","ID":"abcdef012345","Name":"a"}\n{"Driver":"host","ID":"123456789012","Name":"a-longer-name"}\n',
    );
    expect(render({ format: 'json' }, [])).toBe('');
  });

  test('a whole row by a template is what json prints', () => {
    expect(render({ format: '{{json .}}' })).toBe(render({ format: 'json' }));
  });

  test('raw is a block for each row', () => {
    expect(render({ format: 'raw' })).toBe(
      'network_id: abcdef012345\nname: a\ndriver: bridge\n\nnetwork_id: 123456789012\nname: a-longer-name\ndriver: host\n',
    );
  });

  test.each([
    ['{{.Name}}', 'a\na-longer-name\n'],
    ['{{.Name}}\\t{{.Driver}}', 'a\tbridge\na-longer-name\thost\n'],
    ['{{.Name}}\\n', 'a\n\na-longer-name\n\n'],
    ['{{.Label "x"}}', '<x>\n\n'],
    ['x', 'x\nx\n'],
  ])('template %j', (format, expected) => {
    expect(render({ format })).toBe(expected);
  });

  test('a label column is headed by its key', () => {
    expect(render({ format: 'table {{.Name}}\\t{{.Label "env"}}' }, rows.slice(0, 1))).toBe('NAME      env\na         <env>\n');
  });

  test('a template that does not parse is refused', () => {
    expect(() => render({ format: '{{.Name' })).toThrow(UsageError);
    expect(() => render({ format: 'table {{nonsense}}' })).toThrow('function "nonsense" not defined');
  });
});

describe('natural order', () => {
  test.each([
    ['a', 'b'],
    ['', 'a'],
    ['a', 'a1'],
    ['a2', 'a10'],
    ['a9b', 'a10a'],
    ['a1b2', 'a1b10'],
    ['a01', 'a1'],
    ['a01', 'a2'],
    ['a1', 'a02'],
    ['1', 'a'],
    ['9a', '10'],
    ['B', 'a'],
    ['n12345678901234567890', 'n12345678901234567891'],
    ['n99999999999999999999', 'n100000000000000000000'],
    ['n00000000000000000001', 'n2'],
  ])('%j comes before %j', (a, b) => {
    expect(naturalCompare(a, b)).toBeLessThan(0);
    expect(naturalCompare(b, a)).toBeGreaterThan(0);
  });

  test.each(['', 'a', 'a01', '12345678901234567890'])('%j equals itself', (text) => {
    expect(naturalCompare(text, text)).toBe(0);
  });

  test('a list of names', () => {
    const names = ['net10', 'net2', 'net1', 'bridge', 'net', 'net01', 'host'];
    expect(names.sort(naturalCompare)).toEqual(['bridge', 'host', 'net', 'net01', 'net1', 'net2', 'net10']);
  });

  test('it is one order: antisymmetric, transitive, zero for equal texts only', () => {
    const name = fc.string({ unit: fc.constantFrom('a', 'b', '0', '1', '9', '-'), maxLength: 5 });
    fc.assert(
      fc.property(name, name, name, (a, b, c) => {
        expect(Math.sign(naturalCompare(a, b)) + Math.sign(naturalCompare(b, a))).toBe(0);
        expect(naturalCompare(a, b) === 0).toBe(a === b);
        const [x = '', y = '', z = ''] = [a, b, c].sort(naturalCompare);
        expect(naturalCompare(x, y)).toBeLessThanOrEqual(0);
        expect(naturalCompare(y, z)).toBeLessThanOrEqual(0);
        expect(naturalCompare(x, z)).toBeLessThanOrEqual(0);
      }),
      { numRuns: 500 },
    );
  });
});
