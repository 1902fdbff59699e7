/** What networks of several hosts may be, and what is said of them: three daemons, the last with tunnels at another port of its own. */

import { readdirSync } from 'node:fs';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { NetworkJson } from '../../src/base/index.ts';
import { type Lab, waitUntil } from './lab.ts';
import { SharedLab } from './shared-lab.ts';

const LATE_MS = 30_000;
const PORT = '14789';

let shared: SharedLab;
beforeAll(async () => {
  shared = await SharedLab.open(['one', 'two', 'three'], { flags: (i) => (i === 2 ? ['--data-path-port', PORT] : []) });
}, 120_000);
afterAll(() => shared?.close());

const lab = (i: number): Lab => shared.at(i);
const resolved = async (i: number, sandbox: string, term: string): Promise<string> =>
  (await shared.exec(i, sandbox, 'getent', 'hosts', term)).stdout.replaceAll(/\s+/g, ' ').trim();
const fieldOf = (i: number, sandbox: string, network: string, field: string): Promise<string> =>
  lab(i).ok('sandbox', 'inspect', '--format', `{{(index .Networks "${network}").${field}}}`, sandbox);

test('every name of a sandbox is known on all hosts, both ways and for both families, and goes with it', async () => {
  await lab(0).ok('create', '-d', 'overlay', '--ipv6', '--subnet', '10.71.0.0/24', '--subnet', 'fd71::/64', 'names');
  const id = await lab(1).ok(
    'sandbox',
    'create',
    '--network',
    'name=names,alias=web,alias=Shop',
    '--hostname',
    'maria-box',
    'maria',
  );
  await lab(0).ok('sandbox', 'create', '--network', 'names', 'jonas');
  const [v4, v6] = [await fieldOf(1, 'maria', 'names', 'IPAddress'), await fieldOf(1, 'maria', 'names', 'GlobalIPv6Address')];
  for (const name of ['maria', 'web', 'shop', 'SHOP', 'maria-box', id.slice(0, 12), 'maria.names']) {
    const answer = await shared.exec(0, 'jonas', 'getent', 'ahosts', name);
    expect(new Set(answer.stdout.split('\n').map((line) => line.split(' ')[0])), name).toEqual(new Set([v4, v6]));
  }
  expect(await resolved(0, 'jonas', v4)).toBe(`${v4} maria.names`);
  expect(await resolved(0, 'jonas', v6)).toBe(`${v6} maria.names`);
  await lab(1).ok('sandbox', 'rm', '-f', 'maria');
  await waitUntil(async () => (await resolved(0, 'jonas', v4)) === '', LATE_MS);
  expect(await resolved(0, 'jonas', 'web')).toBe('');
});

test('a name of two sandboxes on two hosts is both of them', async () => {
  for (const i of [1, 2]) await lab(i).ok('sandbox', 'create', '--network', 'name=names,alias=pool', `p${i}`);
  const both = await Promise.all([1, 2].map((i) => fieldOf(i, `p${i}`, 'names', 'IPAddress')));
  const answer = await shared.exec(0, 'jonas', 'getent', 'ahostsv4', 'pool');
  expect(new Set(answer.stdout.split('\n').map((line) => line.split(' ')[0]))).toEqual(new Set(both));
});

test('several subnets are as many wires, and lead to each other over hosts', async () => {
  await lab(1).ok('create', '-d', 'overlay', '--subnet', '10.72.1.0/24', '--subnet', '10.72.2.0/24', 'wires');
  await lab(0).ok('sandbox', 'create', '--network', 'name=wires,ip=10.72.1.10', 'w0');
  await lab(1).ok('sandbox', 'create', '--network', 'name=wires,ip=10.72.2.10', 'w1');
  await lab(2).ok('sandbox', 'create', '--network', 'name=wires,ip=10.72.2.20', 'w2');
  for (const [i, j] of [
    [0, 1],
    [1, 2],
    [2, 0],
  ] as const) {
    expect(await shared.reaches(i, `w${i}`, `w${j}`), `w${i} to w${j}`).toBe(true);
    expect(await shared.reaches(j, `w${j}`, `w${i}`), `w${j} to w${i}`).toBe(true);
  }
});

test('an internal network leads nowhere but to its own, on every host', async () => {
  await lab(2).ok('create', '-d', 'overlay', '--internal', 'vault');
  for (const i of [0, 1]) await lab(i).ok('sandbox', 'create', '--network', 'vault', `v${i}`);
  expect(await shared.reaches(0, 'v0', 'v1')).toBe(true);
  expect((await shared.exec(0, 'v0', 'ip', 'route', 'show', 'default')).stdout).toBe('');
  expect((await shared.exec(0, 'v0', 'ip', '-br', 'link')).stdout.split('\n')).toHaveLength(2);
});

