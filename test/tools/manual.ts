/**
 * Manual pages of `network`, written by the build: commands and options come from the command table, the prose and the longer
 * meanings from docs/cli.md. man(7) macros, as groff and mandoc both read them.
 */

import type { Command, Option } from 'commander';
import { createProgram } from '../../src/cli/program.ts';

/** Pages by file name, such as `network-ls.1`. `guide` is the text of docs/cli.md. */
export function manualPages(guide: string, version: string): Map<string, string> {
  const program = createProgram({ out: () => {}, err: () => {}, no: new Set(), exitCode: 0 }, {});
  const titles = [program, ...below(program)].map(titleOf);
  return new Map(
    [program, ...below(program)].map((command) => {
      const title = titleOf(command);
      return [`${title}.1`, page(command, sectionOf(guide, command), titles, version)];
    }),
  );
}

const below = (command: Command): Command[] => command.commands.flatMap((child) => [child, ...below(child)]);

const wordsOf = (command: Command): string[] => [...(command.parent ? wordsOf(command.parent) : []), command.name()];
const titleOf = (command: Command): string => wordsOf(command).join('-');

/** Lines of the guide about a command: behind its heading, or those before the first heading for the program itself. */
function sectionOf(guide: string, command: Command): string[] {
  const lines = guide.split('\n');
  const isProgram = command.parent === null;
  const start = lines.indexOf(isProgram ? '# The command `network`' : `## \`${wordsOf(command).join(' ')}\``);
  if (start < 0) return [];
  const length = lines.slice(start + 1).findIndex((line) => line.startsWith('## '));
  return lines.slice(start + 1, length < 0 ? undefined : start + 1 + length);
}

function page(command: Command, section: readonly string[], titles: readonly string[], version: string): string {
  const title = titleOf(command);
  const meanings = meaningsOf(section);
  const options = command.options.map((option) => optionEntry(option, meanings.get(option.long ?? '')));
  const others = titles.filter((other) => other !== title && related(other, title));
  return [
    `.TH ${escaped(title.toUpperCase())} 1 "" "Patchbay ${version}" "Patchbay Manual"`,
    '.SH NAME',
    `${escaped(title)} \\- ${escaped(command.description())}`,
    '.SH SYNOPSIS',
    `\\fB${escaped(wordsOf(command).join(' '))}\\fR ${escaped(command.usage())}`,
    ...(section.length > 0 ? ['.SH DESCRIPTION', ...prose(section)] : []),
    ...(command.commands.length > 0 ? ['.SH COMMANDS', ...command.commands.flatMap(commandEntry)] : []),
    '.SH OPTIONS',
    ...options.flat(),
    ...entry('\\fB\\-h\\fR, \\fB\\-\\-help\\fR', 'Show a short help.'),
    '.SH SEE ALSO',
    others.map((other) => `\\fB${escaped(other)}\\fR(1)`).join(',\n'),
    '',
  ].join('\n');
}

/** A page names its parents, its children and its neighbours. */
function related(other: string, title: string): boolean {
  const parent = (name: string): string => name.split('-').slice(0, -1).join('-');
  return parent(other) === title || parent(title) === other || parent(title) === parent(other) || other === 'network';
}

const entry = (term: string, text: string): string[] => ['.TP', term, text];

const commandEntry = (command: Command): string[] =>
  entry(`\\fB${escaped(titleOf(command))}\\fR(1)`, escaped(command.description()));

function optionEntry(option: Option, meaning: string | undefined): string[] {
  const flags = [option.short, option.long].filter((flag) => flag !== undefined).map((flag) => `\\fB${escaped(flag)}\\fR`);
  const value = /[<[].*[>\]]/.exec(option.flags)?.[0];
  const text = meaning === undefined || meaning === '' ? escaped(sentence(option.description)) : inline(meaning);
  return entry(`${flags.join(', ')}${value === undefined ? '' : ` \\fI${escaped(value)}\\fR`}`, text);
}

const sentence = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

/** Second cells of the guide's table of options, by long flag. */
function meaningsOf(section: readonly string[]): Map<string, string> {
  return new Map(
    section.flatMap((line): [string, string][] => {
      const [, first = '', second = ''] = /^\| (.*?) \|(.*)\|$/.exec(line) ?? [];
      const long = /--[a-z0-9-]+/.exec(first)?.[0];
      return long === undefined ? [] : [[long, second.trim()]];
    }),
  );
}

/** Paragraphs and blocks of the guide; its tables are left out. */
function prose(section: readonly string[]): string[] {
  const out: string[] = [];
  let inBlock = false;
  let isNew = false;
  for (const line of section) {
    if (line.startsWith('```')) {
      out.push(...(inBlock ? ['.EE', '.RE'] : [...(out.length > 0 ? ['.PP'] : []), '.RS 4', '.EX']));
      inBlock = !inBlock;
      isNew = true;
    } else if (inBlock) out.push(guarded(escaped(line)));
    else if (line === '') isNew = true;
    else if (!line.startsWith('|')) {
      if (isNew && out.length > 0) out.push('.PP');
      isNew = false;
      out.push(guarded(inline(line)));
    }
  }
  return out;
}

/** Code in bold, links as their text. */
function inline(text: string): string {
  return text
    .replaceAll('\\|', '|')
    .replaceAll(/\[([^\]]+)\]\([^)]+\)/g, '$1')
    .split('`')
    .map((part, i) => (i % 2 === 1 ? `\\fB${escaped(part)}\\fR` : escaped(part)))
    .join('');
}

const escaped = (text: string): string =>
  text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll("'", '\\(aq').replaceAll('"', '\\(dq').replaceAll('…', '...');

/** A line that begins with a dot would be a request. */
const guarded = (line: string): string => (line.startsWith('.') ? `\\&${line}` : line);
