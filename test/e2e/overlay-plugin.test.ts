/** The plugin `patchbay-overlay` as engines on two hosts call it: two daemons on one underlay, a real etcd. */

import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { NetworkJson } from '../../src/base/index.ts';
import { callPlugin } from '../engine/replay/call.ts';
import { Lab, waitUntil } from './lab.ts';
import { SharedLab } from './shared-lab.ts';

const LATE_MS = 30_000;
const GENERIC = 'com.docker.network.generic';
const NAME = 'patchbay.network';

let shared: SharedLab;
let count = 0;

beforeAll(async () => {
  shared = await SharedLab.open(['one', 'two'], { members: 1 });
  for (const i of [0, 1])
    await waitUntil(async () => (await shared.at(i).ok('node', 'ls')).includes(`192.0.2.${i + 1}`), LATE_MS);
}, 120_000);
afterAll(() => shared?.close());
beforeEach(() => void count++);

/** Namespaces of containers, made as an engine does. */
const boxes: string[] = [];
afterEach(async () => {
  for (const box of boxes.splice(0)) await execa('ip', ['netns', 'del', box], { reject: false });
});

/** Of one container on this host; answers its name. */
async function makeBox(at: number): Promise<string> {
  const box = `${shared.at(at).prefix}-c${count}-${boxes.length}`;
  boxes.push(box);
  await execa('ip', ['netns', 'add', box]);
  await execa('ip', ['-n', box, 'link', 'set', 'lo', 'up']);
  return box;
}

const keyOf = (box: string): string => `/run/netns/${box}`;
const inBox = (box: string, command: string, ...args: string[]) =>
  execa('nsenter', [`--net=${keyOf(box)}`, command, ...args], { reject: false, timeout: LATE_MS });

type Answer = Readonly<Record<string, unknown>>;

/** What an engine on this host is answered. */
async function call(at: number | Lab, method: string, body?: object): Promise<Answer> {
  const lab = typeof at === 'number' ? shared.at(at) : at;
  const service = /Pool|Address/.test(method) && method !== 'GwAllocCheck' ? 'IpamDriver' : 'NetworkDriver';
  const path = join(lab.folder, 'plugins/patchbay-overlay.sock');
  const { status, text } = await callPlugin(path, `${service}.${method}`, body && JSON.stringify(body));
  expect(status).toBe(200);
  return JSON.parse(text) as Answer;
}

/** As call, and it must succeed. */
async function ok(at: number, method: string, body?: object): Promise<Answer> {
  const answer = await call(at, method, body);
  expect(answer).not.toHaveProperty('Err');
  expect(answer).not.toHaveProperty('Error');
  return answer;
}

const failure = ({ Err, Error }: Answer): string => String(Err ?? Error ?? 'no error');

/** An id of 64 hex digits. */
const idOf = (n: number): string => (count * 1000 + n).toString(16).padStart(64, 'a');

interface Asked {
  readonly subnet?: string;
  readonly name?: string;
  readonly options?: Readonly<Record<string, string>>;
  readonly internal?: boolean;
}

const pool = (at: number | Lab, { subnet = '', name }: Asked, V6 = false): Promise<Answer> =>
  call(at, 'RequestPool', { AddressSpace: 'Shared', Pool: subnet, SubPool: '', Options: name ? { [NAME]: name } : {}, V6 });

/** The calls of `docker network create`. Answers the first error, or the pool. */
async function create(at: number, id: string, asked: Asked): Promise<{ readonly pool: string; readonly error?: string }> {
  const leased = await pool(at, asked);
  const PoolID = String(leased['PoolID']);
  if (leased['PoolID'] === undefined) return { pool: '', error: failure(leased) };
  const Options = { RequestAddressType: 'com.docker.network.gateway' };
  const gateway = await call(at, 'RequestAddress', { PoolID, Address: '', Options });
  const network = {
    NetworkID: id,
    Options: {
      'com.docker.network.enable_ipv6': false,
      ...(asked.internal && { 'com.docker.network.internal': true }),
      [GENERIC]: asked.options ?? {},
    },
    IPv4Data: [{ AddressSpace: 'Shared', Pool: leased['Pool'], Gateway: gateway['Address'], AuxAddresses: {} }],
    IPv6Data: [],
  };
  const made = await call(at, 'CreateNetwork', network);
  if (made['Err'] === undefined) {
    // An engine that has lost the answer asks again.
    await ok(at, 'CreateNetwork', network);
    return { pool: PoolID };
  }
  await ok(at, 'ReleaseAddress', { PoolID, Address: String(gateway['Address']).split('/')[0] });
  await ok(at, 'ReleasePool', { PoolID });
  return { pool: '', error: failure(made) };
}

