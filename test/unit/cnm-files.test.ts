import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type SandboxId, silentLogger } from '../../src/base/index.ts';
import type { Cnm } from '../../src/cnm/context.ts';
import { addHostLines, filesOf, namesResolver, removeHostLines } from '../../src/cnm/files.ts';
import type { SandboxRecord } from '../../src/cnm/records.ts';

/** Edits while the file comes and goes, some 10 µs apart. */
const EDITS = 3000;
const LINE = '192.0.2.1\tbox';

let cnm: Cnm;
const sandbox = { id: 'a'.repeat(64) as SandboxId } as SandboxRecord;
beforeEach(() => {
  cnm = { runDir: mkdtempSync(join(tmpdir(), 'patchbay-files-')), env: { log: silentLogger, now: () => 0 } } as unknown as Cnm;
  mkdirSync(filesOf(cnm, sandbox).folder, { recursive: true });
});
afterEach(() => rmSync(cnm.runDir, { recursive: true, force: true }));

test('lines come to a hosts file and leave it, and what others wrote stays', () => {
  const { hosts } = filesOf(cnm, sandbox);
  writeFileSync(hosts, '127.0.0.1\tlocalhost\n');
  addHostLines(cnm, sandbox, [LINE]);
  addHostLines(cnm, sandbox, [LINE, '192.0.2.2\tother']);
  expect(readFileSync(hosts, 'utf8')).toBe(`127.0.0.1\tlocalhost\n${LINE}\n192.0.2.2\tother\n`);
  removeHostLines(cnm, sandbox, [LINE]);
  expect(readFileSync(hosts, 'utf8')).toBe('127.0.0.1\tlocalhost\n192.0.2.2\tother\n');
});

test('a file that is not there is none of ours, and is not made', () => {
  addHostLines(cnm, sandbox, [LINE]);
  expect(statSync(filesOf(cnm, sandbox).hosts, { throwIfNoEntry: false })).toBeUndefined();
  expect(namesResolver(cnm, sandbox)).toBe(false);
});

test(
  'a file that comes and goes meanwhile is there or is not: no edit fails, and none makes a new one',
  { timeout: 60_000 },
  async () => {
    const { hosts } = filesOf(cnm, sandbox);
    // Rounds, whether to end, files that were made in the place of one that is away.
    const rounds = new Int32Array(new SharedArrayBuffer(12));
    const mover = new Worker(MOVER, { eval: true, workerData: { rounds, hosts, aside: join(dirname(hosts), 'aside') } });
    const ended = new Promise((resolve) => mover.once('exit', resolve));
    try {
      Atomics.wait(rounds, 0, 0, 20_000);
      for (let i = 0; i < EDITS; i++) {
        addHostLines(cnm, sandbox, [LINE]);
        removeHostLines(cnm, sandbox, [LINE]);
        namesResolver(cnm, sandbox);
      }
    } finally {
      Atomics.store(rounds, 1, 1);
      await ended;
    }
    expect(rounds[0]).toBeGreaterThan(10);
    expect(rounds[2]).toBe(0);
  },
);

/** Takes the hosts file and resolv.conf away and puts them back until it is told to end. */
const MOVER = `
  const { existsSync, renameSync, writeFileSync } = require('node:fs');
  const { rounds, hosts, aside } = require('node:worker_threads').workerData;
  const both = [[hosts, aside], [hosts.replace(/hosts$/, 'resolv.conf'), aside + '.resolv']];
  for (const [path] of both) writeFileSync(path, '');
  while (Atomics.load(rounds, 1) === 0) {
    for (const [path, other] of both) renameSync(path, other);
    for (const [path, other] of both) {
      if (existsSync(path)) Atomics.add(rounds, 2, 1);
      renameSync(other, path);
    }
    Atomics.add(rounds, 0, 1);
    Atomics.notify(rounds, 0);
  }
`;
