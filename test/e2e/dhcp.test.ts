/** Addresses of a LAN's DHCP server by the command line tool: the usual command, kills of the daemon, a restart of the machine. */

import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { NetworkJson } from '../../src/base/index.ts';
import { DhcpServer, endServers } from '../kernel/dhcp-server.ts';
import { LOG, Lab, waitUntil } from './lab.ts';
import { storedRecords } from './records.ts';

const open: Lab[] = [];
afterEach(async () => {
  for (const lab of open.splice(0)) await lab.close();
  await endServers();
});

/** Renewals, and what the daemon makes of a server that is silent. */
const LIMIT_MS = 60_000;
const SHORT = ['--dhcp-option=option:T1,2', '--dhcp-option=option:T2,4'];
const CREATE = ['create', '-d', 'macvlan', '-o', 'parent=lan0', '--ipam-driver', 'dhcp', 'lan'] as const;

async function done(lab: Lab, where: 'host' | 'outside', command: string, ...args: string[]): Promise<string> {
  const { stdout, stderr, exitCode } = await lab.in(where, command, ...args);
  if (exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** The machine's `lan0` leads to the router, where the server runs. */
async function plugIn(lab: Lab): Promise<void> {
  await done(lab, 'host', 'ip', 'link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'lan0', 'netns', lab.outside);
  await done(lab, 'host', 'ip', 'link', 'set', 'lan0', 'up');
  await done(lab, 'outside', 'ip', 'addr', 'add', '10.0.0.1/24', 'dev', 'lan0');
  await done(lab, 'outside', 'ip', 'link', 'set', 'lan0', 'up');
}

const serve = (lab: Lab, flags: readonly string[] = []): Promise<DhcpServer> =>
  DhcpServer.start({
    netns: `/run/netns/${lab.outside}`,
    link: 'lan0',
    leaseFile: join(lab.folder, 'dhcp-leases'),
    range: '10.0.0.100,10.0.0.150,2m',
    flags,
  });

async function lanLab(): Promise<Lab> {
  const lab = await Lab.open();
  open.push(lab);
  await plugIn(lab);
  return lab;
}

const inspect = async (lab: Lab): Promise<NetworkJson> => (JSON.parse(await lab.ok('inspect', 'lan')) as [NetworkJson])[0];

const addressOf = async (lab: Lab, name: string): Promise<string | undefined> =>
  Object.values((await inspect(lab)).Containers ?? {})
    .find(({ Name }) => Name === name)
    ?.IPv4Address.replace(/\/.*/, '');

const leasesIn = async (lab: Lab): Promise<unknown[]> =>
  (await storedRecords(lab.stateDir)).filter(([key]) => key.startsWith('dhcp-lease/'));

test('the usual command: a network without a subnet, sandboxes that the LAN knows, and nothing left', async () => {
  const lab = await lanLab();
  const server = await serve(lab, ['--dhcp-host=02:00:00:00:00:55,10.0.0.77']);
  await lab.ok(...CREATE);
  const { IPAM, Degraded } = await inspect(lab);
  expect([IPAM.Driver, IPAM.Config, Degraded]).toEqual(['dhcp', [{ Subnet: '10.0.0.0/24', Gateway: '10.0.0.1' }], undefined]);
  await lab.ok('run', '-d', '--name', 'web', '--network', 'lan', '--', 'sleep', '600');
  await lab.ok('run', '-d', '--name', 'maria', '--network', 'lan', '--mac-address', '02:00:00:00:00:55', '--', 'sleep', '600');
  expect(await addressOf(lab, 'maria')).toBe('10.0.0.77');
  const web = await addressOf(lab, 'web');
  expect(
    server
      .leases()
      .map(({ name, address }) => `${name} ${address}`)
      .sort(),
  ).toEqual(['maria 10.0.0.77', `web ${web}`]);
  await waitUntil(async () => (await lab.in('outside', 'ping', '-c1', '-W1', web ?? '')).exitCode === 0, LIMIT_MS);
  expect(await lab.ok('exec', 'maria', '--', 'getent', 'hosts', 'web')).toMatch(new RegExp(`^${web}\\s`));
  await lab.ok('disconnect', 'lan', 'maria');
  await waitUntil(() => server.leases().length === 1, LIMIT_MS);
  await lab.ok('sandbox', 'rm', '-f', 'web', 'maria');
  await waitUntil(() => server.leases().length === 0, LIMIT_MS);
  await lab.ok('rm', 'lan');
  expect(await lab.leftovers()).toEqual([]);
  await lab.stop();
  expect(await leasesIn(lab)).toEqual([]);
});

test('without a server the command says so, and what would work', { timeout: 60_000 }, async () => {
  const lab = await lanLab();
  const { stderr, exitCode } = await lab.cli(...CREATE);
  expect([exitCode, stderr]).toEqual([1, expect.stringContaining('no DHCP server answers on lan0')]);
  expect(JSON.parse((await lab.api<unknown[]>('GET', '/networks')).json.length.toString())).toBe(3);
  const bridge = await lab.cli('create', '--ipam-driver', 'dhcp', 'lan');
  expect(bridge.stderr).toContain('use -d macvlan -o parent=LINK');
});

test('a lease outlives kills of the daemon, its server, and both', { timeout: 180_000 }, async () => {
  const lab = await lanLab();
  const server = await serve(lab, SHORT);
  await lab.ok(...CREATE);
  await lab.ok('run', '-d', '--name', 'web', '--network', 'lan', '--', 'sleep', '600');
  const address = await addressOf(lab, 'web');
  await server.says(/DHCPACK/, 2);
  const offers = server.log.match(/DHCPDISCOVER/g)?.length ?? 0;
  for (let kills = 0; kills < 3; kills++) {
    await lab.stop('SIGKILL');
    const renewed = server.log.match(/DHCPACK/g)?.length ?? 0;
    await lab.start();
    await server.says(/DHCPACK/, renewed + 1);
  }
  expect(server.log.match(/DHCPDISCOVER/g)).toHaveLength(offers);
  expect(await addressOf(lab, 'web')).toBe(address);
  await server.kill();
  await waitUntil(async () => (await inspect(lab)).Degraded !== undefined, LIMIT_MS);
  expect((await inspect(lab)).Degraded).toContain(`web keeps ${address}`);
  expect(await lab.ok('sandbox', 'inspect', '--format', '{{.Degraded}}', 'web')).toContain(`web keeps ${address}`);
  await expect.poll(() => lab.log, LOG).toContain('the lease of an endpoint is in danger');
  await lab.stop('SIGKILL');
  const next = await server.restart();
  await lab.start();
  await next.says(/DHCPACK/);
  await waitUntil(async () => (await inspect(lab)).Degraded === undefined, LIMIT_MS);
  expect(next.leases().map((one) => one.address)).toEqual([address]);
  await waitUntil(async () => (await lab.in('outside', 'ping', '-c1', '-W1', address ?? '')).exitCode === 0, LIMIT_MS);
  await lab.ok('sandbox', 'rm', '-f', 'web');
  await waitUntil(() => next.leases().length === 0, LIMIT_MS);
});

test(
  'after a restart of the machine an endpoint has its address, and the server is asked whether it holds',
  { timeout: 120_000 },
  async () => {
    const lab = await lanLab();
    const server = await serve(lab);
    await lab.ok(...CREATE);
    await lab.ok('endpoint', 'create', 'lan', 'kept');
    const [lease] = server.leases();
    await server.kill();
    await lab.reboot();
    await plugIn(lab);
    const next = await server.restart();
    await next.says(new RegExp(`DHCPREQUEST.* ${lease?.address} `));
    await next.says(new RegExp(`DHCPACK.* ${lease?.address} `));
    expect(next.log).not.toContain('DHCPDISCOVER');
    await lab.ok('run', '-d', '--name', 'web', '--', 'sleep', '600');
    await lab.ok('endpoint', 'join', 'kept', 'web');
    await waitUntil(async () => (await lab.in('outside', 'ping', '-c1', '-W1', lease?.address ?? '')).exitCode === 0, LIMIT_MS);
    await lab.ok('sandbox', 'rm', '-f', 'web');
    await lab.ok('endpoint', 'rm', 'kept');
    await waitUntil(() => next.leases().length === 0, LIMIT_MS);
  },
);
