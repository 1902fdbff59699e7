/** The units that we hand out: sound, hardened, and without what would hide the pins of sandboxes. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DIST } from './lab.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

/** `exposure`: systemd's own measure, tenths of points; a service with none of the options has 96. */
const UNITS = [
  { name: 'patchbayd', program: 'patchbayd', built: 'patchbayd.js', kept: 'src/start.ts', exposure: 60 },
  { name: 'patchbay-keeper', program: 'patchbay-keeper', built: 'keeper.js', kept: 'src/keeper/supervise.ts', exposure: 48 },
] as const;

const analyze = (...args: string[]) => execa('systemd-analyze', args, { reject: false, stdin: 'ignore', all: true });

/** What makes a mount namespace (systemd.exec(5)), or empties the run directory. */
const HARMFUL =
  /^(Private(Mounts|Tmp|Devices|Network|IPC|Users)|Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Proc|Hostname)|ProcSubset|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec)Paths|Bind(ReadOnly)?Paths|TemporaryFileSystem|Root(Directory|Image)|Mount\w+|DynamicUser|(Runtime|State)Directory)=/m;

describe.each(UNITS)('$name.service', ({ name, program, built, kept, exposure }) => {
  const unit = read(`docs/systemd/${name}.service`);
  let folder: string;
  let file: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'pbt-unit-'));
    file = join(folder, `${name}.service`);
    writeFileSync(file, unit.replace(`/usr/local/bin/${program}`, join(DIST, built)));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('systemd has nothing to say about it', async () => {
    const { exitCode, all } = await analyze('verify', '--man=no', '--recursive-errors=no', file);
    expect([exitCode, (all ?? '').split('\n').filter((line) => line.includes(`${name}.service`))]).toEqual([0, []]);
  });

  test('a unit with a mistake in it would be noticed', async () => {
    const wrong = join(folder, 'wrong.service');
    writeFileSync(
      wrong,
      unit.replace(/^ExecStart=.*/m, 'ExecStart=/nowhere/program').replace('RestrictRealtime', 'RestrictRealTime'),
    );
    const { all } = await analyze('verify', '--man=no', '--recursive-errors=no', wrong);
    expect(all).toMatch(/RestrictRealTime/);
    expect(all).toMatch(/nowhere/);
  });

  test('its exposure is low for what it does', async () => {
    const { exitCode, all } = await analyze('security', '--offline=true', `--threshold=${exposure}`, file);
    expect(exitCode, all).toBe(0);
  });

  test('nothing in it makes a mount namespace', () => {
    expect(unit).not.toMatch(HARMFUL);
    expect('[Service]\nProtectSystem=strict').toMatch(HARMFUL);
  });

  test('it leaves the program the capabilities that the program leaves itself', () => {
    const inCode = /const KEPT[^=]*= \[([^\]]+)\]/.exec(read(kept))?.[1];
    const wanted = [...(inCode ?? '').matchAll(/CAP_\w+/g)].map(([capability]) => capability);
    const given = /^CapabilityBoundingSet=(.+)$/m.exec(unit)?.[1]?.split(' ');
    expect(wanted.length).toBeGreaterThan(2);
    expect(given).toEqual(wanted);
  });

  test('its program is one that the package installs', () => {
    const { bin } = JSON.parse(read('package.json')) as { bin: Record<string, string> };
    expect(bin[program]).toBe(`dist/${built}`);
    expect(unit).toContain(`ExecStart=/usr/local/bin/${program}`);
  });
});

describe.each(['patchbayd.socket', 'patchbayd-plugin@.socket'])('%s', (name) => {
  const unit = read(`docs/systemd/${name}`);

  test('systemd has nothing to say about it, beside the service that it starts', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pbt-unit-'));
    try {
      const service = read('docs/systemd/patchbayd.service').replace('/usr/local/bin/patchbayd', join(DIST, 'patchbayd.js'));
      writeFileSync(join(folder, 'patchbayd.service'), service);
      const file = join(folder, name.replace('@', '@patchbay-bridge'));
      writeFileSync(join(folder, name), unit);
      if (name.includes('@')) writeFileSync(file, unit);
      const { exitCode, all } = await analyze('verify', '--man=no', '--recursive-errors=no', file);
      expect([exitCode, (all ?? '').split('\n').filter((line) => line.includes('patchbayd'))]).toEqual([0, []]);
      writeFileSync(file, unit.replace('ListenStream', 'ListenSteam'));
      expect((await analyze('verify', '--man=no', '--recursive-errors=no', file)).all).toMatch(/ListenSteam/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('it listens where the daemon serves by itself', () => {
    const [, path = ''] = /^ListenStream=(.+)$/m.exec(unit) ?? [];
    const help = read('README.md');
    expect(help).toContain(path.includes('%i') ? '`/run/docker/plugins`' : `unix://${path}`);
  });
});

test('a keeper without a unit outlives a stop of the daemon; one with a unit serves before the daemon starts', () => {
  expect(read('docs/systemd/patchbayd.service')).toMatch(/^KillMode=process$/m);
  expect(read('docs/systemd/patchbayd.service')).toMatch(/^After=.*\bpatchbay-keeper\.service\b/m);
  const keeper = read('docs/systemd/patchbay-keeper.service');
  expect(keeper).toMatch(/^Type=notify$/m);
  expect(keeper).toMatch(/^Restart=always$/m);
  expect(keeper).toMatch(/^FileDescriptorStoreMax=\d+$/m);
});