/** The calls of `docker network rm`. */
async function remove(at: number, NetworkID: string, PoolID: string): Promise<void> {
  await ok(at, 'ReleasePool', { PoolID });
  await ok(at, 'DeleteNetwork', { NetworkID });
}

/** The calls of a container's start, and what an engine does with the link that it is told of. */
async function start(
  at: number,
  NetworkID: string,
  PoolID: string,
  EndpointID: string,
): Promise<{ address: string; joined: Answer; box: string }> {
  const { Address } = await ok(at, 'RequestAddress', { PoolID, Address: '', Options: {} });
  const Interface = { Address, AddressIPv6: '', MacAddress: '' };
  await ok(at, 'CreateEndpoint', { NetworkID, EndpointID, Interface, Options: {} });
  const box = await makeBox(at);
  const joined = await ok(at, 'Join', { NetworkID, EndpointID, SandboxKey: keyOf(box), Options: {} });
  const { SrcName } = joined['InterfaceName'] as { readonly SrcName: string };
  await execa('ip', ['-n', shared.at(at).host, 'link', 'set', SrcName, 'netns', box, 'name', 'eth0']);
  await execa('ip', ['-n', box, 'addr', 'add', String(Address), 'dev', 'eth0']);
  await execa('ip', ['-n', box, 'link', 'set', 'eth0', 'up']);
  return { address: String(Address), joined, box };
}

async function stop(at: number, NetworkID: string, PoolID: string, EndpointID: string, address: string): Promise<void> {
  await ok(at, 'Leave', { NetworkID, EndpointID });
  await ok(at, 'DeleteEndpoint', { NetworkID, EndpointID });
  await ok(at, 'ReleaseAddress', { PoolID, Address: address.split('/')[0] });
}

const inspect = async (at: number, name: string): Promise<NetworkJson | undefined> =>
  (JSON.parse(await shared.at(at).ok('inspect', '-v', name)) as NetworkJson[])[0];

const namesOn = async (at: number): Promise<string[]> => (await shared.at(at).ok('ls', '--format', '{{.Name}}')).split('\n');

test('networks are of the engine alone, which wants no swarm then, and reach over hosts', async () => {
  expect(await ok(0, 'GetCapabilities')).toEqual({ Scope: 'local', ConnectivityScope: 'global', GwAllocChecker: false });
  expect(await ok(0, 'GetDefaultAddressSpaces')).toEqual({
    LocalDefaultAddressSpace: 'Shared',
    GlobalDefaultAddressSpace: 'Shared',
  });
});

test('two engines are on one network: it is made once, no address is given twice, and it goes with the last', async () => {
  const [first, second] = [idOf(1), idOf(2)];
  const one = await create(0, first, {
    name: 'blue',
    subnet: '10.81.0.0/24',
    options: { 'com.docker.network.driver.mtu': '1300' },
  });
  const two = await create(1, second, { name: 'blue' });
  expect([one.error, two.error]).toEqual([undefined, undefined]);
  const [maria, jonas] = [await start(0, first, one.pool, idOf(3)), await start(1, second, two.pool, idOf(4))];
  expect(new Set([maria.address, jonas.address]).size).toBe(2);
  for (const { address, joined } of [maria, jonas]) {
    expect(address).toMatch(/^10\.81\.0\.\d+\/24$/);
    // The engine has a way outside of its own.
    expect(joined).toMatchObject({ Gateway: '', GatewayIPv6: '', DisableGatewayService: false, StaticRoutes: [] });
    expect(joined['InterfaceName']).toMatchObject({ DstPrefix: 'eth' });
  }
  const net = await inspect(1, 'blue');
  expect(net).toMatchObject({ Options: { 'com.docker.network.driver.mtu': '1300' } });
  const tasks = net?.Services?.['']?.Tasks ?? [];
  const shown = tasks.map(({ EndpointIP, Info }) => `${EndpointIP} ${Info['Host']} ${Info['State']}`);
  expect(shown.toSorted()).toEqual(
    [
      ` one ready`,
      ` two ready`,
      ...[maria, jonas].map(({ address }, i) => `${address.split('/')[0]} ${['one', 'two'][i]} joined`),
    ].toSorted(),
  );
  const taken = await call(0, 'RequestAddress', { PoolID: one.pool, Address: jonas.address.split('/')[0], Options: {} });
  expect(failure(taken)).toContain('already in use');
  expect(await shared.at(0).cli('rm', 'blue')).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('active endpoints'),
  });
  await stop(1, second, two.pool, idOf(4), jonas.address);
  await remove(1, second, two.pool);
  expect(await shared.at(1).cli('rm', 'blue')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('one (2)') });
  expect(await namesOn(0)).toContain('blue');
  await stop(0, first, one.pool, idOf(3), maria.address);
  await remove(0, first, one.pool);
  for (const at of [0, 1]) await waitUntil(async () => !(await namesOn(at)).includes('blue'), LATE_MS);
});

