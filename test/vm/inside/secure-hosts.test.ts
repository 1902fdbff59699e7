/** Encrypted networks of a cluster on Debian's kernel: two daemons and a real etcd. */

import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitUntil } from '../../e2e/lab.ts';
import { SharedLab } from '../../e2e/shared-lab.ts';

const LIMIT_MS = 300_000;
const LATE_MS = 60_000;

let shared: SharedLab;
beforeAll(async () => {
  // Members that elect each other have no time for that on an emulated processor.
  shared = await SharedLab.open(['one', 'two'], { members: 1 });
}, LIMIT_MS);
afterAll(() => shared?.close(), LIMIT_MS);

const xfrm = async (i: number, what: 'state' | 'policy'): Promise<string> =>
  (await execa('ip', ['-n', shared.at(i).host, 'xfrm', what])).stdout;
const namesOf = (states: string): string[] => states.match(/spi 0x[0-9a-f]+/g) ?? [];

test('made on one host, joined on both, with names; keys change under way; all goes', { timeout: LIMIT_MS }, async () => {
  const [one, two] = [shared.at(0), shared.at(1)];
  await waitUntil(async () => (await one.ok('node', 'ls', '--format', '{{.State}}')).match(/ready/g)?.length === 2, LATE_MS);
  expect((await one.cli('node', 'rotate-keys')).stderr).toContain('the cluster has no keys yet');
  await one.ok('create', '-d', 'overlay', '-o', 'encrypted', '--subnet', '10.66.0.0/24', 'vault');
  await one.ok('sandbox', 'create', '--network', 'vault', 'anna');
  await two.ok('sandbox', 'create', '--network', 'vault', 'bert');
  expect(await shared.reaches(0, 'anna', 'bert')).toBe(true);
  expect(await shared.reaches(1, 'bert', 'anna')).toBe(true);
  expect((await shared.exec(0, 'anna', 'ip', '-br', 'link')).stdout).toContain('eth0');
  expect((await shared.exec(0, 'anna', 'ip', 'link', 'show', 'eth0')).stdout).toContain('mtu 1424');
  expect(await xfrm(0, 'policy')).toContain('action block');
  const before = namesOf(await xfrm(0, 'state'));
  expect(before.length).toBeGreaterThan(0);

  await waitUntil(async () => (await two.cli('node', 'rotate-keys')).exitCode === 0, LATE_MS);
  expect((await one.cli('node', 'rotate-keys')).stderr).toContain('less than 10 seconds ago');
  await waitUntil(async () => namesOf(await xfrm(0, 'state')).some((name) => !before.includes(name)), LATE_MS);
  expect(await shared.reaches(0, 'anna', 'bert')).toBe(true);

  // A daemon that starts again while etcd is away takes nothing away, and lets nobody new in.
  await shared.etcd.killAll();
  await two.stop('SIGKILL');
  await two.start();
  expect(await shared.reaches(1, 'bert', 'anna')).toBe(true);
  expect((await two.cli('sandbox', 'create', '--network', 'vault', 'late')).exitCode).toBe(1);
  await shared.etcd.startAll();
  await waitUntil(async () => (await two.cli('sandbox', 'create', '--network', 'vault', 'late')).exitCode === 0, LATE_MS);
  expect(await shared.reaches(0, 'anna', 'late')).toBe(true);

  for (const name of ['bert', 'late']) await two.ok('sandbox', 'rm', '-f', name);
  await one.ok('sandbox', 'rm', '-f', 'anna');
  for (const i of [0, 1]) await waitUntil(async () => (await xfrm(i, 'state')) + (await xfrm(i, 'policy')) === '', LATE_MS);
  await one.ok('rm', 'vault');
});
