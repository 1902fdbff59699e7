/** Documents say what the code does: catalogues, flags, commands, options, files and links, compared with the code itself. */

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { errorCatalogue } from '../../src/base/errors.ts';
import { createProgram } from '../../src/cli/program.ts';
import { readConfig } from '../../src/daemon/config.ts';
import { statusOf } from '../../src/daemon/errors.ts';
import { labels } from '../../src/driver/labels.ts';
import { ROOT, filesUnder } from './source.ts';

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

const PAGES = ['README.md', 'CHANGELOG.md', 'vagrant/README.md', ...filesUnder('docs', '.md')];

/** Cells of the rows of all tables in a text; `\|` is no border. */
function rows(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => /^\|.*\|$/.test(line) && !/^\|[-| ]+\|$/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim()),
    );
}

/** First cells in backticks, without those. */
const keys = (text: string): string[] => rows(text).flatMap(([first = '']) => /^`([^`]+)`$/.exec(first)?.[1] ?? []);

/** Text below a heading, up to the next one of the same or a higher level; undefined where there is none. */
function section(text: string, heading: string): string | undefined {
  const lines = text.split('\n');
  const start = lines.indexOf(heading);
  if (start < 0) return undefined;
  const level = heading.indexOf(' ');
  const length = lines.slice(start + 1).findIndex((line) => /^#+ /.test(line) && line.indexOf(' ') <= level);
  return lines.slice(start + 1, length < 0 ? undefined : start + 1 + length).join('\n');
}

test('docs/errors.md lists exactly the codes of the catalogue, with kind, status, meaning and remedy', () => {
  const listed = rows(section(read('docs/errors.md'), '## Codes') ?? '').slice(1);
  const wanted = Object.entries(errorCatalogue).map(([code, { kind, meaning, remedy }]) => [
    `\`${code}\``,
    kind,
    String(statusOf[kind]),
    meaning,
    remedy.replaceAll('|', '\\|'),
  ]);
  expect(listed).toEqual(wanted);
});

test('pages of drivers list exactly the option keys of the model and the drivers', () => {
  const listed = ['bridge', 'macvlan', 'overlay'].flatMap((page) =>
    keys(section(read(`docs/drivers/${page}.md`), '## Options') ?? ''),
  );
  expect(listed.filter((key) => !MODES.has(key))).toEqual(expect.arrayContaining(Object.values(labels)));
  const known = new Set<string>(Object.values(labels));
  const named = PAGES.flatMap((page) =>
    [...read(page).matchAll(/com\.docker\.network\.(?!ipam\.)[a-z0-9_.]*[a-z0-9_]/g)].map(([key]) => `${page}: ${key}`),
  );
  expect(named.filter((entry) => !known.has(entry.split(': ')[1] ?? ''))).toEqual([]);
});

/** First cells of the tables of modes, which are in the same sections. */
const MODES: ReadonlySet<string> = new Set(
  'nat nat-unprotected routed isolated bridge private vepa passthru l2 l3 l3s'.split(' '),
);

/** What `patchbayd --help` prints. */
function daemonHelp(): string {
  try {
    readConfig(['--help']);
  } catch (error) {
    if (error instanceof Error) return error.message;
  }
  throw new Error('--help printed nothing');
}

test("README's table lists exactly the daemon's flags", () => {
  const flags = [...daemonHelp().matchAll(/^ +(?:-\w, )?(--[a-z-]+)/gm)].map(([, flag]) => flag);
  const listed = keys(section(read('README.md'), '## Configuration') ?? '').map((key) => key.split(' ')[0]);
  expect(flags.length).toBeGreaterThan(8);
  expect(listed).toEqual(flags.filter((flag) => flag !== '--help' && flag !== '--version'));
});

/** Every command that does something, by its words. */
function commands(parent: Command, words: readonly string[]): [name: string, command: Command][] {
  return parent.commands.flatMap((child): [string, Command][] => {
    const all = [...words, child.name()];
    return child.commands.length > 0 ? commands(child, all) : [[all.join(' '), child]];
  });
}

