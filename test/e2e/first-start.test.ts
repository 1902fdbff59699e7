/**
 * What a start loads. The daemon's program is started twice, see docs/decisions/0015-capabilities.md: the first time it needs little of it. What V8 makes
 * of the programs is kept at the build, see docs/decisions/0031-kept-code.md.
 */

import {
  cpSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DIST, Lab } from './lab.ts';

const MOST_OCTETS = 100_000;

/** What is loaded with `file` at once: the file itself, and ours that it needs. */
function loadedWith(file: string, seen = new Map<string, string>()): Map<string, string> {
  if (seen.has(file)) return seen;
  const text = readFileSync(join(DIST, file), 'utf8');
  seen.set(file, text);
  // At the beginning of a line: what is loaded later stands inside a function.
  for (const [, name] of text.matchAll(/^(?:const|let|var) \w+ = require\("\.\/([^"]+)"\)/gm)) loadedWith(name ?? '', seen);
  return seen;
}

test('what the daemon loads before it has given up its rights is small, and the rest comes later', () => {
  const texts = [...loadedWith('patchbayd.js').values(), ...loadedWith('patchbayd-start.js').values()];
  const octets = texts.reduce((sum, text) => sum + text.length, 0);
  expect(octets).toBeLessThan(MOST_OCTETS);
  expect(octets).toBeGreaterThan(readFileSync(join(DIST, 'patchbayd-start.js')).length);
  expect(texts.join('\n')).toContain('"patchbayd-serve.js")');
});

test('no program has a character beyond ASCII: V8 would keep its text in two octets each, and kept code could not be taken', () => {
  const programs = readdirSync(DIST).filter((name) => name.endsWith('.js'));
  expect(programs.length).toBeGreaterThan(5);
  for (const name of programs) expect(readFileSync(join(DIST, name), 'utf8'), name).not.toMatch(/[^\0-\u007f]/);
});

/** Whether Node, started with `flags`, takes what `dist` has kept of one of its files. */
async function isKept(dist: string, part: string, flags: readonly string[] = []): Promise<boolean> {
  const script = 'process.stdout.write(String(require(process.argv[1]).isKept(process.argv[2], process.argv[3])))';
  const { stdout } = await execa(process.execPath, [...flags, '-e', script, join(dist, 'kept-code.js'), dist, part]);
  return stdout === 'true';
}

/** Flags of Node in the command line of a process. */
const flagsOf = (pid: number): string[] =>
  readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    .split('\0')
    .filter((word, i) => i > 0 && word.startsWith('--max-'));

test('daemon, keeper and command line tool run with the code that the build has kept for them', async () => {
  const lab = await Lab.open();
  try {
    const daemon = lab.daemon?.pid ?? 0;
    const { keeper } = await lab.keeperProcesses();
    expect(flagsOf(daemon)).toEqual(flagsOf(keeper));
    expect(flagsOf(daemon)).toHaveLength(1);
    for (const part of ['patchbayd-serve.js', 'keeper-process.js', 'keeper-worker-thread.js'])
      expect(await isKept(DIST, part, flagsOf(daemon)), part).toBe(true);
    for (const part of ['network-run.js', 'network-launch.js']) expect(await isKept(DIST, part), part).toBe(true);
    expect(await isKept(DIST, 'network-run.js', flagsOf(daemon))).toBe(false);
  } finally {
    await lab.close();
  }
});

describe('kept code that does not fit', () => {
  let dist = '';
  beforeEach(() => {
    dist = mkdtempSync(join(tmpdir(), 'pbt-'));
    cpSync(DIST, dist, { recursive: true, preserveTimestamps: true });
  });
  afterEach(() => rmSync(dist, { recursive: true, force: true }));

  const kept = (): string => join(dist, 'code', `${process.version}-${process.arch}`, 'network-run.js.bin');
  const usage = async (): Promise<string> => {
    const { stdout, stderr } = await execa(process.execPath, [join(dist, 'network.js'), '--help']);
    // No warning of Node's either.
    expect(stderr).toBe('');
    return stdout;
  };

  test('is taken from a copy that has the same time of change', async () => {
    expect(await isKept(dist, 'network-run.js')).toBe(true);
    expect(await usage()).toContain('Manage networks,');
  });

  test.each<readonly [string, () => void]>([
    ['is gone', () => rmSync(join(dist, 'code'), { recursive: true })],
    ['is empty', () => truncateSync(kept(), 0)],
    ['ends in its head', () => truncateSync(kept(), 10)],
    ['is cut', () => truncateSync(kept(), statSync(kept()).size / 2)],
    ['is of another Node', () => writeFileSync(kept(), readFileSync(kept()).fill(7, 24, 72))],
    ['is of another build of Node', () => writeFileSync(kept(), readFileSync(kept()).fill(7, 16, 24))],
    ['is of an older text', () => utimesSync(join(dist, 'network-run.js'), 1, 1)],
  ])('%s: the program runs without', async (_, spoil) => {
    spoil();
    expect(await isKept(dist, 'network-run.js')).toBe(false);
    expect(await usage()).toContain('Manage networks,');
  });

  test('is what runs where it fits, and is not taken for another text of the same length', async () => {
    const file = join(dist, 'part.js');
    const ask = async (what: string): Promise<string> => {
      const script = `const code = require(process.argv[1]), dist = process.argv[2]; console.log(${what})`;
      return (await execa(process.execPath, ['-e', script, join(dist, 'kept-code.js'), dist])).stdout;
    };
    writeFileSync(file, "exports.word = 'kept'");
    await ask("code.keep(dist, 'part.js')");
    const { atime, mtime } = statSync(file);
    writeFileSync(file, "exports.word = 'text'");
    utimesSync(file, atime, mtime);
    expect(await ask("code.load(require, dist, 'part.js').word")).toBe('kept');
    utimesSync(file, 1, 1);
    expect(await ask("code.load(require, dist, 'part.js').word")).toBe('text');
  });
});
