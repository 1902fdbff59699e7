/** docs/walkthrough.md, executed: every command of its console blocks must print what the page says. */

import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DIST, Lab } from './lab.ts';
import { pattern, stepsOf } from './page.ts';

const PAGE = new URL('../../docs/walkthrough.md', import.meta.url).pathname;

const PAGE_STEPS = stepsOf(readFileSync(PAGE, 'utf8'));

describe('the expressions made from a page', () => {
  test.each([
    [['a … c'], 'a b c', true],
    [['a … c'], 'a b d', false],
    [['a (b)'], 'a (b)', true],
    [['…'], 'anything', true],
    [['{', '  …', '}'], '{\n  a\n  b\n}', true],
    [['{', '  …', '}'], '{\n  a\n  b\n', false],
    [[], '', true],
    [[], 'x', false],
    [['a'], 'a\nb', false],
  ])('%j and %j: %s', (expected, output, isMatch) => {
    expect(pattern(expected).test(output)).toBe(isMatch);
  });

  test('commands and their output are found in console blocks only', () => {
    expect(stepsOf('```sh\n$ no\n```\n```console\n$ yes\nout\nbox2# more\n# out\n```\n$ no')).toEqual([
      { command: 'yes', where: '', expected: ['out'], line: 5 },
      { command: 'more', where: 'box2', expected: ['# out'], line: 7 },
    ]);
  });
});

describe('the walkthrough', () => {
  let lab: Lab;
  let bin: string;
  beforeAll(async () => {
    lab = await Lab.open();
    bin = join(lab.folder, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'network'), `#!/bin/sh\nexec '${lab.node}' '${join(DIST, 'network.js')}' "$@"\n`);
    chmodSync(join(bin, 'network'), 0o755);
  });
  afterAll(async () => {
    await lab.close();
  });

  /** As typed on the lab's machine. */
  async function typed(command: string): Promise<string> {
    const env = { NETWORK_HOST: `unix://${lab.socket}`, PATH: `${bin}:${process.env['PATH'] ?? ''}` };
    const result = await execa('nsenter', [`--net=/run/netns/${lab.host}`, 'sh', '-c', command], {
      env,
      all: true,
      reject: false,
      stdin: 'ignore',
      stripFinalNewline: false,
    });
    return result.all;
  }

  test('has commands', () => {
    expect(PAGE_STEPS.length).toBeGreaterThan(15);
  });

  test.each(PAGE_STEPS)('line $line: $command', async ({ command, expected }) => {
    // The last line ends with a newline; an empty last line of the page stands for one more. Space at line ends is not shown.
    const output = (await typed(command)).replace(/\n$/, '').replaceAll(/ +$/gm, '');
    expect(output).toMatch(pattern(expected));
  });

  test('leaves nothing behind', async () => {
    expect(await lab.leftovers()).toEqual([]);
    expect(lab.log).not.toMatch(/"level":50/);
  });
});