test('tunnels have the port of the host that made the network, on all hosts', async () => {
  await lab(2).ok('create', '-d', 'overlay', 'other-port');
  for (const i of [0, 2]) await lab(i).ok('sandbox', 'create', '--network', 'other-port', `o${i}`);
  expect(await shared.reaches(0, 'o0', 'o2')).toBe(true);
  expect(await shared.reaches(2, 'o2', 'o0')).toBe(true);
  const sockets = await execa('nsenter', [`--net=/run/netns/${lab(0).host}`, 'ss', '-Hulpan']);
  const ports = sockets.stdout.split('\n').flatMap((line) => line.match(/:(\d+) /)?.[1] ?? []);
  expect(ports).toEqual(expect.arrayContaining(['4789', PORT]));
  // One that is made anew has it still.
  await lab(0).stop('SIGKILL');
  await lab(0).start();
  await waitUntil(() => shared.reaches(0, 'o0', 'o2'), LATE_MS);
});

test('prune takes what no host uses, from whichever it is asked, and is told on all', async () => {
  await lab(0).ok('create', '-d', 'overlay', 'unused');
  await waitUntil(async () => (await lab(2).ok('ls')).includes('unused'), LATE_MS);
  // Of this network only another host has a sandbox.
  await lab(0).ok('sandbox', 'rm', '-f', 'o0');
  await lab(0).ok('sandbox', 'rm', '-f', 'v0');
  const pruned = await lab(0).ok('prune', '-f');
  expect(pruned).toContain('unused');
  expect(pruned).not.toMatch(/other-port|vault|names|wires/);
  for (const i of [0, 1, 2]) {
    await waitUntil(async () => !(await lab(i).ok('ls')).includes('unused'), LATE_MS);
    expect(await lab(i).ok('ls', '--format', '{{.Name}}', '--filter', 'driver=overlay')).toBe('names\nother-port\nvault\nwires');
  }
});

/** What the keeper of a machine knows of other hosts' endpoints. */
const peerFiles = (i: number): string[] =>
  readdirSync(lab(i).runDir, { recursive: true, encoding: 'utf8' }).filter((path) => /peers\/.*[0-9a-f]{64}/.test(path));

test('of two that leave a network at once the last one takes what the host knew of it along', async () => {
  await lab(0).ok('create', '-d', 'overlay', 'twins');
  const before = peerFiles(1).length;
  await lab(0).ok('sandbox', 'create', '--network', 'twins', 'far');
  for (const name of ['near1', 'near2']) await lab(1).ok('sandbox', 'create', '--network', 'twins', name);
  await waitUntil(async () => peerFiles(1).length > before, LATE_MS);
  await Promise.all(['near1', 'near2'].map((name) => lab(1).ok('sandbox', 'rm', '-f', name)));
  await waitUntil(async () => peerFiles(1).length === before, LATE_MS);
  await lab(0).ok('sandbox', 'rm', '-f', 'far');
  await lab(1).ok('rm', 'twins');
});

test('a host that was forgotten while it hung has its sandboxes and their addresses again', async () => {
  await lab(0).ok('create', '-d', 'overlay', '--subnet', '10.73.0.0/24', 'claims');
  for (const i of [0, 2]) await lab(i).ok('sandbox', 'create', '--network', `name=claims,ip=10.73.0.1${i}`, `h${i}`);
  const nodes = (): Promise<string> => lab(0).ok('node', 'ls', '--format', '{{.Name}} {{.State}}');
  lab(2).daemon?.kill('SIGSTOP');
  await waitUntil(async () => (await nodes()).includes('three down'), LATE_MS);
  await lab(0).ok('node', 'rm', 'three');
  lab(2).daemon?.kill('SIGCONT');
  await waitUntil(async () => (await nodes()).includes('three ready'), LATE_MS);
  await waitUntil(() => shared.reaches(0, 'h0', 'h2'), LATE_MS);
  const thief = await lab(0).cli('sandbox', 'create', '--network', 'name=claims,ip=10.73.0.12', 'thief');
  expect(thief).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('Address already in use') });
  await lab(2).ok('sandbox', 'rm', '-f', 'h2');
  await lab(0).ok('sandbox', 'create', '--network', 'name=claims,ip=10.73.0.12', 'heir');
});

test('two hosts that tell one address are named where a network suffers from it', async () => {
  await lab(1).stop('SIGTERM');
  await lab(1).start(['--advertise', '192.0.2.1']);
  const problem = async (): Promise<string> => {
    const [net] = JSON.parse(await lab(0).ok('inspect', 'names')) as (NetworkJson & { Degraded?: string })[];
    return net?.Degraded ?? '';
  };
  await waitUntil(async () => (await problem()).includes("host two tells this host's own address, 192.0.2.1"), LATE_MS);
  await lab(1).stop('SIGTERM');
  await lab(1).start();
  await waitUntil(async () => (await problem()) === '', LATE_MS);
  await lab(0).ok('sandbox', 'inspect', 'jonas');
});
