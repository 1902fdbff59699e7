/** Bad command lines and configuration files: exit codes, words that name what is wrong, and nothing changes. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Watched } from './bad-input/asking.ts';
import { daemonRows, fileRows, toolRows } from './bad-input/commands.ts';
import { DIST, Lab } from './lab.ts';

let lab: Lab;
let watched: Watched;
let before: unknown;

beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', '--subnet', '10.9.0.0/24', 'net');
  await lab.ok('sandbox', 'create', '--network', 'net', 'box');
  await lab.ok('sandbox', 'create', 'spare');
  watched = new Watched(lab);
  before = await watched.lookWell();
});
afterAll(async () => {
  watched.close();
  await lab.close();
});

/** A daemon that must not come to serve; it has folders of its own, so that only its flags keep it. */
const daemon = (...args: string[]) => {
  const names = ['state', 'run', 'plugin'].filter((name) => !args.includes(`--${name}-dir`));
  const folders = names.flatMap((name) => [`--${name}-dir`, join(lab.folder, 'other', name)]);
  const host = args.includes('--host') || args.includes('--config') ? [] : ['--host', `unix://${join(lab.folder, 'other.sock')}`];
  return lab.in('host', 'timeout', '60', lab.node, join(DIST, 'patchbayd.js'), ...folders, ...host, ...args);
};

/** What a terminal or a reader of lines would act on; the line feeds of a message are its own. */
// oxlint-disable-next-line no-control-regex
const ACTING = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;

test.each(toolRows)('network %j ends with %i', async (args, exitCode, says) => {
  const outcome = await lab.cli(...args);
  const words = `${outcome.stderr}\n${outcome.stdout}`;
  expect(outcome.exitCode, words).toBe(exitCode);
  for (const wanted of says) expect(words).toMatch(wanted);
  expect(words).not.toMatch(ACTING);
});

test.each(daemonRows)('patchbayd %j ends with %i', async (args, exitCode, says) => {
  const outcome = await daemon(...args);
  expect(outcome.exitCode, outcome.stderr).toBe(exitCode);
  for (const wanted of says) expect(outcome.stderr).toMatch(wanted);
  expect(outcome.stderr).not.toMatch(ACTING);
});

test.each(fileRows)('a configuration file of %j is refused', async (text, says) => {
  const path = join(lab.folder, 'config.json');
  writeFileSync(path, text);
  const outcome = await daemon('--config', path);
  expect(outcome.exitCode, outcome.stderr).toBe(125);
  for (const wanted of [/config\.json|plain TCP|--firewall/, ...says]) expect(outcome.stderr).toMatch(wanted);
});

test('after all of them kernel, files and records are what they were', async () => {
  expect(toolRows.length + daemonRows.length + fileRows.length).toBeGreaterThan(90);
  expect(await watched.lookWell()).toEqual(before);
});
