/** The Vagrantfile, the scripts that set machines up, and a page whose commands exist. `npm run lab:vagrant` executes it. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createProgram } from '../../src/cli/program.ts';
import { type Step, pattern, stepsOf } from '../e2e/page.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const FOLDER = join(ROOT, 'vagrant');
/** Ruby and its libraries on a busy machine. */
const VAGRANT_MS = 120_000;

let home: string;
beforeAll(() => void (home = mkdtempSync(join(tmpdir(), 'pbt-vagrant-'))));
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** Vagrant that knows nothing of this user's machines. */
async function vagrant(args: readonly string[], settings: Readonly<Record<string, string>> = {}): Promise<[number, string]> {
  const env = { HOME: home, VAGRANT_HOME: join(home, 'home'), VAGRANT_DOTFILE_PATH: join(home, 'machines') };
  const more = { VAGRANT_CWD: FOLDER, VAGRANT_CHECKPOINT_DISABLE: '1', VAGRANT_NO_COLOR: '1', ...settings };
  const { exitCode, all } = await execa('vagrant', args, { env: { ...env, ...more }, all: true, reject: false });
  return [exitCode ?? -1, all];
}

describe('the Vagrantfile', { timeout: VAGRANT_MS }, () => {
  test.each([
    ['libvirt', [], {}],
    ['libvirt', [], { PATCHBAY_EMULATED: '/nowhere', PATCHBAY_TREE: ROOT, PATCHBAY_ETCD: '1', PATCHBAY_HOSTS: '2' }],
    // Vagrant validates settings of a provider only where that is installed, which VirtualBox cannot be from Debian.
    ['virtualbox', ['--ignore-provider'], {}],
  ] as const)('is valid for %s %j %j', async (VAGRANT_DEFAULT_PROVIDER, flags, settings) => {
    expect(await vagrant(['validate', ...flags], { VAGRANT_DEFAULT_PROVIDER, ...settings })).toEqual([
      0,
      expect.stringContaining('Vagrantfile validated successfully.'),
    ]);
  });

  test('makes as many machines as the environment says', async () => {
    const [, output] = await vagrant(['status', '--machine-readable'], {
      VAGRANT_DEFAULT_PROVIDER: 'libvirt',
      PATCHBAY_ETCD: '2',
      PATCHBAY_HOSTS: '4',
    });
    const names = output.split('\n').flatMap((line) => /^\d+,(\w+),metadata,provider,/.exec(line)?.[1] ?? []);
    expect(names, output).toEqual(['etcd1', 'etcd2', 'host1', 'host2', 'host3', 'host4']);
  });

  test('refuses a number of machines that it cannot make', async () => {
    const [code, output] = await vagrant(['validate', '--ignore-provider'], { PATCHBAY_HOSTS: '1' });
    expect(code).not.toBe(0);
    expect(output).toContain('PATCHBAY_HOSTS: a whole number from 2 to 64, not 1');
  });
});

test('every shell script of the project passes shellcheck', async () => {
  const { stdout } = await execa('git', ['-C', ROOT, 'ls-files', '--cached', '--others', '--exclude-standard'], {
    reject: false,
  });
  const isScript = (path: string): boolean => /^#!.*\b(?:ba)?sh\b/.test(readFileSync(join(ROOT, path), 'utf8').slice(0, 80));
  const scripts = stdout.split('\n').filter((path) => /(?:\.sh|\/run)$/.test(path) && isScript(path));
  expect(scripts.length).toBeGreaterThan(5);
  const { all, exitCode } = await execa('shellcheck', scripts, { cwd: ROOT, all: true, reject: false });
  expect(all).toBe('');
  expect(exitCode).toBe(0);
});

const steps = stepsOf(readFileSync(join(FOLDER, 'README.md'), 'utf8'));
const program = createProgram({ out: () => {}, err: () => {}, no: new Set<string>(), exitCode: 0 }, {});

/** The command of the tool that words begin with, and the words after it; undefined when there is none. */
function commandOf(words: readonly string[]): [Command, readonly string[]] | undefined {
  let command: Command = program;
  for (const [at, word] of words.entries()) {
    const next = command.commands.find((one) => one.name() === word || one.aliases().includes(word));
    if (next === undefined) return command === program || command.commands.length > 0 ? undefined : [command, words.slice(at)];
    command = next;
  }
  return command.commands.length > 0 ? undefined : [command, []];
}

/** What a `network …` of a line uses that does not exist. */
function unknownIn(line: string): string[] {
  return [...line.matchAll(/(?<![-\w])network ([a-z].*?)(?= -- | \||; |$)/g)].flatMap(([, text = '']) => {
    const words = text.split(' ');
    const found = commandOf(words);
    if (found === undefined) return [text];
    const known = found[0].options.flatMap(({ short, long }) => [short, long]);
    return found[1].filter((word) => word.startsWith('-') && !known.includes(word));
  });
}

describe('the page', () => {
  test('what does not exist is found', () => {
    expect(unknownIn('network node nothing')).toEqual(['node nothing']);
    expect(unknownIn('sh -c "until network ls --nothing | grep -q x; do sleep 1; done"')).toEqual(['--nothing']);
    expect(unknownIn('network run -d --name a -- network nothing')).toEqual(['nothing']);
    expect(unknownIn('network run -d --name a -- sleep -d')).toEqual([]);
  });

  test('has commands on all machines that it speaks of, for each driver', () => {
    expect(new Set(steps.map(({ where }) => where))).toEqual(new Set(['', 'host1', 'host2']));
    expect(steps.length).toBeGreaterThan(20);
    const drivers = steps.flatMap(({ command }) => /network create -d (\w+)/.exec(command)?.[1] ?? []);
    expect(new Set(drivers)).toEqual(new Set(['macvlan', 'overlay']));
  });

  test.each(steps)('line $line: $command', async ({ command, where, expected }: Step) => {
    expect((await execa('sh', ['-n', '-c', command], { reject: false })).stderr).toBe('');
    expect(unknownIn(command)).toEqual([]);
    if (where === '') expect(command).toMatch(/^vagrant (?:up|halt -f|destroy -f)(?: host2)?$/);
    expect(pattern(expected)).toBeInstanceOf(RegExp);
  });
});
