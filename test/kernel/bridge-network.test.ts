/** Bridges of networks: made, adopted, addressed, refused, taken away. */

import { describe, expect, test } from 'vitest';
import { codeOf } from '../../src/base/index.ts';
import type { NetworkSpec } from '../../src/cnm/index.ts';
import { House } from './house-lab.ts';

const BRIDGE = 'com.docker.network.bridge';
const named = (name: string): Record<string, string> => ({ [`${BRIDGE}.name`]: name });
const subnet = (...all: string[]) => ({ config: all.map((one) => ({ subnet: one })) });

const link = async (house: House, name: string): Promise<Record<string, unknown> | undefined> =>
  (JSON.parse((await house.host.exec('ip', ['-j', '-d', 'link', 'show'])).stdout) as Record<string, unknown>[]).find(
    (l) => l['ifname'] === name,
  );
const addresses = async (house: House, name: string): Promise<string[]> =>
  (await house.host.exec('ip', ['-o', 'addr', 'show', 'dev', name])).stdout
    .split('\n')
    .map((line) => line.split(/\s+/)[3] ?? '')
    .filter((address) => address !== '' && !address.startsWith('fe80'));

test('the MAC of a bridge stays when ports come and go', async () => {
  const house = await House.open();
  await house.network('net', { options: named('br0') });
  const before = (await link(house, 'br0'))?.['address'];
  await house.sandbox('a', [['net', { mac: '02:00:00:00:00:01' }]]);
  await house.sandbox('b', [['net', {}]]);
  expect((await link(house, 'br0'))?.['address']).toBe(before);
  await house.controller.deleteSandbox('a', false);
  await house.controller.deleteSandbox('b', false);
  expect((await link(house, 'br0'))?.['address']).toBe(before);
});

test('the MTU is that of the bridge, and of both ends of every endpoint', async () => {
  const house = await House.open();
  await house.network('net', { options: { ...named('br0'), 'com.docker.network.driver.mtu': '1400' } });
  const a = await house.sandbox('a', [['net', {}]]);
  const links = JSON.parse((await house.host.exec('ip', ['-j', 'link'])).stdout) as { ifname: string; mtu: number }[];
  expect(links.filter((l) => /^(br0|veth)/.test(l.ifname)).map((l) => l.mtu)).toEqual([1400, 1400]);
  expect((await a.exec('ip', ['link', 'show', 'eth0'])).stdout).toContain('mtu 1400');
});

test('inhibit_ipv4 leaves the bridge without an IPv4 address; endpoints get the given gateway', async () => {
  const house = await House.open();
  await house.network('net', {
    enableIPv6: true,
    ipam: { config: [{ subnet: '10.1.0.0/24', gateway: '10.1.0.1' }, { subnet: 'fd01::/64' }] },
    options: { ...named('br0'), [`${BRIDGE}.inhibit_ipv4`]: 'true' },
  });
  expect(await addresses(house, 'br0')).toEqual(['fd01::1/64']);
  const a = await house.sandbox('a', [['net', {}]]);
  expect((await a.exec('ip', ['route'])).stdout).toContain('default via 10.1.0.1');
});

test('auxiliary addresses override the default gateway of endpoints, and the bridge keeps its own', async () => {
  const house = await House.open();
  await house.network('net', {
    enableIPv6: true,
    ipam: {
      config: [
        { subnet: '10.1.0.0/24', aux: { DefaultGatewayIPv4: '10.1.0.9' } },
        { subnet: 'fd01::/64', aux: { DefaultGatewayIPv6: 'fd01::9' } },
      ],
    },
    options: named('br0'),
  });
  expect(await addresses(house, 'br0')).toEqual(['10.1.0.1/24', 'fd01::1/64']);
  const a = await house.sandbox('a', [['net', {}]]);
  expect((await a.exec('ip', ['route'])).stdout).toContain('default via 10.1.0.9');
  expect((await a.exec('ip', ['-6', 'route'])).stdout).toContain('default via fd01::9');
});

test.each([
  [4, 'isolated', []],
  [6, 'isolated', ['10.1.0.1/24']],
] as const)('an isolated IPv%d family has no address on the bridge and no gateway', async (family, mode, wanted) => {
  const house = await House.open();
  await house.network('net', {
    enableIPv6: family === 6,
    internal: true,
    ipam: subnet('10.1.0.0/24', ...(family === 6 ? ['fd01::/64'] : [])),
    options: { ...named('br0'), [`${BRIDGE}.gateway_mode_ipv${family}`]: mode },
  });
  expect(await addresses(house, 'br0')).toEqual(wanted);
  const pools = house.controller.network('net').record.pools;
  expect(pools.find((p) => p.family === family)?.gateway).toBeUndefined();
  const a = await house.sandbox('a', [['net', {}]]);
  // The gateway's address is free to be used.
  expect(house.address('a', 'net', family)).toBe(family === 4 ? '10.1.0.1' : 'fd01::1');
  expect((await a.exec('ip', [`-${family}`, 'route'])).stdout).not.toContain('default');
});

