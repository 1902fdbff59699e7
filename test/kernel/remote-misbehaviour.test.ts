/** Plugins that hang, lie or end: each leaves the world as it was, in the plugin too, and the error says what was wrong. */

import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { codeOf, messageOf } from '../../src/base/index.ts';
import { ForeignPlugin, GATEWAY, innerOf } from './foreign-plugin.ts';
import { House, WIRE } from './house-lab.ts';
import { afterTest } from './keeper-lab.ts';

interface Stage {
  readonly house: House;
  readonly plugin: ForeignPlugin;
}

async function open(): Promise<Stage> {
  const house = await House.open({ defaultBridge: { kind: 'auto' } });
  const plugin = await ForeignPlugin.open(join(house.plugins, 'foreign.sock'), (command, args) => house.host.exec(command, args));
  afterTest(() => plugin.stop());
  return { house, plugin };
}

/** What the plugin has. */
const heldBy = ({ networks, endpoints, pools, addresses }: ForeignPlugin): unknown => [
  [...networks],
  [...endpoints],
  [...pools],
  [...addresses],
];

type Answer = (body: Record<string, unknown>, response: ServerResponse) => unknown;
type Case = readonly [title: string, method: string, answer: Answer, code: string, words: string];

const text =
  (status: number, body: string): Answer =>
  (_body, response) => {
    response.statusCode = status;
    response.end(body);
  };

/** Answers go wrong the same way whatever the method is. */
const TRANSPORT: readonly (readonly [title: string, answer: Answer, code: string, words: string])[] = [
  ['is silent', () => undefined, 'plugin_unreachable', 'no answer in time'],
  [
    'drips',
    (_body, response) => {
      const timer = setInterval(() => response.write(' '), 50);
      response.once('close', () => clearInterval(timer));
    },
    'plugin_unreachable',
    'no answer in time',
  ],
  ['answers two MiB', text(200, `{"Other":"${'x'.repeat(2 * 1024 * 1024)}"}`), 'plugin_unreachable', 'more than 1048576 octets'],
  [
    'has a head without an end',
    (_body, response) => {
      response.socket?.write(`HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(10_000)}`);
    },
    'plugin_unreachable',
    'Header overflow',
  ],
  [
    'answers what is not HTTP',
    (_body, response) => void response.socket?.end('hello\r\n\r\n'),
    'plugin_unreachable',
    'Parse Error',
  ],
  ['closes without an answer', (_body, response) => void response.socket?.destroy(), 'plugin_unreachable', 'socket hang up'],
  [
    'closes within the answer',
    (_body, response) => {
      response.writeHead(200, { 'Content-Length': '100' });
      response.write('{"Err":');
      setTimeout(() => response.socket?.destroy(), 50);
    },
    'plugin_unreachable',
    'within the answer',
  ],
  ['answers junk', text(200, '{"Err": nothing'), 'plugin_failed', 'not JSON'],
  ['answers a tower', text(200, `{"Err":${'['.repeat(100_000)}`), 'plugin_failed', 'nested deeper'],
  ['answers nothing', text(200, ''), 'plugin_failed', 'empty answer'],
  ['answers a list', text(200, '[]'), 'plugin_failed', 'expected object'],
  ['answers a number', text(200, '7'), 'plugin_failed', 'expected object'],
  ['answers 500 in words', text(500, 'out of cheese\n'), 'plugin_failed', ': out of cheese'],
  ['answers 500 as JSON', text(500, '{"Err":"out of cheese"}'), 'plugin_failed', ': out of cheese'],
  ['answers 404', text(404, 'what?'), 'plugin_failed', 'what?'],
  ['answers with another address', text(302, ''), 'plugin_failed', 'no words'],
];

const asked = (house: House): Promise<unknown> => house.network('net', { driver: 'foreign', ipam: { driver: 'foreign' } });

async function expectNothing(
  { house, plugin }: Stage,
  [title, method, answer, code, words]: Case,
  act: () => Promise<unknown>,
): Promise<void> {
  const [before, held] = [await house.world(), heldBy(plugin)];
  plugin.instead = { [method]: answer };
  const error: unknown = await act().then(
    () => undefined,
    (e: unknown) => e,
  );
  plugin.instead = {};
  expect([codeOf(error), messageOf(error)], title).toEqual([code, expect.stringContaining(words)]);
  expect((error as { undoFailures?: unknown }).undoFailures, title).toBeUndefined();
  expect(await house.world(), title).toEqual(before);
  expect(heldBy(plugin), title).toEqual(held);
}

const connect = (house: House): Promise<unknown> => house.controller.createSandbox({ name: 'box', networks: [['net', {}]] });

