/** Two daemons in one cluster, a real etcd of three members: who is there, who is alive, and what goes on when etcd does not. */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type NodeJson, parseEtcdAddress } from '../../src/base/index.ts';
import { EtcdChannel } from '../../src/store/etcd/channel.ts';
import { EtcdCluster } from '../contract/etcd.ts';
import { Lab, waitUntil } from './lab.ts';

/** The shortest that may be asked for. */
const LEASE_S = 3;
/** A lease, etcd's own second, and a busy machine. */
const GONE_MS = 30_000;

let etcd: EtcdCluster;
let one: Lab;
let two: Lab;
const labs: Lab[] = [];

async function host(name: string, address: string, leaseSeconds = LEASE_S): Promise<Lab> {
  const cluster = ['--cluster', etcd.address('/lab'), '--node-name', name];
  const flags = [...cluster, '--advertise', address, '--node-lease', String(leaseSeconds)];
  const lab = await Lab.open({ flags });
  labs.push(lab);
  return lab;
}

beforeAll(async () => {
  etcd = await EtcdCluster.start(3);
  one = await host('one', '10.91.0.1');
  two = await host('two', '10.91.0.2');
}, 120_000);
afterAll(async () => {
  for (const lab of labs) await lab.close();
  await etcd.close();
});

const listed = async (lab: Lab): Promise<string> =>
  await lab.ok('node', 'ls', '--format', '{{.Name}} {{.Address}} {{.State}}{{.Self}}');
const shows = async (lab: Lab, text: string): Promise<void> => {
  let last = '';
  await waitUntil(async () => {
    const { stdout, stderr } = await lab.cli('node', 'ls', '--format', '{{.Name}} {{.Address}} {{.State}}{{.Self}}');
    last = stdout + stderr;
    return last.trim() === text;
  }, GONE_MS).catch(() => expect(last.trim()).toBe(text));
};
const BOTH = 'one 10.91.0.1 ready*\ntwo 10.91.0.2 ready';

test('each host shows both, and which of them it is', async () => {
  await shows(one, BOTH);
  await shows(two, 'one 10.91.0.1 ready\ntwo 10.91.0.2 ready*');
  const [node] = JSON.parse(await two.ok('node', 'inspect', 'one')) as NodeJson[];
  expect(node).toMatchObject({ Name: 'one', Address: '10.91.0.1', State: 'ready', Self: false });
  expect(await two.ok('node', 'inspect', '--format', '{{.Name}}', node?.Id.slice(0, 6) ?? '')).toBe('one');
});

test('a host that is alive cannot be removed, one that nobody knows is not found', async () => {
  expect(await one.cli('node', 'rm', 'two')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('two is alive') });
  expect(await one.cli('node', 'rm', 'three')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('not found') });
  expect((await one.api('DELETE', '/cluster/nodes/two')).status).toBe(409);
  expect(await listed(one)).toBe(BOTH);
});

test('a host whose daemon is killed is down within its lease, and back with its restart', async () => {
  await two.stop('SIGKILL');
  await shows(one, 'one 10.91.0.1 ready*\ntwo 10.91.0.2 down');
  await two.start();
  await shows(one, BOTH);
});

test('a host whose daemon is stopped is down at once, and forgotten when it is removed', async () => {
  const three = await host('three', '10.91.0.3', 4 * (GONE_MS / 1000));
  await shows(one, `one 10.91.0.1 ready*\nthree 10.91.0.3 ready\ntwo 10.91.0.2 ready`);
  await three.stop('SIGTERM');
  await shows(one, `one 10.91.0.1 ready*\nthree 10.91.0.3 down\ntwo 10.91.0.2 ready`);
  expect(await one.ok('node', 'rm', 'three')).toBe('three');
  await shows(one, BOTH);
});

test('records that no host writes hide nobody, neither at once nor later', async () => {
  const channel = new EtcdChannel(parseEtcdAddress(etcd.address('/lab')));
  const write = async (id: string, value: string | undefined): Promise<void> => {
    const key = Buffer.from(`/lab/node/${id}`);
    const change = value === undefined ? { request_delete_range: { key } } : { request_put: { key, value: Buffer.from(value) } };
    await channel.call('KV', 'Txn', { compare: [], success: [change] });
  };
  const node = (name: string, joined: number): string => JSON.stringify({ schema: 1, name, version: '1', joined });
  try {
    await write('a', 'no JSON');
    await write('b', node('far', 1e300));
    await write('c', node('late', 1));
    await shows(one, `late  down\n${BOTH}`);
    for (const id of ['a', 'b', 'c']) await write(id, undefined);
    await shows(one, BOTH);
  } finally {
    channel.close();
  }
});