test('a container finds and reaches a sandbox of another host by its name, and no name of a network that it is not in', async () => {
  const made = await create(0, idOf(1), { name: 'names', subnet: '10.87.0.0/24' });
  expect(made.error).toBeUndefined();
  const { address, box } = await start(0, idOf(1), made.pool, idOf(2));
  await waitUntil(async () => (await namesOn(1)).includes('names'), LATE_MS);
  await shared.at(1).ok('create', 'elsewhere');
  await shared.at(1).ok('run', '-d', '--name', 'maria', '--network', 'names', '--', 'sleep', '600');
  await shared.at(1).ok('run', '-d', '--name', 'jonas', '--network', 'elsewhere', '--', 'sleep', '600');
  const asked = async (name: string): Promise<string> =>
    (await inBox(box, 'dig', '+short', '+tries=1', '+time=2', '@127.0.0.11', name)).stdout;
  await waitUntil(async () => /^10\.87\.0\.\d+$/.test(await asked('maria')), LATE_MS);
  await waitUntil(async () => (await inBox(box, 'ping', '-c', '1', '-W', '1', await asked('maria'))).exitCode === 0, LATE_MS);
  expect(await asked('jonas')).not.toMatch(/^\d/m);
  // The rules are the namespace's only as long as the endpoint is joined.
  expect((await inBox(box, 'nft', 'list', 'tables')).stdout).toContain('patchbay-');
  await shared.at(1).ok('sandbox', 'rm', '-f', 'maria', 'jonas');
  await shared.at(1).ok('rm', 'elsewhere');
  await stop(0, idOf(1), made.pool, idOf(2), address);
  expect((await inBox(box, 'nft', 'list', 'tables')).stdout).toBe('');
  await remove(0, idOf(1), made.pool);
});

test('a network of both families has both pools by its name, and a later engine may leave one out', async () => {
  const Options = { RequestAddressType: 'com.docker.network.gateway' };
  const data = async (asked: Asked, isV6: boolean): Promise<{ id: string; json: object }> => {
    const { PoolID, Pool } = await pool(0, asked, isV6);
    const { Address: Gateway } = await ok(0, 'RequestAddress', { PoolID, Address: '', Options });
    return { id: String(PoolID), json: { AddressSpace: 'Shared', Pool, Gateway, AuxAddresses: {} } };
  };
  const [v4, v6] = [await data({ name: 'dual' }, false), await data({ name: 'dual', subnet: 'fd00:88::/64' }, true)];
  const made = { 'com.docker.network.enable_ipv6': true, [GENERIC]: {} };
  await ok(0, 'CreateNetwork', { NetworkID: idOf(1), Options: made, IPv4Data: [v4.json], IPv6Data: [v6.json] });
  const other = await create(1, idOf(2), { name: 'dual' });
  expect(other.error).toBeUndefined();
  const net = await inspect(1, 'dual');
  expect(net?.IPAM.Config?.map(({ Subnet }) => Subnet)).toEqual([expect.stringMatching(/^10\./), 'fd00:88::/64']);
  const address = async (PoolID: string): Promise<string> =>
    String((await ok(0, 'RequestAddress', { PoolID, Address: '', Options: {} }))['Address']);
  const Interface = { Address: await address(v4.id), AddressIPv6: await address(v6.id), MacAddress: '' };
  const ids = { NetworkID: idOf(1), EndpointID: idOf(3) };
  await ok(0, 'CreateEndpoint', { ...ids, Interface, Options: {} });
  await ok(0, 'Join', { ...ids, SandboxKey: keyOf(await makeBox(0)), Options: {} });
  const tasks = (await inspect(1, 'dual'))?.Services?.['']?.Tasks ?? [];
  expect(tasks.find(({ EndpointID }) => EndpointID === ids.EndpointID)).toMatchObject({
    EndpointIP: Interface.Address.split('/')[0],
    Info: { IPv6: Interface.AddressIPv6.split('/')[0], State: 'joined' },
  });
  // A network that goes takes along what its engine has not ended.
  await remove(1, idOf(2), other.pool);
  for (const { id } of [v4, v6]) await ok(0, 'ReleasePool', { PoolID: id });
  await ok(0, 'DeleteNetwork', { NetworkID: idOf(1) });
  for (const at of [0, 1]) await waitUntil(async () => !(await namesOn(at)).includes('dual'), LATE_MS);
});