/** In one house: each way leaves it as it was. */
const EVERY_WAY: readonly (readonly [method: string, prepare: (house: House) => Promise<unknown>, act: typeof asked])[] = [
  ['Plugin.Activate', async () => {}, asked],
  ['NetworkDriver.CreateNetwork', async () => {}, asked],
  ['NetworkDriver.CreateEndpoint', asked, connect],
  ['NetworkDriver.Join', asked, connect],
];

test.each(EVERY_WAY)('%s is not answered, or with junk', { timeout: 120_000 }, async (method, prepare, act) => {
  const stage = await open();
  await prepare(stage.house);
  for (const [title, answer, code, words] of TRANSPORT) {
    const from = stage.plugin.calls.length;
    await expectNothing(stage, [title, method, answer, code, words], () => act(stage.house));
    if (method !== 'NetworkDriver.CreateNetwork') continue;
    const calls = stage.plugin.calls.slice(from).map((call) => call.method);
    expect(calls.includes('NetworkDriver.DeleteNetwork'), title).toBe(!/500|404|another address/.test(title));
  }
  // Failures are forgotten: the next use tries afresh.
  await act(stage.house);
});

const CREATION: readonly Case[] = [
  ['implements nothing', 'Plugin.Activate', () => ({}), 'plugin_failed', 'does not implement the requested driver'],
  [
    'implements addresses only',
    'Plugin.Activate',
    () => ({ Implements: ['IpamDriver'] }),
    'plugin_failed',
    'does not implement the requested driver: NetworkDriver',
  ],
  ['has a scope of its own', 'NetworkDriver.GetCapabilities', () => ({ Scope: 'galactic' }), 'plugin_failed', 'Scope'],
  ['needs a cluster', 'NetworkDriver.GetCapabilities', () => ({ Scope: 'global' }), 'scope_refused', 'needs a cluster'],
  ['refuses', 'NetworkDriver.CreateNetwork', () => ({ Err: 'no more' }), 'plugin_failed', 'CreateNetwork: remote: no more'],
  ['has no pool', 'IpamDriver.RequestPool', () => ({ Error: 'dry' }), 'plugin_failed', 'RequestPool: remote: dry'],
  ['tells an error of a pool by the wrong key', 'IpamDriver.RequestPool', () => ({ Err: 'dry' }), 'plugin_failed', 'PoolID'],
  ['gives a pool that is none', 'IpamDriver.RequestPool', () => ({ PoolID: 'p', Pool: '10.1' }), 'plugin_failed', 'invalid CIDR'],
  ['gives a pool of IPv6', 'IpamDriver.RequestPool', () => ({ PoolID: 'p', Pool: 'fd00::/64' }), 'plugin_failed', 'not of IPv4'],
  [
    'gives a gateway outside of its pool',
    'IpamDriver.RequestPool',
    () => ({ PoolID: 'p', Pool: '10.1.0.0/24', Data: { 'com.docker.network.gateway': '10.2.0.1/24' } }),
    'plugin_failed',
    'is not inside 10.1.0.0/24',
  ],
  [
    'offers the host its own subnet',
    'IpamDriver.RequestPool',
    () => ({ PoolID: 'p', Pool: '198.51.0.0/16' }),
    'pools_exhausted',
    'dev wire0',
  ],
  ['has no gateway', 'IpamDriver.RequestAddress', () => ({}), 'gateway_taken', 'no address returned'],
];

test.each(CREATION)('a plugin that %s: no network', async (...one) => {
  const stage = await open();
  await expectNothing(stage, one, () => asked(stage.house));
});

const inner = (body: Record<string, unknown>): string => innerOf(String(body['EndpointID']));
const naming =
  (name: string): Answer =>
  () => ({ InterfaceName: { SrcName: name, DstPrefix: 'eth' } });
const saying =
  (more: Record<string, unknown>): Answer =>
  (body) => ({ InterfaceName: { SrcName: inner(body), DstPrefix: 'eth' }, ...more });
const JOIN = 'NetworkDriver.Join';
const ENDPOINT = 'NetworkDriver.CreateEndpoint';
const routes = (...list: unknown[]): Answer => saying({ StaticRoutes: list });

