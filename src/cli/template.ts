/** The part of Go's text/template that people use with `--format`: fields, functions, pipes, range, if, with, variables. */

import { UsageError } from './client.ts';
import { printf } from './printf.ts';

type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'value'; readonly pipe: Pipe; readonly declares?: string }
  | {
      readonly kind: 'range';
      readonly pipe: Pipe;
      readonly key?: string;
      readonly item?: string;
      readonly body: Node[];
      readonly otherwise: Node[];
    }
  | { readonly kind: 'if' | 'with'; readonly pipe: Pipe; readonly body: Node[]; readonly otherwise: Node[] };

/** Commands joined by `|`; each is an operand followed by arguments. */
type Pipe = readonly (readonly Operand[])[];

type Operand =
  | { readonly kind: 'literal'; readonly value: unknown }
  | { readonly kind: 'path'; readonly root?: string; readonly fields: readonly string[] }
  | { readonly kind: 'function'; readonly name: string }
  | { readonly kind: 'group'; readonly pipe: Pipe; readonly fields: readonly string[] };

interface Scope {
  readonly dot: unknown;
  readonly variables: Map<string, unknown>;
}

/** Executes `template` on `data`. Throws UsageError for a template that does not parse or names what is not there. */
export function executeTemplate(template: string, data: unknown): string {
  const parser = new Parser(template);
  return renderAll(parser.parse(), { dot: data, variables: new Map([['$', data]]) });
}

/** Throws UsageError for a template that does not parse, where there is nothing yet that it could be executed on. */
export const checkTemplate = (template: string): void => void new Parser(template).parse();

const bad = (why: string): UsageError => new UsageError(`template parsing error: ${why}`);

class Parser {
  readonly #parts: string[];
  #at = 0;

  constructor(template: string) {
    // Odd parts are the insides of {{ }}.
    this.#parts = template.split(/\{\{((?:"(?:\\.|[^"\\])*"|`[^`]*`|[^"`}]|\}(?!\}))*)\}\}/);
    for (let i = 1; i < this.#parts.length; i += 2) this.#trim(i);
    const stray = this.#parts.find((part, i) => i % 2 === 0 && part.includes('{{'));
    if (stray !== undefined) throw bad('unclosed action');
  }

  /** `{{-` and `-}}` eat the space beside them. */
  #trim(i: number): void {
    let inside = this.#parts[i] ?? '';
    if (/^-\s/.test(inside)) {
      this.#parts[i - 1] = (this.#parts[i - 1] ?? '').trimEnd();
      inside = inside.slice(1);
    }
    if (/\s-$/.test(inside)) {
      this.#parts[i + 1] = (this.#parts[i + 1] ?? '').trimStart();
      inside = inside.slice(0, -1);
    }
    this.#parts[i] = inside.trim();
  }

  parse(): Node[] {
    const { nodes, end } = this.#block();
    if (end !== undefined) throw bad(`unexpected {{${end}}}`);
    return nodes;
  }

  #block(): { nodes: Node[]; end: string | undefined } {
    const nodes: Node[] = [];
    while (this.#at < this.#parts.length) {
      const part = this.#parts[this.#at] ?? '';
      const isText = this.#at++ % 2 === 0;
      if (isText) {
        if (part !== '') nodes.push({ kind: 'text', text: part });
      } else if (part === 'end' || part === 'else' || part.startsWith('else ')) {
        return { nodes, end: part };
      } else if (!part.startsWith('/*')) {
        nodes.push(this.#action(part));
      }
    }
    return { nodes, end: undefined };
  }

  #action(text: string): Node {
    const match = /^(range|if|with)\s+(.*)$/s.exec(text);
    if (match === null) {
      const declared = /^(\$\w+)\s*:?=\s*(.*)$/s.exec(text);
      return declared === null
        ? { kind: 'value', pipe: parsePipe(text) }
        : { kind: 'value', pipe: parsePipe(declared[2] ?? ''), declares: declared[1] ?? '' };
    }
    const kind = match[1] as 'range' | 'if' | 'with';
    const names = kind === 'range' ? /^(\$\w+)(?:\s*,\s*(\$\w+))?\s*:=\s*(.*)$/s.exec(match[2] ?? '') : null;
    const pipe = parsePipe(names?.[3] ?? match[2] ?? '');
    const { body, otherwise } = this.#branches();
    if (kind !== 'range') return { kind, pipe, body, otherwise };
    const item = names?.[2] ?? names?.[1];
    return { kind, pipe, body, otherwise, ...(names?.[2] && { key: names[1] ?? '' }), ...(item && { item }) };
  }

  #branches(): { body: Node[]; otherwise: Node[] } {
    const first = this.#block();
    if (first.end === undefined) throw bad('missing {{end}}');
    if (first.end === 'end') return { body: first.nodes, otherwise: [] };
    const nested = /^else\s+if\s+(.*)$/s.exec(first.end);
    if (nested !== null) {
      const inner = this.#branches();
      return { body: first.nodes, otherwise: [{ kind: 'if', pipe: parsePipe(nested[1] ?? ''), ...inner }] };
    }
    const second = this.#block();
    if (second.end !== 'end') throw bad('missing {{end}}');
    return { body: first.nodes, otherwise: second.nodes };
  }
}