test('an engine that asks for the same subnet without end is refused', async () => {
  await shared.at(0).ok('create', '-d', 'overlay', '--subnet', '10.89.0.0/24', 'late');
  const answers: Answer[] = [];
  for (let i = 0; i < 9; i++) answers.push(await pool(1, { name: 'late' }));
  expect(failure(answers[8] ?? {})).toContain('overlaps a route');
  for (const { PoolID } of answers.slice(0, 8)) await ok(1, 'ReleasePool', { PoolID });
  await shared.at(0).ok('rm', 'late');
});

test('what contradicts the network that is there, or names none, is refused in words and leaves nothing', async () => {
  const refused = async (asked: Asked): Promise<string> => (await create(1, idOf(9), asked)).error ?? 'no error';
  expect(await refused({})).toContain('--ipam-opt patchbay.network=NAME');
  expect(await refused({ subnet: '10.83.0.0/24' })).toContain('--ipam-opt patchbay.network=NAME');
  await shared.at(0).ok('create', '-d', 'overlay', '--subnet', '10.82.0.0/24', 'green');
  expect(await refused({ name: 'green', subnet: '10.83.0.0/24' })).toContain('has 10.82.0.0/24');
  expect(await refused({ name: 'green', internal: true })).toContain('leave out --internal');
  expect(await refused({ name: 'green', options: { encrypted: '' } })).toContain('was made with no encrypted');
  expect(await refused({ name: 'green', options: { [NAME]: 'blue' } })).toContain('the subnet is of network green');
  expect(await refused({ name: 'other', subnet: '10.82.0.0/25' })).toContain('10.82.0.0');
  expect(await refused({ name: 'other', options: { 'com.docker.network.driver.mtu': 'many' } })).toContain('mtu');
  const foreign = { AddressSpace: 'LocalDefault', Pool: '10.84.0.0/24', Gateway: '10.84.0.1/24' };
  const own = { NetworkID: idOf(9), Options: { [GENERIC]: { [NAME]: 'green' } }, IPv4Data: [foreign], IPv6Data: [] };
  expect(failure(await call(1, 'CreateNetwork', own))).toContain('--ipam-driver');
  expect(await namesOn(1)).not.toContain('other');
  // Nobody has anything in it any more.
  await shared.at(0).ok('rm', 'green');
});

test('a network that was made otherwise stays when the last engine goes, and its subnet says which one it is', async () => {
  await shared.at(0).ok('create', '-d', 'overlay', '--internal', '--subnet', '10.85.0.0/24', 'red');
  const id = idOf(1);
  const made = await create(1, id, { subnet: '10.85.0.0/24', internal: true, options: { [NAME]: 'red' } });
  expect(made.error).toBeUndefined();
  // Nothing leads out, so that the engine must not add a way.
  const { address, joined } = await start(1, id, made.pool, idOf(2));
  expect(joined).toMatchObject({ DisableGatewayService: true });
  await stop(1, id, made.pool, idOf(2), address);
  await remove(1, id, made.pool);
  expect(await namesOn(1)).toContain('red');
  await shared.at(0).ok('rm', 'red');
});

test('a create that is cut short by a kill leaves no subnet leased, and a removed network takes its containers out', async () => {
  expect(await pool(1, { name: 'grey', subnet: '10.86.0.0/24' })).toMatchObject({ Pool: '10.86.0.0/24' });
  await shared.at(1).stop('SIGKILL');
  await shared.at(1).start();
  const id = idOf(1);
  const made = await create(0, id, { name: 'white', subnet: '10.86.0.0/24' });
  expect(made.error).toBeUndefined();
  const other = idOf(2);
  const joined = await create(1, other, { name: 'white' });
  expect(joined.error).toBeUndefined();
  await start(1, other, joined.pool, idOf(3));
  await shared.at(1).stop('SIGKILL');
  await waitUntil(async () => (await shared.at(0).ok('node', 'ls')).includes('down'), LATE_MS);
  // The other engine's host is away, and would come back to it: it goes by an order only.
  await remove(0, id, made.pool);
  expect(await namesOn(0)).toContain('white');
  await shared.at(0).ok('rm', 'white');
  await shared.at(1).start();
  await waitUntil(async () => !(await namesOn(1)).includes('white'), LATE_MS);
  const Interface = { Address: '10.86.0.9/24', AddressIPv6: '', MacAddress: '' };
  const late = { NetworkID: other, EndpointID: idOf(4), Interface, Options: {} };
  expect(failure(await call(1, 'CreateEndpoint', late))).toContain('was removed from the cluster');
  await remove(1, other, joined.pool);
}, 120_000);

test('without a cluster a create says what is missing', async () => {
  const alone = await Lab.open();
  try {
    expect(failure(await pool(alone, { name: 'blue' }))).toContain('--cluster');
  } finally {
    await alone.close();
  }
});
