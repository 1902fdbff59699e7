/** The manual pages of the build: mandoc reads them without complaint, and shows what the command table has. */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { manualPages } from '../tools/manual.ts';
import { createProgram } from '../../src/cli/program.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const FOLDER = join(ROOT, 'dist/man');

const program = createProgram({ out: () => {}, err: () => {}, no: new Set(), exitCode: 0 }, {});
const titled = (command: Command, title: string): [string, Command][] => [
  [title, command],
  ...command.commands.flatMap((child) => titled(child, `${title}-${child.name()}`)),
];
const all = titled(program, 'network');

/** A page as a terminal of endless width shows it, without overstrikes. */
async function shown(title: string): Promise<string> {
  const { stdout } = await execa('mandoc', ['-T', 'utf8', '-O', 'width=500', join(FOLDER, `${title}.1`)]);
  return stdout.replaceAll(/.\x08/gu, '');
}

test('the build writes a page for each command and group, and no other', () => {
  expect(readdirSync(FOLDER).toSorted()).toEqual(all.map(([title]) => `${title}.1`).toSorted());
});

test('mandoc finds nothing wrong but the date, which pages that are the same in every build do not have', async () => {
  const files = readdirSync(FOLDER).map((name) => join(FOLDER, name));
  const { stdout, stderr } = await execa('mandoc', ['-T', 'lint', '-W', 'warning', ...files], { reject: false });
  const lines = `${stdout}\n${stderr}`.split('\n').filter((line) => line !== '');
  expect(lines.length).toBe(files.length);
  expect(lines.filter((line) => !line.includes('missing date'))).toEqual([]);
});

describe.each(all)('%s(1)', (title, command) => {
  test('shows the description, every option with a meaning, and every command below it', async () => {
    const text = await shown(title);
    expect(text).toContain(`${title} - ${command.description()}`);
    for (const { long } of command.options) expect(text).toMatch(new RegExp(`^ +(?:-\\w, )?${long}(?: <.*>)?\\s+[^-<\\s]`, 'm'));
    for (const child of command.commands) expect(text).toContain(`${title}-${child.name()}(1)`);
  });

  test('names only pages that exist, and keeps no mark-up of the guide', async () => {
    const text = await shown(title);
    const named = [...text.matchAll(/\b(network[a-z-]*)\(1\)/g)].map(([, name]) => name);
    const known = new Set(all.map(([name]) => name));
    expect(named.filter((name) => !known.has(name ?? ''))).toEqual([]);
    expect(text).not.toMatch(/`|\]\(|^ *\||\\[ef]/m);
  });
});

test('text that roff would take for its own comes through', async () => {
  const guide = "# The command `network`\n\n.hidden \\n 'quoted' \"twice\"\n'also\n\n```sh\n.first -x \\\n'second\n```\n";
  const page = manualPages(guide, '9.9.9').get('network.1') ?? '';
  const { stdout } = await execa('mandoc', ['-T', 'ascii', '-O', 'width=200'], { input: page });
  const text = stdout.replaceAll(/.\x08/g, '');
  for (const part of [".hidden \\n 'quoted' \"twice\" 'also", '.first -x \\', "'second", 'Patchbay 9.9.9'])
    expect(text).toContain(part);
});

test('the guide gives its longer meaning to an option', () => {
  const guide = readFileSync(join(ROOT, 'docs/cli.md'), 'utf8');
  const page = manualPages(guide, '0').get('network-create.1') ?? '';
  expect(page).toContain('IPv4 addresses. On by default; \\fB\\-\\-ipv4=false\\fR for a network without');
});