const TOKEN = /\s*(?:("(?:\\.|[^"\\])*")|`([^`]*)`|(-?\d+(?:\.\d+)?)|(\$\w*)?((?:\.\w+)+|\.)|(\$\w*)|([A-Za-z_]\w*)|([()|]))/y;

function parsePipe(text: string): Pipe {
  TOKEN.lastIndex = 0;
  const tokens: RegExpExecArray[] = [];
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const start = TOKEN.lastIndex;
    const token = TOKEN.exec(text);
    if (token === null) throw bad(`unexpected ${JSON.stringify(text.slice(start).trim())}`);
    tokens.push(token);
  }
  const reader = { tokens, at: 0 };
  const pipe = readPipe(reader);
  if (reader.at < tokens.length) throw bad('unexpected )');
  return pipe;
}

interface Reader {
  readonly tokens: readonly RegExpExecArray[];
  at: number;
}

function readPipe(reader: Reader): Pipe {
  const commands: Operand[][] = [[]];
  while (reader.at < reader.tokens.length) {
    const token = reader.tokens[reader.at] as RegExpExecArray;
    if (token[8] === ')') break;
    reader.at++;
    if (token[8] === '|') commands.push([]);
    else commands.at(-1)?.push(token[8] === '(' ? readGroup(reader) : operandOf(token));
  }
  if (commands.some((command) => command.length === 0)) throw bad('missing value for command');
  return commands;
}

function readGroup(reader: Reader): Operand {
  const pipe = readPipe(reader);
  if (reader.tokens[reader.at]?.[8] !== ')') throw bad('unclosed (');
  const end = reader.tokens[reader.at++] as RegExpExecArray;
  // `(index .X 0).Name`: the fields follow without a space.
  const next = reader.tokens[reader.at];
  if (next?.[5] === undefined || next[4] !== undefined || next.index !== end.index + end[0].length || next[5] === '.')
    return { kind: 'group', pipe, fields: [] };
  reader.at++;
  return { kind: 'group', pipe, fields: next[5].slice(1).split('.') };
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
  '"': '"',
  '\\': '\\',
};

/** A string in double quotes with Go's escapes. */
function unquoted(quoted: string): string {
  const escapes = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))/gs;
  return quoted.slice(1, -1).replace(escapes, (escape, hex?: string, unicode?: string, one?: string) => {
    const code = hex ?? unicode;
    const found = code === undefined ? ESCAPES[one ?? ''] : String.fromCharCode(Number.parseInt(code, 16));
    if (found === undefined) throw bad(`unknown escape ${escape} in ${quoted}`);
    return found;
  });
}

function operandOf(token: RegExpExecArray): Operand {
  const [, quoted, raw, number, root, path, variable, word] = token;
  if (quoted !== undefined) return { kind: 'literal', value: unquoted(quoted) };
  if (raw !== undefined) return { kind: 'literal', value: raw };
  if (number !== undefined) return { kind: 'literal', value: Number(number) };
  if (path !== undefined)
    return { kind: 'path', ...(root !== undefined && { root }), fields: path === '.' ? [] : path.slice(1).split('.') };
  if (variable !== undefined) return { kind: 'path', root: variable, fields: [] };
  if (word === 'true' || word === 'false') return { kind: 'literal', value: word === 'true' };
  if (word === 'nil') return { kind: 'literal', value: null };
  if (word !== undefined && Object.hasOwn(functions, word)) return { kind: 'function', name: word };
  throw bad(`function ${JSON.stringify(word)} not defined`);
}

function renderAll(nodes: readonly Node[], scope: Scope): string {
  return nodes.map((node) => render(node, scope)).join('');
}

function render(node: Node, scope: Scope): string {
  if (node.kind === 'text') return node.text;
  const value = evaluate(node.pipe, scope);
  switch (node.kind) {
    case 'value':
      if (node.declares === undefined) return show(value);
      scope.variables.set(node.declares, value);
      return '';
    case 'if':
      return renderAll(isTrue(value) ? node.body : node.otherwise, scope);
    case 'with':
      return isTrue(value) ? renderAll(node.body, { ...scope, dot: value }) : renderAll(node.otherwise, scope);
    case 'range':
      return renderRange(node, value, scope);
  }
}

function renderRange(node: Extract<Node, { kind: 'range' }>, value: unknown, scope: Scope): string {
  const entries = Array.isArray(value)
    ? [...value.entries()]
    : Object.entries((value ?? {}) as object).sort(([a], [b]) => (a < b ? -1 : 1));
  if (entries.length === 0) return renderAll(node.otherwise, scope);
  return entries
    .map(([key, item]) => {
      const variables = new Map(scope.variables);
      if (node.key !== undefined) variables.set(node.key, key);
      if (node.item !== undefined) variables.set(node.item, item);
      return renderAll(node.body, { dot: item, variables });
    })
    .join('');
}

