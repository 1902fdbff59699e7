/** Networks that hosts share: three daemons on one underlay, a real etcd of three members. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type NetworkJson, parseEtcdAddress } from '../../src/base/index.ts';
import { openEtcdStore } from '../../src/store/index.ts';
import type { EtcdCluster } from '../contract/etcd.ts';
import { type Lab, waitUntil } from './lab.ts';
import { SharedLab, addressOf } from './shared-lab.ts';

const NAMES = ['one', 'two', 'three'] as const;
const LATE_MS = 30_000;

let shared: SharedLab;
let etcd: EtcdCluster;

beforeAll(async () => {
  shared = await SharedLab.open(NAMES);
  ({ etcd } = shared);
}, 120_000);
afterAll(() => shared?.close());

const lab = (i: number): Lab => shared.at(i);
const exec = (i: number, sandbox: string, ...command: string[]) => shared.exec(i, sandbox, ...command);
const reaches = (i: number, from: string, to: string) => shared.reaches(i, from, to);
const networks = (i: number): Promise<string> => lab(i).ok('ls', '-q', '--no-trunc', '--filter', 'driver=overlay');

test('a network made on one host is there on all, and its sandboxes reach each other by name and address', async () => {
  const id = await lab(0).ok('create', '-d', 'overlay', '--subnet', '10.77.0.0/24', 'blue');
  for (const i of [0, 1, 2]) await lab(i).ok('sandbox', 'create', '--network', 'blue', `c${i}`);
  for (const i of [0, 1, 2]) expect(await networks(i)).toBe(id);
  for (const i of [0, 1, 2]) for (const j of [0, 1, 2]) expect(await reaches(i, `c${i}`, `c${j}`)).toBe(true);
  const [net] = JSON.parse(await lab(1).ok('inspect', 'blue')) as NetworkJson[];
  expect(net).toMatchObject({ Scope: 'global', IPAM: { Driver: 'cluster', Config: [{ Subnet: '10.77.0.0/24' }] } });
});

test('inspect tells from any host who is in the network, and where', async () => {
  const [net] = JSON.parse(await lab(1).ok('inspect', '-v', 'blue')) as NetworkJson[];
  const peers = NAMES.map((name, i) => ({ Name: name, IP: addressOf(i) }));
  expect(net?.Peers).toEqual(peers.toSorted((a, b) => (a.Name < b.Name ? -1 : 1)));
  const tasks = net?.Services?.['']?.Tasks ?? [];
  expect(tasks.map(({ Name, Info }) => `${Name} ${Info['Host']} ${Info['Host IP']} ${Info['State']}`)).toEqual(
    NAMES.map((name, i) => `c${i} ${name} ${addressOf(i)} joined`),
  );
  expect(Object.values(net?.Containers ?? {}).map(({ Name }) => Name)).toEqual(['c1']);
  const [brief] = JSON.parse(await lab(2).ok('inspect', 'blue')) as NetworkJson[];
  expect([brief?.Peers?.length, brief?.Services]).toEqual([3, undefined]);
});

test('a name is gone everywhere when its sandbox has left, and another network does not have it', async () => {
  await lab(2).ok('create', '-d', 'overlay', 'green');
  await lab(1).ok('sandbox', 'create', '--network', 'green', 'g1');
  expect((await exec(1, 'g1', 'getent', 'hosts', 'c0')).exitCode).not.toBe(0);
  await lab(2).ok('disconnect', 'blue', 'c2');
  await waitUntil(async () => !(await reaches(0, 'c0', 'c2')), LATE_MS);
  await lab(2).ok('connect', 'blue', 'c2');
  expect(await reaches(0, 'c0', 'c2')).toBe(true);
});

test('a network that any host uses stays, and is removed everywhere once nobody does', async () => {
  expect(await lab(0).cli('rm', 'green')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('two (1)') });
  await lab(1).ok('sandbox', 'rm', '-f', 'g1');
  await lab(0).ok('rm', 'green');
  for (const i of [0, 1, 2]) await waitUntil(async () => !(await lab(i).ok('ls')).includes('green'), LATE_MS);
  expect(await lab(1).cli('create', '-d', 'overlay', 'blue')).toMatchObject({ exitCode: 1 });
});

test('a host that dies is out of names and tables within its lease, and in them again when it is back', async () => {
  await lab(1).stop('SIGKILL');
  expect(await reaches(0, 'c0', 'c1')).toBe(true);
  await waitUntil(async () => (await exec(0, 'c0', 'getent', 'hosts', 'c1')).exitCode !== 0, LATE_MS);
  await lab(1).start();
  await waitUntil(() => reaches(0, 'c0', 'c1'), LATE_MS);
  expect(await reaches(1, 'c1', 'c2')).toBe(true);
});

const api = (i: number, method: string, path: string, body?: unknown) => lab(i).api<{ message?: string }>(method, path, body);

test('without etcd traffic, names and inspect go on, changes fail at once, and all is true when it is back', async () => {
  const before = await lab(0).ok('sandbox', 'inspect', '--format', '{{.Networks.blue.IPAddress}}', 'c0');
  await etcd.killAll();
  const begin = performance.now();
  expect((await api(0, 'POST', '/networks/create', { Name: 'late', Driver: 'overlay' })).status).toBe(503);
  expect((await api(0, 'DELETE', '/networks/blue')).status).toBe(403);
  expect((await api(1, 'POST', '/sandboxes/create', { Name: 'late', Networks: { blue: {} } })).status).toBe(503);
  expect(performance.now() - begin).toBeLessThan(LATE_MS);
  for (const [i, j] of [
    [0, 1],
    [1, 2],
    [2, 0],
  ] as const)
    expect(await reaches(i, `c${i}`, `c${j}`)).toBe(true);
  expect(await lab(0).ok('inspect', '--format', '{{len .Peers}}', 'blue')).toBe('3');
  // What leaves meanwhile is gone here at once, and for the others when they can hear it; a restart forgets nobody.
  await lab(2).ok('sandbox', 'rm', '-f', 'c2');
  await lab(1).stop('SIGKILL');
  await lab(1).start();
  expect(await reaches(1, 'c1', 'c0')).toBe(true);
  expect(await reaches(0, 'c0', 'c1')).toBe(true);
  await etcd.startAll();
  await waitUntil(async () => (await exec(0, 'c0', 'getent', 'hosts', 'c2')).exitCode !== 0, LATE_MS);
  await waitUntil(async () => (await lab(2).cli('sandbox', 'create', '--network', 'blue', 'c2')).exitCode === 0, LATE_MS);
  for (const i of [0, 1, 2]) for (const j of [0, 1, 2]) await waitUntil(() => reaches(i, `c${i}`, `c${j}`), LATE_MS);
  expect(await lab(0).ok('sandbox', 'inspect', '--format', '{{.Networks.blue.IPAddress}}', 'c0')).toBe(before);
});

test('data made anew: the hosts tell the cluster again what there is', async () => {
  await etcd.killAll();
  etcd.forget();
  await etcd.startAll();
  // Not before all have said which addresses they have.
  await waitUntil(async () => (await lab(0).cli('sandbox', 'create', '--network', 'blue', 'new')).exitCode === 0, LATE_MS);
  for (const i of [0, 1, 2]) await waitUntil(() => reaches(i, `c${i}`, 'new'), LATE_MS);
  for (const i of [0, 1, 2]) for (const j of [0, 1, 2]) expect(await reaches(i, `c${i}`, `c${j}`)).toBe(true);
  const taken = await lab(2).ok('sandbox', 'inspect', '--format', '{{.Networks.blue.IPAddress}}', 'c2');
  const wish = { Name: 'thief', Networks: { blue: { IPAMConfig: { IPv4Address: taken } } } };
  expect((await api(1, 'POST', '/sandboxes/create', wish)).status).toBe(403);
  await lab(0).ok('sandbox', 'rm', '-f', 'new');
});

test('a network removed while a host was away is removed there when it is back, with whoever is in it', async () => {
  await lab(0).ok('create', '-d', 'overlay', 'red');
  await lab(2).ok('connect', 'red', 'c2');
  await lab(2).stop('SIGKILL');
  await waitUntil(
    async () => (await lab(0).ok('node', 'ls', '--format', '{{.Name}} {{.State}}')).includes('three down'),
    LATE_MS,
  );
  await lab(0).ok('rm', 'red');
  await lab(2).start();
  await waitUntil(async () => !(await lab(2).ok('ls')).includes('red'), LATE_MS);
  await waitUntil(async () => (await lab(2).ok('sandbox', 'inspect', '--format', '{{len .Networks}}', 'c2')) === '1', LATE_MS);
  expect(await reaches(2, 'c2', 'c0')).toBe(true);
});

test('a host that is stopped and started at once was never away; one that is removed leaves nothing behind', async () => {
  await lab(1).stop('SIGTERM');
  expect(await reaches(0, 'c0', 'c1')).toBe(true);
  await lab(1).start();
  expect(await reaches(0, 'c0', 'c1')).toBe(true);
  await lab(1).stop('SIGKILL');
  await waitUntil(async () => (await lab(0).ok('node', 'ls', '--format', '{{.Name}} {{.State}}')).includes('two down'), LATE_MS);
  await lab(0).ok('node', 'rm', 'two');
  for (const i of [0, 2]) await lab(i).ok('sandbox', 'rm', '-f', `c${i}`);
  await lab(0).ok('rm', 'blue');
  expect(await lab(2).ok('ls', '-q', '--filter', 'driver=overlay')).toBe('');
  const store = await openEtcdStore(parseEtcdAddress(etcd.address('/lab')));
  const keys = (await store.list('')).entries.map(({ key }) => key.replaceAll(/[0-9a-f]{32,}/g, 'ID'));
  await store.close();
  const node = ['node/ID', 'node/ID/alive'];
  // Neither the pool's record nor the removed networks' go: the next one finds them.
  expect(keys).toEqual(['ipam/pools', 'network-gone/ID', 'network-gone/ID', ...node, ...node]);
});