describe('docs/cli.md', () => {
  const context = { out: () => {}, err: () => {}, no: new Set<string>(), exitCode: 0 };
  const known = commands(createProgram(context, {}), ['network']);
  const page = read('docs/cli.md');

  test('has a section for each command, and for no other', () => {
    const headings = [...page.matchAll(/^## `(.+)`$/gm)].map(([, name]) => name);
    expect(headings.toSorted()).toEqual(known.map(([name]) => name).toSorted());
  });

  test.each(known)('lists exactly the options of %s', (name, command) => {
    const text = section(page, `## \`${name}\``) ?? '';
    const listed = rows(text).flatMap(([first = '']) => [...first.matchAll(/(?<=`)-{1,2}[a-z0-9-]+/g)].map(([flag]) => flag));
    const wanted = command.options.flatMap(({ short, long }) => [short, long]).filter((flag) => flag !== undefined);
    expect(listed.toSorted()).toEqual(wanted.toSorted());
  });
});

test('docs/architecture.md has the table of imports that layers.test.ts enforces', () => {
  const source = /const MAY[^=]*= \{\n([\s\S]*?)\n\};/.exec(read('test/tidy/layers.test.ts'))?.[1] ?? '';
  const enforced = [...source.matchAll(/^ {2}'?([\w/.-]+)'?: \[(.*)\],$/gm)].map(([, room, may = '']) => {
    const words = [...may.matchAll(/'([^']+)'/g)].map(([, word]) => `\`${word}\``);
    return [`\`${room}\``, words.length === 0 ? '–' : words.join(' ').replace('`*`', 'everything')];
  });
  expect(enforced.length).toBeGreaterThan(15);
  expect(rows(section(read('docs/architecture.md'), '### Who may import whom') ?? '').slice(1)).toEqual(enforced);
});

describe.each(PAGES)('%s', (page) => {
  const text = read(page);
  const prose = text.replaceAll(/^```[\s\S]*?^```$/gm, '');

  test('links to what exists', () => {
    const targets = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
    const local = targets.filter((target) => !/^https?:/.test(target)).map((target) => target.replace(/#.*$/, ''));
    expect(local.filter((target) => !existsSync(join(ROOT, normalize(join(dirname(page), target)))))).toEqual([]);
  });

  test('names only files that exist', () => {
    const named = [...text.matchAll(/(?<![\w./-])(?:src|drivers|test|docs)\/[\w./-]*\w\/?/g)].map(([path]) => path);
    const missing = named.filter((path) => !existsSync(join(ROOT, path)) && !existsSync(join(ROOT, 'docs', path)));
    expect(missing).toEqual([]);
  });

  test('has one title, no unfinished words, and blocks that end', () => {
    expect(prose.match(/^# .+$/gm)).toHaveLength(1);
    expect(text).not.toMatch(/\b(?:TODO|FIXME|XXX|TBD|lorem)\b/i);
    expect((text.match(/^```/gm) ?? []).length % 2).toBe(0);
  });
});

test('the error codes that pages name in backticks are of the catalogue', () => {
  const codes = new Set(Object.keys(errorCatalogue));
  const claims = PAGES.flatMap((page) =>
    [...read(page).matchAll(/(?:refused|fails|undone) with `([a-z]+_[a-z_]+)`/g)].map(([, code = '']) => `${page}: ${code}`),
  );
  expect(claims.length).toBeGreaterThan(2);
  expect(claims.filter((claim) => !codes.has(claim.split(': ')[1] ?? ''))).toEqual([]);
});

test('decisions are numbered without a gap and have context, choice and cost', () => {
  const files = filesUnder('docs/decisions', '.md');
  expect(files.map((file) => Number(/\/(\d{4})-/.exec(file)?.[1]))).toEqual(files.map((_, i) => i + 1));
  const incomplete = files.filter((file) => {
    const text = read(file);
    const number = Number(/\/(\d{4})-/.exec(file)?.[1]);
    return !text.startsWith(`# ${number}. `) || !/## Context\n[\s\S]+## Choice\n[\s\S]+## Cost\n/.test(text);
  });
  expect(incomplete).toEqual([]);
});

test('README links to every page of docs', () => {
  const readme = read('README.md');
  const pages = filesUnder('docs', '.md').filter((page) => !page.startsWith('docs/decisions/'));
  expect(pages.filter((page) => !readme.includes(`](${page})`))).toEqual([]);
});