function evaluate(pipe: Pipe, scope: Scope): unknown {
  let piped: unknown[] = [];
  for (const [head, ...rest] of pipe) {
    const args = [...rest.map((operand) => valueOf(operand, scope)), ...piped];
    piped = [call(head as Operand, args, scope)];
  }
  return piped[0];
}

function call(head: Operand, args: readonly unknown[], scope: Scope): unknown {
  const target = head.kind === 'function' ? functions[head.name] : valueOf(head, scope);
  if (typeof target === 'function') return (target as (...all: unknown[]) => unknown)(...args);
  if (args.length > 0) throw bad("can't give argument to non-function");
  return target;
}

function valueOf(operand: Operand, scope: Scope): unknown {
  switch (operand.kind) {
    case 'literal':
      return operand.value;
    case 'function':
      return functions[operand.name]?.();
    case 'group':
      return operand.fields.reduce(field, evaluate(operand.pipe, scope));
    case 'path':
      return operand.fields.reduce(field, operand.root === undefined ? scope.dot : variable(operand.root, scope));
  }
}

function variable(name: string, scope: Scope): unknown {
  if (!scope.variables.has(name)) throw bad(`undefined variable ${JSON.stringify(name)}`);
  return scope.variables.get(name);
}

function field(value: unknown, name: string): unknown {
  if (value === null || value === undefined) return undefined;
  if (typeof value !== 'object') throw new UsageError(`template: can't evaluate field ${name} in ${typeof value}`);
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (value !== null && typeof value === 'object') return Object.keys(value).length > 0;
  return Boolean(value);
}

/** As Go's %v prints it. */
function show(value: unknown): string {
  if (value === undefined || value === null) return '<no value>';
  if (Array.isArray(value)) return `[${value.map(show).join(' ')}]`;
  if (typeof value === 'object')
    return `map[${Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => `${k}:${show(v)}`)
      .join(' ')}]`;
  return String(value);
}

const text = (value: unknown): string => (value === undefined || value === null ? '' : String(value));

/** Key of the text that `json` gives for a value as a whole, where its fields do not tell all of it. */
export const JSON_TEXT = Symbol('JSON text');

const ownJson = (value: unknown): string | undefined =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, JSON_TEXT)
    ? (value as { readonly [JSON_TEXT]: string })[JSON_TEXT]
    : undefined;

/** Of a map of texts, such as labels, what is not there is the empty text, as Go has it: scripts ask whether it is. */
function entry(value: unknown, key: unknown): unknown {
  if (value === null || value === undefined) return undefined;
  if (Object.hasOwn(value, String(key))) return (value as Record<string, unknown>)[String(key)];
  const isTexts = typeof value === 'object' && !Array.isArray(value) && Object.values(value).every((v) => typeof v === 'string');
  return isTexts ? '' : undefined;
}

const functions: Readonly<Record<string, (...args: never[]) => unknown>> = {
  json: (value: unknown) => ownJson(value) ?? JSON.stringify(value ?? null),
  split: (value: unknown, separator: unknown) => text(value).split(text(separator)),
  join: (values: unknown, separator: unknown) => (Array.isArray(values) ? values.map(text).join(text(separator)) : ''),
  title: (value: unknown) => text(value).replace(/\b\w/g, (letter) => letter.toUpperCase()),
  lower: (value: unknown) => text(value).toLowerCase(),
  upper: (value: unknown) => text(value).toUpperCase(),
  pad: (value: unknown, before: number, after: number) => ' '.repeat(before) + text(value) + ' '.repeat(after),
  truncate: (value: unknown, length: number) => text(value).slice(0, length),
  println: (...values: unknown[]) => `${values.map(show).join(' ')}\n`,
  print: (...values: unknown[]) => values.map(show).join(''),
  printf: (format: unknown, ...values: unknown[]) => printf(text(format), values, show),
  index: (value: unknown, ...keys: unknown[]) => keys.reduce(entry, value),
  slice: (value: unknown, from = 0, to?: number) => (Array.isArray(value) ? value : text(value)).slice(from, to),
  len: (value: unknown) =>
    typeof value === 'string' || Array.isArray(value) ? value.length : Object.keys((value ?? {}) as object).length,
  not: (value: unknown) => !isTrue(value),
  and: (...values: unknown[]) => {
    const at = values.findIndex((v) => !isTrue(v));
    return values.at(at);
  },
  or: (...values: unknown[]) => values.find(isTrue) ?? values.at(-1),
  eq: (first: unknown, ...others: unknown[]) => others.includes(first),
  ne: (a: unknown, b: unknown) => a !== b,
  lt: (a: number, b: number) => a < b,
  le: (a: number, b: number) => a <= b,
  gt: (a: number, b: number) => a > b,
  ge: (a: number, b: number) => a >= b,
};
