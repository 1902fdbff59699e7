/** What a start loads. The daemon's program is started twice, see docs/decisions/0015-capabilities.md: the first time it needs little of it. */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const DIST = new URL('../../dist/', import.meta.url).pathname;
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
  const texts = [...loadedWith('patchbayd.js').values()];
  const octets = texts.reduce((sum, text) => sum + text.length, 0);
  expect(octets).toBeLessThan(MOST_OCTETS);
  expect(octets).toBeGreaterThan(readFileSync(join(DIST, 'patchbayd.js')).length);
  expect(texts.join('\n')).toContain('require("./patchbayd-serve.js")');
});

test('no program has a character for which V8 would keep its text in two octets each', () => {
  const programs = readdirSync(DIST).filter((name) => name.endsWith('.js'));
  expect(programs.length).toBeGreaterThan(5);
  for (const name of programs) expect(readFileSync(join(DIST, name), 'utf8'), name).not.toMatch(/[^\0-\u00ff]/);
});