const CONNECTION: readonly Case[] = [
  ['has no address', 'IpamDriver.RequestAddress', () => ({ Error: 'dry' }), 'plugin_failed', 'remote: dry'],
  ['gives no address', 'IpamDriver.RequestAddress', () => ({ Address: '' }), 'plugin_failed', 'no address returned'],
  [
    'gives an address without a length',
    'IpamDriver.RequestAddress',
    () => ({ Address: '10.77.0.9' }),
    'plugin_failed',
    'invalid CIDR',
  ],
  [
    'gives an address of elsewhere',
    'IpamDriver.RequestAddress',
    () => ({ Address: '10.9.9.9/24' }),
    'plugin_failed',
    'is not inside',
  ],
  ['refuses an endpoint', ENDPOINT, () => ({ Err: 'no' }), 'plugin_failed', 'CreateEndpoint: remote: no'],
  ['gives an interface of the wrong type', ENDPOINT, () => ({ Interface: 'eth0' }), 'plugin_failed', 'Interface'],
  [
    'changes the address',
    ENDPOINT,
    () => ({ Interface: { Address: '10.77.0.9/24' } }),
    'plugin_failed',
    'driver modified interface address',
  ],
  ['gives a MAC that is none', ENDPOINT, () => ({ Interface: { MacAddress: '02:xx' } }), 'plugin_failed', 'invalid MAC address'],
  ['gives a MAC of many', ENDPOINT, () => ({ Interface: { MacAddress: '01:00:5e:00:00:01' } }), 'plugin_failed', 'not unicast'],
  [
    'gives an IPv6 address that is none',
    ENDPOINT,
    () => ({ Interface: { AddressIPv6: '10.0.0.1/8' } }),
    'plugin_failed',
    'not of IPv6',
  ],
  ['refuses a join', JOIN, () => ({ Err: 'no room' }), 'plugin_failed', 'Join: remote: no room'],
  ["names the host's uplink", JOIN, naming('wire0'), 'plugin_failed', 'wire0: that link was there before'],
  ['names the loopback', JOIN, naming('lo'), 'plugin_failed', 'lo: that link was there before'],
  ['names our bridge', JOIN, naming('patchbay0'), 'plugin_failed', 'that link is of this daemon'],
  ['names a link that is older', JOIN, naming('older0'), 'plugin_failed', 'was there before the endpoint'],
  ['names a link that is not there', JOIN, naming('nowhere0'), 'plugin_failed', 'no such link on the host'],
  ['names a path', JOIN, naming('../../etc'), 'plugin_failed', 'cannot be the name of a link'],
  ['names dots', JOIN, naming('..'), 'plugin_failed', 'cannot be the name of a link'],
  ['names a link with a line feed', JOIN, naming('a\nb'), 'plugin_failed', 'cannot be the name of a link'],
  ['names a link of 40 characters', JOIN, naming('x'.repeat(40)), 'plugin_failed', 'cannot be the name of a link'],
  [
    'wants names that no link can have',
    JOIN,
    (body) => ({ InterfaceName: { SrcName: inner(body), DstPrefix: 'a/b' } }),
    'plugin_failed',
    'cannot begin the name',
  ],
  ['gives a gateway that is none', JOIN, saying({ Gateway: 'here' }), 'plugin_failed', 'invalid IP address'],
  ['gives a gateway with a length', JOIN, saying({ Gateway: `${GATEWAY}/24` }), 'plugin_failed', 'invalid IP address'],
  ['gives a gateway of elsewhere', JOIN, saying({ Gateway: '192.0.2.1' }), 'plugin_failed', 'is not on the link'],
  ['gives an IPv6 gateway as IPv4', JOIN, saying({ Gateway: 'fd00::1' }), 'plugin_failed', 'not of IPv4'],
  ['gives a route to nowhere', JOIN, routes({ Destination: 'there', RouteType: 1 }), 'plugin_failed', 'invalid CIDR'],
  ['gives a route of type 7', JOIN, routes({ Destination: '10.5.0.0/16', RouteType: 7 }), 'plugin_failed', 'neither 0 nor 1'],
  [
    'gives a route without a next hop',
    JOIN,
    routes({ Destination: '10.5.0.0/16', RouteType: 0 }),
    'plugin_failed',
    'no next hop',
  ],
  [
    'gives a route by the other family',
    JOIN,
    routes({ Destination: '10.5.0.0/16', RouteType: 0, NextHop: 'fd00::1' }),
    'plugin_failed',
    'not of IPv4',
  ],
  [
    'gives a next hop that nobody reaches',
    JOIN,
    routes({ Destination: '10.5.0.0/16', RouteType: 0, NextHop: '192.0.2.1' }),
    'syscall_failed',
    'ENETUNREACH',
  ],
  [
    'gives a thousand routes',
    JOIN,
    routes(...Array.from({ length: 1000 }, (_, n) => ({ Destination: `10.5.${n % 250}.0/24`, RouteType: 1 }))),
    'plugin_failed',
    'StaticRoutes',
  ],
  ['gives a link a number as name', JOIN, () => ({ InterfaceName: { SrcName: 7 } }), 'plugin_failed', 'SrcName'],
];