test('networks of both hosts share a subnet, and no address is given twice', async () => {
  const addresses: string[] = [];
  const add = async (lab: Lab, name: string): Promise<void> => {
    await lab.ok('sandbox', 'create', '--network', 'shared', name);
    addresses.push(await lab.ok('sandbox', 'inspect', '--format', '{{.Networks.shared.IPAddress}}', name));
  };
  for (const lab of [one, two]) await lab.ok('create', '--ipam-driver', 'cluster', '--subnet', '10.77.0.0/24', 'shared');
  for (const name of ['a', 'b']) for (const lab of [one, two]) await add(lab, name);
  expect(new Set(addresses).size).toBe(4);
  const wish = { Name: 'c', Networks: { shared: { IPAMConfig: { IPv4Address: addresses[0] } } } };
  const { status, json } = await two.api<{ message: string }>('POST', '/sandboxes/create', wish);
  expect({ status, json }).toEqual({
    status: 403,
    json: expect.objectContaining({ message: expect.stringContaining('already in use') }),
  });
  // Over a restart nobody else gets them either.
  await one.stop('SIGKILL');
  await one.start();
  for (const lab of [two, one]) await add(lab, 'c');
  expect(new Set(addresses).size).toBe(6);
  await shows(one, BOTH);
});

test(
  'without etcd what was known stays known, local work goes on, and a change of the cluster fails at once',
  { timeout: 120_000 },
  async () => {
    await two.stop('SIGKILL');
    await shows(one, 'one 10.91.0.1 ready*\ntwo 10.91.0.2 down');
    await etcd.killAll();
    expect(await listed(one)).toBe('one 10.91.0.1 ready*\ntwo 10.91.0.2 down');
    const begin = performance.now();
    expect((await one.api('DELETE', '/cluster/nodes/two')).status).toBe(503);
    expect(performance.now() - begin).toBeLessThan(7500);
    expect((await one.api('POST', '/sandboxes/create', { Name: 'd', Networks: { shared: {} } })).status).toBe(503);
    // What is removed meanwhile gives its address back later.
    const address = await one.ok('sandbox', 'inspect', '--format', '{{.Networks.shared.IPAddress}}', 'a');
    await one.ok('sandbox', 'rm', 'a');
    await one.ok('create', 'local');
    // A host that starts now works for itself.
    await two.start();
    expect((await two.api('GET', '/cluster/nodes')).status).toBe(503);
    await two.ok('create', 'local');
    await sleep(LEASE_S * 1000);
    await etcd.startAll();
    await shows(one, BOTH);
    await shows(two, 'one 10.91.0.1 ready\ntwo 10.91.0.2 ready*');
    const again = { Name: 'again', Networks: { shared: { IPAMConfig: { IPv4Address: address } } } };
    await waitUntil(async () => (await two.api('POST', '/sandboxes/create', again)).status === 201, GONE_MS);
  },
);

test(
  'when the data of the cluster are made anew, the hosts appear in it again, and have their addresses when they start',
  { timeout: 120_000 },
  async () => {
    await etcd.killAll();
    etcd.forget();
    await etcd.startAll();
    await shows(one, BOTH);
    await shows(two, 'one 10.91.0.1 ready\ntwo 10.91.0.2 ready*');
    for (const lab of [one, two]) {
      await lab.stop('SIGTERM');
      await lab.start();
    }
    const address = await one.ok('sandbox', 'inspect', '--format', '{{.Networks.shared.IPAddress}}', 'b');
    const wish = { Name: 'thief', Networks: { shared: { IPAMConfig: { IPv4Address: address } } } };
    await shows(two, 'one 10.91.0.1 ready\ntwo 10.91.0.2 ready*');
    await waitUntil(async () => {
      const { status } = await two.api('POST', '/sandboxes/create', wish);
      if (status === 201) await two.ok('sandbox', 'rm', 'thief');
      return status === 403;
    }, GONE_MS);
  },
);

test('names of members that nobody resolves hold up no start', async () => {
  const members = ['a', 'b', 'c', 'd'].map((name) => `${name}.members.invalid`).join(',');
  const lost = await Lab.open({ flags: ['--cluster', `etcd://${members}`, '--node-name', 'lost'] });
  labs.push(lost);
  await lost.ok('create', 'local');
  expect((await lost.api('GET', '/cluster/nodes')).status).toBe(503);
});

test('a stop does not wait for an etcd that hangs, and a start is in the cluster when it is ready', async () => {
  for (const member of [0, 1, 2]) etcd.freeze(member);
  const begin = performance.now();
  await two.stop('SIGTERM');
  // A call to one that hangs takes eight seconds.
  expect(performance.now() - begin).toBeLessThan(7500);
  for (const member of [0, 1, 2]) etcd.thaw(member);
  await shows(one, 'one 10.91.0.1 ready*\ntwo 10.91.0.2 down');
  await two.start();
  expect((await two.api('GET', '/cluster/nodes')).status).toBe(200);
});

test('a daemon in no cluster says so', async () => {
  const alone = await Lab.open();
  labs.push(alone);
  expect(await alone.cli('node', 'ls')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('in no cluster') });
});