describe('an adopted bridge', () => {
  const prepare = async (): Promise<House> => {
    const house = await House.open();
    await house.host.exec('sh', [
      '-ec',
      'ip link add own0 type bridge; ip addr add 192.0.2.9/24 dev own0; ip addr add fd99::9/64 dev own0 nodad; ip link set own0 up mtu 1450',
    ]);
    return house;
  };

  test('is used, keeps its own addresses, and outlives the network', async () => {
    const house = await prepare();
    const before = await addresses(house, 'own0');
    const index = (await link(house, 'own0'))?.['ifindex'];
    await house.network('net', {
      ipam: subnet('10.1.0.0/24'),
      options: { ...named('own0'), 'com.docker.network.driver.mtu': '1400' },
    });
    await house.sandbox('a', [['net', {}]]);
    expect((await addresses(house, 'own0')).sort()).toEqual([...before, '10.1.0.1/24'].sort());
    expect((await link(house, 'own0'))?.['mtu']).toBe(1400);
    await house.controller.deleteSandbox('a', false);
    await house.controller.deleteNetwork('net');
    expect(await addresses(house, 'own0')).toEqual(before);
    expect(await link(house, 'own0')).toMatchObject({ ifindex: index, mtu: 1450 });
  });

  test('stays also when the network goes after a restart of the daemon', async () => {
    const house = await prepare();
    const before = await addresses(house, 'own0');
    await house.network('net', { ipam: subnet('10.1.0.0/24'), options: named('own0') });
    await house.start();
    await house.controller.deleteNetwork('net');
    expect(await addresses(house, 'own0')).toEqual(before);
  });

  test("that has a port and IPv6 switched off has it with the network only; its link-local address is the kernel's", async () => {
    const house = await prepare();
    await house.host.exec('sh', [
      '-ec',
      'ip link add port0 type veth peer name port1; ip link set port0 master own0 up; ip link set port1 up; sysctl -qw net.ipv6.conf.own0.disable_ipv6=1',
    ]);
    const linkLocal = async (): Promise<string> =>
      (await house.host.exec('ip', ['-6', 'addr', 'show', 'dev', 'own0', 'scope', 'link'])).stdout;
    await house.network('net', { enableIPv6: true, ipam: subnet('10.1.0.0/24', 'fd01::/64'), options: named('own0') });
    expect(await addresses(house, 'own0')).toContain('fd01::1/64');
    expect(await linkLocal()).toContain('fe80::');
    expect(await linkLocal()).not.toContain('nodad');
    await house.controller.deleteNetwork('net');
    expect(await house.host.exec('sysctl', ['-n', 'net.ipv6.conf.own0.disable_ipv6'])).toMatchObject({ stdout: '1' });
  });

  test('that is no bridge is refused', async () => {
    const house = await House.open();
    expect(await house.network('net', { options: named('wire0') }).catch(codeOf)).toBe('bad_option');
    expect(await link(house, 'wire0')).toBeDefined();
  });
});

