/** The unit that we hand out: sound, hardened, and without what would hide the pins of sandboxes. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DIST } from './lab.ts';

const UNIT = readFileSync(new URL('../../docs/systemd/patchbayd.service', import.meta.url), 'utf8');
/** systemd's own measure, tenths of points; a service with none of the options has 96. */
const MAX_EXPOSURE = 60;

let folder: string;
let file: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pbt-unit-'));
  file = join(folder, 'patchbayd.service');
  writeFileSync(file, UNIT.replace('/usr/local/bin/patchbayd', join(DIST, 'patchbayd.js')));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const analyze = (...args: string[]) => execa('systemd-analyze', args, { reject: false, stdin: 'ignore', all: true });

test('systemd has nothing to say about it', async () => {
  const { exitCode, all } = await analyze('verify', '--man=no', '--recursive-errors=no', file);
  expect([exitCode, (all ?? '').split('\n').filter((line) => line.includes('patchbayd.service'))]).toEqual([0, []]);
});

test('a unit with a mistake in it would be noticed', async () => {
  const wrong = join(folder, 'wrong.service');
  writeFileSync(
    wrong,
    UNIT.replace(/^ExecStart=.*/m, 'ExecStart=/nowhere/patchbayd').replace('RestrictRealtime', 'RestrictRealTime'),
  );
  const { all } = await analyze('verify', '--man=no', '--recursive-errors=no', wrong);
  expect(all).toMatch(/RestrictRealTime/);
  expect(all).toMatch(/nowhere/);
});

test('its exposure is low for a service that manages networks', async () => {
  const { exitCode, all } = await analyze('security', '--offline=true', `--threshold=${MAX_EXPOSURE}`, file);
  expect(exitCode, all).toBe(0);
});

/** What makes a mount namespace (systemd.exec(5)), or empties the run directory. */
const HARMFUL =
  /^(Private(Mounts|Tmp|Devices|Network|IPC|Users)|Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Proc|Hostname)|ProcSubset|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec)Paths|Bind(ReadOnly)?Paths|TemporaryFileSystem|Root(Directory|Image)|Mount\w+|DynamicUser|(Runtime|State)Directory)=/m;

test('nothing in it makes a mount namespace, and the keeper outlives a stop', () => {
  expect(UNIT).not.toMatch(HARMFUL);
  expect('[Service]\nProtectSystem=strict').toMatch(HARMFUL);
  expect(UNIT).toMatch(/^KillMode=process$/m);
});

test('it leaves the daemon the capabilities that the daemon leaves itself', () => {
  const inCode = /const KEPT[^=]*= \[([^\]]+)\]/.exec(readFileSync(new URL('../../src/main.ts', import.meta.url), 'utf8'))?.[1];
  const wanted = [...(inCode ?? '').matchAll(/CAP_\w+/g)].map(([name]) => name);
  const given = /^CapabilityBoundingSet=(.+)$/m.exec(UNIT)?.[1]?.split(' ');
  expect(wanted.length).toBeGreaterThan(5);
  expect(given).toEqual(wanted);
});
