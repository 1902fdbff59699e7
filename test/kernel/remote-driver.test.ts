/** A network of a foreign plugin, on a real plugin with real links. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import { ForeignPlugin, GATEWAY, bridgeOf, innerOf, outerOf } from './foreign-plugin.ts';
import { House } from './house-lab.ts';
import { afterTest } from './keeper-lab.ts';

interface Stage {
  readonly house: House;
  readonly plugin: ForeignPlugin;
}

async function open(options: Parameters<typeof House.open>[0] = {}): Promise<Stage> {
  const house = await House.open(options);
  const plugin = await ForeignPlugin.open(join(house.plugins, 'foreign.sock'), (command, args) => house.host.exec(command, args));
  afterTest(() => plugin.stop());
  return { house, plugin };
}

const links = async (house: House): Promise<string> => (await house.host.exec('ip', ['-o', 'link'])).stdout;
const endpointOf = (house: House, sandbox: string) => house.controller.sandbox(sandbox).endpoints()[0]?.record;

test("two sandboxes reach each other by name, and the link is the host's again when a sandbox leaves", async () => {
  const { house, plugin } = await open();
  const before = await house.world();
  await house.network('net', { driver: 'foreign' });
  const anna = await house.sandbox('anna', [['net', {}]]);
  const maria = await house.sandbox('maria', [['net', {}]]);
  await anna.exec('ping', ['-c1', '-W2', house.address('maria', 'net')]);
  expect((await maria.exec('dig', ['+short', '@127.0.0.11', 'anna'])).stdout).toBe(house.address('anna', 'net'));
  const id = endpointOf(house, 'anna')?.id ?? '';
  expect(endpointOf(house, 'anna')?.join).toMatchObject({ ifname: 'eth0', source: { name: innerOf(id), group: 0 } });
  expect(endpointOf(house, 'anna')?.mac).toBe((await anna.host.rtnl().link.get({ name: 'eth0' })).mac);
  expect(await links(house)).not.toContain(innerOf(id));
  let atDelete = '';
  plugin.instead = {
    'NetworkDriver.DeleteEndpoint': async (body) => {
      atDelete = await links(house);
      plugin.endpoints.delete(String(body['EndpointID']));
      await house.host.exec('ip', ['link', 'del', outerOf(String(body['EndpointID']))]);
      return {};
    },
  };
  await house.controller.disconnect('net', 'anna', false);
  expect(atDelete).toContain(innerOf(id));
  await house.controller.deleteSandbox('anna', true);
  await house.controller.deleteSandbox('maria', true);
  await house.controller.deleteNetwork('net');
  expect([plugin.networks.size, plugin.endpoints.size]).toEqual([0, 0]);
  expect(await house.world()).toEqual(before);
});

test('the plugin is asked in the order of an engine, with what an engine says', async () => {
  const { house, plugin } = await open();
  plugin.instead = {
    'NetworkDriver.Join': (body) => ({
      InterfaceName: { SrcName: innerOf(String(body['EndpointID'])), DstPrefix: 'eth' },
      Gateway: '10.80.0.1',
    }),
  };
  const net = await house.network('net', {
    driver: 'foreign',
    internal: false,
    options: { colour: 'blue' },
    ipam: { driver: 'foreign', options: { shade: 'dark' }, config: [{ subnet: '10.80.0.0/24', aux: { printer: '10.80.0.9' } }] },
  });
  await house.controller.createSandbox({
    name: 'box',
    networks: [['net', { ipv4: '10.80.0.7', mac: '02:aa:bb:cc:dd:ee', options: { speed: 'slow' } }]],
    portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }], '53/udp': null },
  });
  const ep = endpointOf(house, 'box');
  await house.controller.deleteSandbox('box', true);
  await house.controller.deleteNetwork('net');
  expect(plugin.calls[0]).toMatchObject({
    method: 'Plugin.Activate',
    body: undefined,
    headers: { accept: 'application/vnd.docker.plugins.v1.2+json', host: 'plugin.moby.localhost', 'content-length': '0' },
  });
  expect(plugin.methods()).toEqual([
    'IpamDriver.RequestPool',
    'IpamDriver.RequestAddress',
    'IpamDriver.RequestAddress',
    'NetworkDriver.CreateNetwork',
    'IpamDriver.RequestAddress',
    'NetworkDriver.CreateEndpoint',
    'NetworkDriver.Join',
    'NetworkDriver.ProgramExternalConnectivity',
    'NetworkDriver.RevokeExternalConnectivity',
    'NetworkDriver.Leave',
    'NetworkDriver.DeleteEndpoint',
    'IpamDriver.ReleaseAddress',
    'NetworkDriver.DeleteNetwork',
    'IpamDriver.ReleaseAddress',
    'IpamDriver.ReleaseAddress',
    'IpamDriver.ReleasePool',
  ]);
  const ports = {
    'com.docker.network.endpoint.exposedports': expect.arrayContaining([
      { Proto: 6, Port: 80 },
      { Proto: 17, Port: 53 },
    ]) as unknown,
    'com.docker.network.portmap': [{ Proto: 6, IP: '', Port: 80, HostIP: '', HostPort: 8080, HostPortEnd: 8080 }],
  };
  expect(plugin.bodies('IpamDriver.RequestPool')).toEqual([
    { AddressSpace: 'ForeignLocal', Pool: '10.80.0.0/24', SubPool: '', Options: { shade: 'dark' }, V6: false },
  ]);
  expect(plugin.bodies('NetworkDriver.CreateNetwork')).toEqual([
    {
      NetworkID: net,
      Options: {
        'com.docker.network.enable_ipv4': true,
        'com.docker.network.enable_ipv6': false,
        'com.docker.network.generic': { colour: 'blue' },
      },
      IPv4Data: [
        {
          AddressSpace: 'ForeignLocal',
          Pool: '10.80.0.0/24',
          Gateway: '10.80.0.1/24',
          AuxAddresses: { printer: '10.80.0.9/24' },
        },
      ],
      IPv6Data: [],
    },
  ]);
  expect(plugin.bodies('NetworkDriver.CreateEndpoint')).toEqual([
    {
      NetworkID: net,
      EndpointID: ep?.id,
      Interface: { Address: '10.80.0.7/24', AddressIPv6: '', MacAddress: '02:aa:bb:cc:dd:ee' },
      Options: { speed: 'slow', 'com.docker.network.endpoint.macaddress': 'Aqq7zN3u', ...ports },
    },
  ]);
  const [joined] = plugin.bodies('NetworkDriver.Join');
  expect(joined).toMatchObject({ NetworkID: net, EndpointID: ep?.id, Options: ports });
  expect(joined?.['SandboxKey']).toContain('/netns/');
});

test('gateway, routes, MAC and IPv6 address of the plugin are those of the sandbox', async () => {
  const { house, plugin } = await open();
  plugin.instead = {
    'NetworkDriver.CreateEndpoint': async (body) => {
      const id = String(body['EndpointID']);
      await house.host.exec('ip', ['link', 'add', outerOf(id), 'type', 'veth', 'peer', 'name', innerOf(id)]);
      plugin.endpoints.add(id);
      return { Interface: { MacAddress: '02:00:00:00:77:07', AddressIPv6: 'fd77::7/64' } };
    },
    'NetworkDriver.Join': (body) => ({
      interfacename: { srcname: innerOf(String(body['EndpointID'])), dstprefix: 'far' },
      Gateway: GATEWAY,
      GatewayIPv6: 'fe80::1',
      StaticRoutes: [
        { Destination: '10.79.0.0/24', RouteType: 0, NextHop: '10.78.0.9' },
        { Destination: '10.78.0.0/24', RouteType: 1 },
        { Destination: 'fd78::/64', RouteType: 1, NextHop: '' },
      ],
    }),
  };
  await house.network('net', { driver: 'foreign', ipam: { driver: 'foreign' } });
  const sysctls = { 'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.IFNAME.log_martians=1' };
  const box = await house.sandbox('box', [['net', { linkLocal: ['169.254.7.7'], options: sysctls }]]);
  expect((await box.exec('cat', ['/proc/sys/net/ipv4/conf/far0/log_martians'])).stdout).toBe('1');
  const link = await box.host.rtnl().link.get({ name: 'far0' });
  expect(link).toMatchObject({ mac: '02:00:00:00:77:07', up: true });
  const addresses = (await box.host.rtnl().address.list({ link: link.index })).map((a) => a.prefix);
  expect(addresses).toEqual(expect.arrayContaining(['10.77.0.2/24', '169.254.7.7/16', 'fd77::7/64']));
  const { stdout } = await box.exec('sh', ['-ec', 'ip route; ip -6 route']);
  for (const route of [
    `default via ${GATEWAY} dev far0`,
    '10.78.0.0/24 dev far0',
    '10.79.0.0/24 via 10.78.0.9 dev far0',
    'default via fe80::1 dev far0',
    'fd78::/64 dev far0',
  ])
    expect(stdout).toContain(route);
  expect(endpointOf(house, 'box')).toMatchObject({ mac: '02:00:00:00:77:07', v6: 'fd77::7/64' });
});

test('a sandbox in two networks of the plugin: names count on, and the other one publishes when the first one goes', async () => {
  const { house, plugin } = await open();
  plugin.instead = {
    'NetworkDriver.Join': (body) => ({
      InterfaceName: { SrcName: innerOf(String(body['EndpointID'])), DstPrefix: 'eth' },
      Gateway: plugin.bodies('NetworkDriver.Join').length === 1 ? '10.81.0.1' : '10.82.0.1',
    }),
  };
  const subnets = { one: '10.81.0.0/24', two: '10.82.0.0/24' };
  for (const [name, subnet] of Object.entries(subnets))
    await house.network(name, { driver: 'foreign', ipam: { driver: 'default', config: [{ subnet }] } });
  await house.controller.createSandbox({
    name: 'box',
    networks: [
      ['one', {}],
      ['two', {}],
    ],
  });
  const eps = house.controller.sandbox('box').endpoints();
  expect(eps.map((ep) => ep.record.join?.ifname)).toEqual(['eth0', 'eth1']);
  await house.controller.disconnect('one', 'box', false);
  const told = plugin.calls
    .filter(({ method }) => /External/.test(method))
    .map(({ method, body }) => [method.replace(/.*\./, ''), body?.['EndpointID']]);
  expect(told).toEqual([
    ['ProgramExternalConnectivity', eps[0]?.id],
    ['RevokeExternalConnectivity', eps[0]?.id],
    ['ProgramExternalConnectivity', eps[1]?.id],
  ]);
  expect((await house.inside('box').exec('ip', ['route'])).stdout).toContain('default via 10.82.0.1 dev eth1');
});

test('an endpoint that exists by itself moves from one sandbox to another with its link', async () => {
  const { house } = await open();
  await house.network('net', { driver: 'foreign' });
  await house.controller.createEndpoint('net', 'ep', {});
  const { id } = house.controller.endpoint('ep');
  for (const name of ['one', 'two']) {
    await house.controller.createSandbox({ name });
    await house.controller.disconnect('none', name, true);
    await house.controller.joinEndpoint('ep', name);
    expect((await house.inside(name).exec('ip', ['-o', 'link'])).stdout).toContain('eth0');
    await house.controller.leaveEndpoint('ep');
    expect(await links(house)).toContain(innerOf(id));
  }
  await house.controller.deleteEndpoint('ep', false);
  expect(await links(house)).not.toContain(innerOf(id));
});

test('a link whose name was taken meanwhile comes back under another one', async () => {
  const { house } = await open();
  await house.network('net', { driver: 'foreign' });
  await house.controller.createEndpoint('net', 'ep', {});
  const name = innerOf(house.controller.endpoint('ep').id);
  await house.controller.createSandbox({ name: 'box', networks: [] });
  await house.controller.disconnect('none', 'box', true);
  await house.controller.joinEndpoint('ep', 'box');
  await house.host.exec('ip', ['link', 'add', name, 'type', 'bridge']);
  await house.controller.leaveEndpoint('ep');
  expect(await links(house)).toMatch(/back[0-9a-f]{10}@/);
});

test('neighbours are told when an address moves to a link with another MAC', async () => {
  const { house } = await open();
  await house.network('net', { driver: 'foreign', ipam: { config: [{ subnet: '10.83.0.0/24' }] } });
  const anna = await house.sandbox('anna', [['net', {}]]);
  await house.sandbox('maria', [['net', { ipv4: '10.83.0.9' }]]);
  await anna.exec('ping', ['-c1', '-W2', '10.83.0.9']);
  const mac = endpointOf(house, 'maria')?.mac;
  await house.controller.disconnect('net', 'maria', false);
  await house.controller.connect('net', 'maria', { ipv4: '10.83.0.9' });
  const now = endpointOf(house, 'maria')?.mac;
  expect(now).not.toBe(mac);
  // Nothing is sent here meanwhile, which would have the kernel ask by itself.
  await expect
    .poll(async () => (await anna.exec('ip', ['neigh', 'show', '10.83.0.9'])).stdout, { timeout: 10_000 })
    .toContain(now);
});

test('a plugin that names no link leaves the sandbox without one', async () => {
  const { house, plugin } = await open();
  plugin.instead = { 'NetworkDriver.Join': () => ({}) };
  await house.network('net', { driver: 'foreign' });
  const box = await house.sandbox('box', [['net', {}]]);
  expect((await box.host.rtnl().link.list()).map(({ name }) => name)).toEqual(['lo']);
  await house.controller.deleteSandbox('box', true);
  expect(plugin.endpoints.size).toBe(0);
});

test('a daemon that starts again keeps the sandboxes, and tells the plugin of its networks', async () => {
  const { house, plugin } = await open();
  const net = await house.network('net', { driver: 'foreign', ipam: { driver: 'foreign' } });
  for (const name of ['anna', 'maria']) await house.sandbox(name, [['net', {}]]);
  const before = await house.world();
  const [created] = plugin.bodies('NetworkDriver.CreateNetwork');
  const from = plugin.calls.length;
  await house.start();
  expect(plugin.calls.slice(from).map(({ method }) => method)).toEqual([
    'Plugin.Activate',
    'NetworkDriver.GetCapabilities',
    'IpamDriver.GetCapabilities',
    'NetworkDriver.CreateNetwork',
  ]);
  expect(plugin.bodies('NetworkDriver.CreateNetwork')).toEqual([created, created]);
  expect(await house.world()).toEqual(before);
  // It has it still, and says so: that is no trouble.
  expect(house.controller.network(net).record.degraded).toBeUndefined();
  await house.inside('anna').exec('ping', ['-c1', '-W2', house.address('maria', 'net')]);
});

test('a daemon that starts while the plugin is down: degraded, connected, and whole when the plugin is back', async () => {
  const { house, plugin } = await open();
  await house.network('net', { driver: 'foreign', ipam: { driver: 'foreign' } });
  await house.network('own');
  for (const name of ['anna', 'maria']) await house.sandbox(name, [['net', {}]]);
  await plugin.stop();
  await house.start();
  const { degraded } = house.controller.network('net').record;
  expect(degraded).toMatch(/plugin "foreign" does not answer/);
  expect(house.controller.network('own').record.degraded).toBeUndefined();
  await house.inside('anna').exec('ping', ['-c1', '-W2', house.address('maria', 'net')]);
  await expect(house.controller.createSandbox({ name: 'late', networks: [['net', {}]] })).rejects.toMatchObject({
    code: 'plugin_unreachable',
  });
  // Removal works: the plugin is told later.
  await house.controller.deleteSandbox('maria', true);
  plugin.networks.clear();
  await plugin.start();
  // A degraded network is looked at every few rounds.
  for (let round = 0; round < 6; round++) await house.controller.mend();
  expect(house.controller.network('net').record.degraded).toBeUndefined();
  expect(plugin.networks.size).toBe(1);
  expect(plugin.endpoints.size).toBe(1);
  await house.sandbox('late', [['net', {}]]);
});

test('a plugin that was started anew and has forgotten everything is told of its networks at the next look', async () => {
  const { house, plugin } = await open();
  const net = await house.network('net', { driver: 'foreign' });
  await plugin.stop();
  plugin.networks.clear();
  await plugin.start();
  await house.controller.mend();
  expect([...plugin.networks]).toEqual([net]);
  expect(await links(house)).toContain(bridgeOf(net));
});

test('a network that is removed while its plugin is down is owed to it over a restart of the daemon', async () => {
  const { house, plugin } = await open();
  const before = await house.world();
  await house.network('net', { driver: 'foreign', ipam: { driver: 'foreign' } });
  await plugin.stop();
  await house.controller.deleteNetwork('net');
  expect(house.controller.networks().map(({ name }) => name)).not.toContain('net');
  await house.start();
  await plugin.start();
  await house.network('next', { driver: 'foreign', ipam: { driver: 'foreign' } });
  expect(plugin.networks.size).toBe(1);
  await house.controller.deleteNetwork('next');
  expect([plugin.networks.size, plugin.pools.size, plugin.addresses.size]).toEqual([0, 0, 0]);
  expect(await house.world()).toEqual(before);
});

test('addresses that somebody takes from a moved link are put back; a link that is gone is told', async () => {
  const { house } = await open();
  await house.network('net', { driver: 'foreign' });
  const box = await house.sandbox('box', [['net', {}]]);
  await box.exec('ip', ['addr', 'flush', 'dev', 'eth0']);
  await house.controller.mend();
  expect((await box.exec('ip', ['-o', 'addr', 'show', 'eth0'])).stdout).toContain(house.address('box', 'net'));
  await box.exec('ip', ['link', 'del', 'eth0']);
  await house.controller.mend();
  expect(house.controller.network('net').record.degraded).toContain('eth0 is gone');
  await house.controller.disconnect('net', 'box', false);
  await house.controller.connect('net', 'box', {});
  for (let round = 0; round < 6; round++) await house.controller.mend();
  expect(house.controller.network('net').record.degraded).toBeUndefined();
});

test('addresses of a plugin on a bridge of ours', async () => {
  const { house, plugin } = await open();
  const before = await house.world();
  await house.network('net', { ipam: { driver: 'foreign' }, enableIPv6: true });
  const anna = await house.sandbox('anna', [['net', {}]]);
  await house.sandbox('maria', [['net', {}]]);
  expect([house.address('anna', 'net'), house.address('anna', 'net', 6)]).toEqual(['10.77.0.2', 'fd77::2']);
  await anna.exec('ping', ['-c1', '-W2', house.address('maria', 'net', 6)]);
  for (const name of ['anna', 'maria']) await house.controller.deleteSandbox(name, true);
  await house.controller.deleteNetwork('net');
  expect([plugin.pools.size, plugin.addresses.size]).toEqual([0, 0]);
  expect(await house.world()).toEqual(before);
});

test('an IPAM driver that wants it knows the MAC before it gives an address, and its leases after a restart', async () => {
  const { house, plugin } = await open();
  plugin.instead = { 'IpamDriver.GetCapabilities': () => ({ RequiresMACAddress: true, RequiresRequestReplay: true }) };
  await house.network('net', { ipam: { driver: 'foreign' } });
  await house.controller.createSandbox({ name: 'box', networks: [['net', {}]] });
  const ep = endpointOf(house, 'box');
  expect(plugin.bodies('IpamDriver.RequestAddress').at(-1)?.['Options']).toEqual({
    'com.docker.network.endpoint.macaddress': ep?.mac,
    'com.docker.network.endpoint.name': 'box',
  });
  plugin.pools.clear();
  plugin.addresses.clear();
  await house.start();
  expect(plugin.addresses.size).toBe(0);
  // With the next use.
  await house.controller.createSandbox({ name: 'late', networks: [['net', {}]] });
  expect([...plugin.addresses]).toEqual(expect.arrayContaining(['10.77.0.1', '10.77.0.2', '10.77.0.3']));
  expect(house.address('late', 'net')).toBe('10.77.0.3' as Address);
});

test('an IPAM driver that offers subnets of the host is asked again, and gets them back', async () => {
  const { house, plugin } = await open();
  const offers = ['198.51.100.0/24', '198.51.0.0/16', '10.90.0.0/24'];
  plugin.instead = {
    'IpamDriver.RequestPool': () => {
      const pool = offers[plugin.bodies('IpamDriver.RequestPool').length - 1] ?? '';
      plugin.pools.add(`ForeignLocal/${pool}`);
      return { PoolID: `ForeignLocal/${pool}`, Pool: pool, Data: { 'com.docker.network.gateway': '' } };
    },
  };
  await house.network('net', { ipam: { driver: 'foreign' } });
  expect([...plugin.pools]).toEqual(['ForeignLocal/10.90.0.0/24']);
});

test('an address that is leased again is not released by what was owed of before', async () => {
  const { house, plugin } = await open();
  await house.network('net', { ipam: { driver: 'foreign' } });
  await house.controller.createSandbox({ name: 'one', networks: [['net', {}]] });
  // It does what it is asked, and nobody hears of it.
  plugin.instead = {
    'IpamDriver.ReleaseAddress': (body) => {
      plugin.addresses.delete(String(body['Address']));
      return undefined;
    },
  };
  await house.controller.deleteSandbox('one', true);
  await house.controller.createSandbox({ name: 'two', networks: [['net', {}]] });
  expect(house.address('two', 'net')).toBe('10.77.0.2');
  plugin.instead = {};
  await house.controller.createSandbox({ name: 'three', networks: [['net', {}]] });
  expect([...plugin.addresses]).toEqual(['10.77.0.1', '10.77.0.2', '10.77.0.3']);
});

test('a gateway that the IPAM driver prescribes is taken as it is', async () => {
  const { house, plugin } = await open();
  plugin.instead = {
    'IpamDriver.RequestPool': () => ({
      PoolID: 'ForeignLocal/10.91.0.0/24',
      Pool: '10.91.0.0/24',
      Data: { 'com.docker.network.gateway': '10.91.0.254/24' },
    }),
  };
  await house.network('net', { ipam: { driver: 'foreign' } });
  expect(house.controller.network('net').record.pools[0]?.gateway).toBe('10.91.0.254');
  expect(plugin.bodies('IpamDriver.RequestAddress')).toEqual([]);
});

test('a plugin that is asked whether it needs a gateway leaves the address free', async () => {
  const { house, plugin } = await open();
  plugin.instead = {
    'NetworkDriver.GetCapabilities': () => ({ Scope: 'local', GwAllocChecker: true }),
    'NetworkDriver.GwAllocCheck': () => ({ SkipIPv4: true, SkipIPv6: false }),
  };
  await house.network('net', { driver: 'foreign', enableIPv6: true, options: { colour: 'red' } });
  const { pools } = house.controller.network('net').record;
  expect(pools.map(({ family, gateway }) => [family, gateway !== undefined])).toEqual([
    [4, false],
    [6, true],
  ]);
  expect(plugin.bodies('NetworkDriver.GwAllocCheck')).toEqual([
    {
      Options: {
        'com.docker.network.enable_ipv4': true,
        'com.docker.network.enable_ipv6': true,
        'com.docker.network.generic': { colour: 'red' },
      },
    },
  ]);
});

test('what the plugin tells of an endpoint', async () => {
  const { house } = await open();
  await house.network('net', { driver: 'foreign' });
  await house.controller.createEndpoint('net', 'ep', {});
  const { id } = house.controller.endpoint('ep');
  expect(await house.controller.driverInfo(id)).toEqual({ 'foreign.link': outerOf(id) });
});

test('a plugin that comes later is found, by a file too, and our own names are never those of a plugin', async () => {
  const { house, plugin } = await open();
  await expect(house.network('net', { driver: 'later' })).rejects.toMatchObject({ code: 'no_driver' });
  const later = await ForeignPlugin.open(join(house.plugins, 'later', 'later.sock'), (command, args) =>
    house.host.exec(command, args),
  );
  afterTest(() => later.stop());
  await house.network('net', { driver: 'later' });
  expect(later.networks.size).toBe(1);
  const shadow = await ForeignPlugin.open(join(house.plugins, 'bridge.sock'), (command, args) => house.host.exec(command, args));
  afterTest(() => shadow.stop());
  await house.network('own', { driver: 'bridge' });
  expect([shadow.calls, plugin.calls]).toEqual([[], []]);
  for (const driver of ['../later', 'later/later', 'a\nb', '..', 'la:ter']) {
    await expect(house.network('bad', { driver }), driver).rejects.toMatchObject({ code: 'no_driver' });
  }
  expect(existsSync(later.path)).toBe(true);
});

test('a network of a plugin is made by root only', async () => {
  const { house } = await open();
  for (const spec of [{ driver: 'foreign' }, { ipam: { driver: 'foreign' } }]) {
    const asked = house.controller.createNetwork({ name: 'net', ...spec }, undefined, { uid: 1000 });
    await expect(asked).rejects.toMatchObject({ code: 'not_permitted' });
  }
});