test('answers that cannot be believed: no endpoint, and the uplink works', { timeout: 120_000 }, async () => {
  const stage = await open();
  const { house, plugin } = stage;
  await house.host.exec('ip', ['link', 'add', 'older0', 'type', 'veth', 'peer', 'name', 'older1']);
  await asked(house);
  await house.network('own');
  await house.controller.createSandbox({ name: 'box', networks: [['own', {}]] });
  for (const one of CONNECTION) {
    const from = plugin.calls.length;
    await expectNothing(stage, one, () => house.controller.connect('net', 'box', {}));
    const deletes = plugin.calls.slice(from).filter(({ method }) => method === 'NetworkDriver.DeleteEndpoint');
    const wasMade = one[1] === JOIN || (one[1] === ENDPOINT && !one[0].startsWith('refuses'));
    expect(deletes, one[0]).toHaveLength(wasMade ? 1 : 0);
  }
  expect((await house.inside('box').exec('ip', ['-o', 'link'])).stdout).not.toContain('eth1');
  await house.host.exec('ping', ['-c1', '-W2', WIRE.outside]);
  await house.controller.connect('net', 'box', {});
});

test('a plugin that takes the link of another endpoint gets no second one', async () => {
  const { house, plugin } = await open();
  await asked(house);
  await house.controller.createSandbox({ name: 'one', networks: [['net', {}]] });
  const [first] = house.controller.sandbox('one').endpoints();
  const stage = { house, plugin };
  const answer = naming(innerOf(first?.id ?? ''));
  const act = (): Promise<unknown> => house.controller.createSandbox({ name: 'two', networks: [['net', {}]] });
  await expectNothing(stage, ['', JOIN, answer, 'plugin_failed', 'no such link'], act);
});

test('a plugin that cannot publish: the sandbox does not come about', async () => {
  const stage = await open();
  await asked(stage.house);
  stage.plugin.instead = {};
  const act = (): Promise<unknown> => stage.house.controller.createSandbox({ name: 'box', networks: [['net', {}]] });
  const { plugin } = stage;
  const [before, held] = [await stage.house.world(), heldBy(plugin)];
  plugin.instead = {
    [JOIN]: saying({ Gateway: GATEWAY }),
    'NetworkDriver.ProgramExternalConnectivity': () => ({ Err: 'taken' }),
  };
  await expect(act()).rejects.toMatchObject({
    code: 'plugin_failed',
    message: expect.stringContaining('remote: taken') as string,
  });
  expect(await stage.house.world()).toEqual(before);
  expect(heldBy(plugin)).toEqual(held);
  expect(plugin.methods().slice(-4)).toEqual([
    'NetworkDriver.RevokeExternalConnectivity',
    'NetworkDriver.Leave',
    'NetworkDriver.DeleteEndpoint',
    'IpamDriver.ReleaseAddress',
  ]);
  // Not to have the method at all is no failure.
  plugin.instead = { [JOIN]: saying({ Gateway: GATEWAY }), 'NetworkDriver.ProgramExternalConnectivity': text(404, '') };
  await act();
});

test('a plugin that ends between creation and join of an endpoint: it is told later what was taken back', async () => {
  const { house, plugin } = await open();
  await asked(house);
  const [before, held] = [await house.world(), heldBy(plugin)];
  plugin.instead = {
    [ENDPOINT]: (body, response) => {
      plugin.instead = {};
      plugin.endpoints.add(String(body['EndpointID']));
      plugin.endWith(response, {});
    },
  };
  const error: unknown = await house.controller.createSandbox({ name: 'box', networks: [['net', {}]] }).catch((e: unknown) => e);
  expect([codeOf(error), messageOf(error)]).toEqual(['plugin_unreachable', expect.stringContaining('there is no socket')]);
  const world = await house.world();
  expect({ ...world, records: [] }).toEqual({ ...before, records: [] });
  const owed = JSON.stringify(world.records.filter((record) => !JSON.stringify(before.records).includes(JSON.stringify(record))));
  for (const method of ['NetworkDriver.Leave', 'NetworkDriver.DeleteEndpoint', 'IpamDriver.ReleaseAddress'])
    expect(owed).toContain(method);
  await plugin.start();
  const from = plugin.calls.length;
  // Any call delivers first what is owed.
  await house.controller.createSandbox({ name: 'box', networks: [['net', {}]] });
  expect(plugin.calls.slice(from, from + 3).map(({ method }) => method)).toEqual([
    'NetworkDriver.Leave',
    'NetworkDriver.DeleteEndpoint',
    'IpamDriver.ReleaseAddress',
  ]);
  await house.controller.deleteSandbox('box', true);
  expect(heldBy(plugin)).toEqual(held);
  expect((await house.world()).records).toEqual(before.records);
});
