/** What engines have here: listed and shown, by whole ids and by their beginnings. */

import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { GuestJson } from '../../src/base/index.ts';
import { callPlugin } from '../engine/replay/call.ts';
import { DIST, Lab } from './lab.ts';

const FIRST = `aa11${'0'.repeat(60)}`;
const SECOND = `aa22${'0'.repeat(60)}`;
const ENDPOINT = 'b1'.repeat(32);

let lab: Lab;

const ask = async (call: string, body: unknown): Promise<void> => {
  const { text } = await callPlugin(join(lab.folder, 'plugins/patchbay-bridge.sock'), call, JSON.stringify(body));
  expect(text, call).not.toMatch(/"Err"/);
};

beforeAll(async () => {
  lab = await Lab.open({ flags: ['--bridge', 'none'] });
});
afterAll(() => lab.close());

test('without an engine there is nothing to list', async () => {
  expect(await lab.ok('guest', 'ls')).toBe('NETWORK ID   DRIVER    SUBNETS   ENDPOINTS   JOINED    STATE');
  expect((await lab.api('GET', '/guests')).json).toEqual([]);
});

test('networks and endpoints of an engine are shown with what they hold', async () => {
  const pool = (third: number) => [{ Pool: `10.6${third}.0.0/24`, Gateway: `10.6${third}.0.1/24` }];
  const Options = { 'com.docker.network.generic': { 'com.docker.network.driver.mtu': '1400' } };
  await ask('NetworkDriver.CreateNetwork', { NetworkID: FIRST, Options, IPv4Data: pool(1), IPv6Data: [] });
  await ask('NetworkDriver.CreateNetwork', { NetworkID: SECOND, Options: {}, IPv4Data: pool(2), IPv6Data: [] });
  const ep = { NetworkID: FIRST, EndpointID: ENDPOINT };
  const portmap = [{ Proto: 6, IP: '', Port: 80, HostIP: '127.0.0.1', HostPort: 18_080, HostPortEnd: 18_080 }];
  await ask('NetworkDriver.CreateEndpoint', {
    ...ep,
    Interface: { Address: '10.61.0.5/24' },
    Options: { 'com.docker.network.portmap': portmap },
  });
  const SandboxKey = `/run/netns/${lab.prefix}-none`;
  await ask('NetworkDriver.Join', { ...ep, SandboxKey });
  await ask('NetworkDriver.ProgramExternalConnectivity', { ...ep, Options: {} });

  const [, first, second] = (await lab.ok('guest', 'ls')).split('\n').map((line) => line.split(/ {2,}/));
  expect(first).toEqual([FIRST.slice(0, 12), 'bridge', '10.61.0.0/24', '1', '1', 'ready']);
  expect(second).toEqual([SECOND.slice(0, 12), 'bridge', '10.62.0.0/24', '0', '0', 'ready']);
  expect(await lab.ok('guest', 'ls', '-q', '--no-trunc')).toBe(`${FIRST}\n${SECOND}`);
  const [shown] = JSON.parse(await lab.ok('guest', 'inspect', 'aa11')) as [GuestJson];
  expect(shown).toMatchObject({
    Id: FIRST,
    State: 'ready',
    Engine: '',
    EnableIPv4: true,
    EnableIPv6: false,
    Pools: [{ Subnet: '10.61.0.0/24', Gateway: '10.61.0.1' }],
    Options: { 'com.docker.network.driver.mtu': '1400' },
  });
  expect(shown.Endpoints[ENDPOINT]).toEqual({
    State: 'joined',
    IPv4Address: '10.61.0.5/24',
    IPv6Address: '',
    MacAddress: '02:42:0a:3d:00:05',
    SandboxKey,
    Interface: '',
    Ports: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '18080' }] },
  });
  // They are nobody's networks here: what owns them is elsewhere.
  expect(await lab.ok('ls', '--format', '{{.Driver}}')).not.toContain('bridge');
});

test('an id that is not there, or fits two, is refused in words', async () => {
  expect((await lab.cli('guest', 'inspect', 'bb')).stderr).toMatch(/no engine has a network bb here/);
  expect((await lab.cli('guest', 'inspect', 'aa')).stderr).toMatch(/beginning of 2 networks/);
  expect((await lab.api('GET', '/guests/bb')).status).toBe(404);
  expect((await lab.api('GET', '/v1.44/guests/aa')).status).toBe(400);
});

test('a shell completes their ids', async () => {
  const words = ['__complete', '--host', `unix://${lab.socket}`, 'guest', 'inspect', ''];
  expect((await execa(process.execPath, [join(DIST, 'network.js'), ...words])).stdout).toContain(FIRST.slice(0, 12));
});