describe('a network that cannot work is refused and leaves nothing', () => {
  const CASES: readonly (readonly [title: string, code: string, spec: Omit<NetworkSpec, 'name'>])[] = [
    ['N1: two IPv4 subnets', 'too_many_subnets', { ipam: subnet('10.1.0.0/24', '10.2.0.0/24') }],
    ['N1: two IPv6 subnets', 'too_many_subnets', { enableIPv6: true, ipam: subnet('fd01::/64', 'fd02::/64') }],
    ['N2: neither family', 'no_family', { enableIPv4: false }],
    ['N2: the null IPAM', 'bad_subnet', { ipam: { driver: 'null' } }],
    [
      'N3: a gateway for endpoints outside the subnet',
      'bad_aux_address',
      { ipam: { config: [{ subnet: '10.1.0.0/24', aux: { DefaultGatewayIPv4: '10.2.0.1' } }] } },
    ],
    [
      'N3: a gateway for endpoints of an internal network',
      'bad_aux_address',
      { internal: true, ipam: { config: [{ subnet: '10.1.0.0/24', aux: { DefaultGatewayIPv4: '10.1.0.9' } }] } },
    ],
    ['N4: multicast', 'bad_subnet', { enableIPv6: true, ipam: subnet('ff02::/64') }],
    ['N4: part of link-local', 'bad_subnet', { enableIPv6: true, ipam: subnet('fe80::/80') }],
    ['N5: the bridge of another network', 'subnet_conflict', { options: named('brx') }],
    ['N5: the subnet of another network', 'pool_overlap', { ipam: subnet('10.77.0.0/25') }],
    ['N6: isolated and not internal', 'bad_option', { options: { [`${BRIDGE}.gateway_mode_ipv4`]: 'isolated' } }],
    ['an unknown gateway mode', 'bad_option', { options: { [`${BRIDGE}.gateway_mode_ipv6`]: 'bridge' } }],
    ['an unknown driver', 'no_driver', { driver: 'weave' }],
    ['an unknown IPAM driver', 'no_driver', { ipam: { driver: 'weave' } }],
    ['a second host network', 'singleton_network', { driver: 'host' }],
    [
      'a gateway that is the broadcast address',
      'bad_gateway',
      { ipam: { config: [{ subnet: '10.1.0.0/24', gateway: '10.1.0.255' }] } },
    ],
  ];

  test('whatever is wrong', async () => {
    const house = await House.open();
    await house.network('other', { ipam: subnet('10.77.0.0/24'), options: named('brx') });
    const before = await house.world();
    for (const [title, code, spec] of CASES) {
      expect(await house.network('net', spec).catch((error: unknown) => codeOf(error) ?? String(error)), title).toBe(code);
      expect(await house.world(), title).toEqual(before);
    }
  });

  test('exactly fe80::/64 is taken', async () => {
    const house = await House.open();
    await house.network('net', { enableIPv6: true, ipam: subnet('fe80::/64') });
    const a = await house.sandbox('a', [['net', {}]]);
    expect((await a.exec('ip', ['-6', 'route'])).stdout).toMatch(/default via fe80::1 dev eth0/);
    await a.exec('ip', ['-6', 'route', 'del', 'default']);
    await house.start();
    expect((await a.exec('ip', ['-6', 'route'])).stdout).toMatch(/default via fe80::1 dev eth0/);
  });
});

test('interfaces are named by the prefix of the network, an exact name of the endpoint, or eth; taken names are refused', async () => {
  const house = await House.open();
  const exact = (name: string) => ({ options: { 'com.docker.network.endpoint.ifname': name } });
  await house.network('one');
  await house.network('two', { options: { 'com.docker.network.container_iface_prefix': 'lan' } });
  await house.network('three', { options: { 'com.docker.network.container_iface_prefix': '' } });
  await house.network('four');
  await house.controller.createSandbox({
    name: 'a',
    networks: [
      ['one', {}],
      ['two', {}],
      ['three', exact('wan')],
    ],
  });
  const names = () =>
    house.controller
      .sandbox('a')
      .endpoints()
      .map((e) => e.record.join?.ifname)
      .sort();
  expect(names()).toEqual(['eth0', 'lan0', 'wan']);
  for (const taken of ['lo', 'wan', 'eth0'])
    expect(await house.controller.connect('four', 'a', exact(taken)).catch(codeOf), taken).toBe('bad_option');
  await house.controller.disconnect('one', 'a', false);
  await house.controller.connect('four', 'a', {});
  expect(names()).toEqual(['eth0', 'lan0', 'wan']);
  for (const prefix of ['averylongprefix', 'a b', 'x/'])
    expect(await house.network('five', { options: { 'com.docker.network.container_iface_prefix': prefix } }).catch(codeOf)).toBe(
      'bad_option',
    );
});

test('a link of another that has the name of a bridge to be made is not touched', async () => {
  const house = await House.open();
  await house.network('net', { options: named('br0') });
  await house.host.exec('sh', ['-ec', 'ip link del br0; ip link add br0 type bridge']);
  await house.controller.deleteNetwork('net');
  expect(await link(house, 'br0')).toBeDefined();
});

test('predefined networks are there, and are not to be removed', async () => {
  const house = await House.open({ defaultBridge: { kind: 'auto' } });
  expect(
    house.controller
      .networks()
      .map((n) => n.name)
      .sort(),
  ).toEqual(['bridge', 'host', 'none']);
  for (const name of ['bridge', 'host', 'none'])
    expect(await house.controller.deleteNetwork(name).catch(codeOf)).toBe('predefined_network');
  expect(await addresses(house, 'patchbay0')).toHaveLength(1);
});
