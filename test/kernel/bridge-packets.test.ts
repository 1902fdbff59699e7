/** What packets of endpoints reach, by options of their network: through the controller, on real links and rules. */

import { describe, expect, test } from 'vitest';
import { ask, probe, serve } from './firewall-lab.ts';
import { House, WIRE } from './house-lab.ts';
import type { TestHost } from './support.ts';

const BRIDGE = 'com.docker.network.bridge';
const PORTS = { '80/tcp': [{ HostIp: '', HostPort: '8080' }] };
const DUAL = { enableIPv6: true, ipam: { config: [{ subnet: '10.1.0.0/24' }, { subnet: 'fd01::/64' }] } } as const;

/** The outside knows the way to the endpoints' own addresses. */
const routeFromOutside = (house: House): Promise<unknown> =>
  house.outside.exec('sh', ['-ec', `ip route add 10.0.0.0/8 via ${WIRE.host}; ip -6 route add fd00::/8 via ${WIRE.host6}`]);

const FAMILIES = [
  { family: 4, host: WIRE.host, outside: WIRE.outside, gateway: '10.1.0.1', any: '0.0.0.0' },
  { family: 6, host: WIRE.host6, outside: WIRE.outside6, gateway: 'fd01::1', any: '::' },
] as const;

const pings = async (from: TestHost, address: string): Promise<boolean> =>
  (await from.exec('ping', ['-c1', '-W1', address], { reject: false })).exitCode === 0;

test('dual stack: endpoints reach each other, the gateway and, masqueraded, the outside; published ports answer in both families', async () => {
  const house = await House.open();
  await house.network('net', DUAL);
  const a = await house.sandbox('a', [['net', {}]], { portBindings: PORTS });
  const b = await house.sandbox('b', [['net', {}]]);
  serve(house.outside, 'outside', 80);
  for (const { family, host, outside, gateway } of FAMILIES) {
    expect(await ask(b, house.address('a', 'net', family), 80)).toBe(`a ${house.address('b', 'net', family)}`);
    expect(await pings(a, gateway)).toBe(true);
    expect(await ask(a, outside, 80)).toBe(`outside ${host}`);
    expect(await ask(house.outside, host, 8080)).toBe(`a ${outside}`);
    expect(await ask(b, host, 8080)).toContain('a ');
    expect(await ask(house.host, host, 8080)).toContain('a ');
  }
});

test('an internal network: neighbours and nothing else, no default route, and published ports are ignored', async () => {
  const house = await House.open();
  await house.network('net', { ...DUAL, internal: true });
  await house.network('open', { enableIPv6: true, ipam: { config: [{ subnet: '10.2.0.0/24' }, { subnet: 'fd02::/64' }] } });
  await routeFromOutside(house);
  const a = await house.sandbox('a', [['net', {}]], { portBindings: PORTS });
  const b = await house.sandbox('b', [['net', {}]]);
  const c = await house.sandbox('c', [['open', {}]]);
  serve(house.outside, 'outside', 80);
  for (const { family, host, outside } of FAMILIES) {
    const [at, bt] = [house.address('a', 'net', family), house.address('b', 'net', family)];
    expect(await ask(b, at, 80)).toBe(`a ${bt}`);
    expect((await a.exec('ip', [`-${family}`, 'route'])).stdout).not.toContain('default');
    // Even with a route of its own making.
    await a.exec('ip', [
      `-${family}`,
      'route',
      'add',
      'default',
      'dev',
      'eth0',
      ...(family === 4 ? ['via', '10.1.0.1'] : ['via', 'fd01::1']),
    ]);
    expect(await probe(a, outside, 80)).not.toContain('outside');
    expect(await probe(house.outside, at, 80)).not.toContain('a ');
    expect(await probe(c, at, 80)).not.toContain('a ');
    expect(await probe(house.outside, host, 8080)).toBe('refused');
  }
  expect(house.controller.sandbox('a').record.held).toEqual([]);
});

test('icc=false: no neighbour is reachable, by no protocol; gateway, outside and published ports are', async () => {
  const house = await House.open();
  await house.network('net', { ...DUAL, options: { [`${BRIDGE}.enable_icc`]: 'false' } });
  const a = await house.sandbox('a', [['net', {}]], { portBindings: PORTS });
  const b = await house.sandbox('b', [['net', {}]]);
  serve(house.outside, 'outside', 80);
  // With br_netfilter at work the kernel translates on the bridge itself, where isolated ports stay apart.
  const noFilter =
    'cd /proc/sys/net/bridge 2>/dev/null || exit 0; echo 0 >bridge-nf-call-iptables; echo 0 >bridge-nf-call-ip6tables';
  await house.host.exec('sh', ['-c', noFilter]);
  const isolated = async (): Promise<void> => {
    for (const { family, host, outside, gateway } of FAMILIES) {
      expect(await probe(b, house.address('a', 'net', family), 80)).not.toContain('a ');
      expect(await pings(b, house.address('a', 'net', family))).toBe(false);
      expect(await pings(b, gateway)).toBe(true);
      expect(await ask(b, outside, 80)).toBe(`outside ${host}`);
      expect(await ask(house.outside, host, 8080)).toBe(`a ${outside}`);
      expect(await ask(b, host, 8080)).toContain('a ');
    }
    expect(
      (await b.exec('arping', ['-c1', '-w1', '-I', 'eth0', house.address('a', 'net')], { reject: false })).exitCode,
    ).not.toBe(0);
  };
  await isolated();
  expect(await pings(a, '10.1.0.1')).toBe(true);
  // A bridge that someone removed is made anew at the next start; its ports are as they were.
  const { driverState } = house.controller.network('net').record;
  await house.host.exec('ip', ['link', 'del', (driverState as { bridge: string }).bridge]);
  await house.start();
  await isolated();
});

describe.each(FAMILIES)('IPv$family gateway mode', ({ family, host, outside }) => {
  const open = async (mode: string): Promise<{ house: House; a: TestHost; at: string; c: TestHost }> => {
    const house = await House.open();
    await house.network('net', { ...DUAL, options: { [`${BRIDGE}.gateway_mode_ipv${family}`]: mode } });
    await house.network('second', { enableIPv6: true, ipam: { config: [{ subnet: '10.2.0.0/24' }, { subnet: 'fd02::/64' }] } });
    await routeFromOutside(house);
    const a = await house.sandbox('a', [['net', {}]], { portBindings: PORTS });
    serve(a, 'a', 81);
    const c = await house.sandbox('c', [['second', {}]]);
    serve(house.outside, 'outside', 80);
    return { house, a, at: house.address('a', 'net', family), c };
  };

  test('nat: masqueraded, published ports by the host alone', async () => {
    const { house, a, at, c } = await open('nat');
    expect(await ask(a, outside, 80)).toBe(`outside ${host}`);
    expect(await ask(house.outside, host, 8080)).toBe(`a ${outside}`);
    for (const from of [house.outside, c]) for (const port of [80, 81]) expect(await probe(from, at, port)).not.toContain('a ');
  });

  test('nat-unprotected: masqueraded, and every port is open by its own address', async () => {
    const { house, a, at } = await open('nat-unprotected');
    expect(await ask(a, outside, 80)).toBe(`outside ${host}`);
    expect(await ask(house.outside, host, 8080)).toBe(`a ${outside}`);
    for (const port of [80, 81]) expect(await ask(house.outside, at, port)).toBe(`a ${outside}`);
  });

  test('routed: own address both ways, published ports and ICMP only, no host port', async () => {
    const { house, a, at, c } = await open('routed');
    expect(await ask(a, outside, 80)).toBe(`outside ${at}`);
    expect(await ask(house.outside, at, 80)).toBe(`a ${outside}`);
    // The other network masquerades.
    expect(await ask(c, at, 80)).toBe(`a ${family === 4 ? '10.1.0.1' : 'fd01::1'}`);
    expect(await pings(house.outside, at)).toBe(true);
    expect(await probe(house.outside, at, 81)).not.toContain('a ');
    expect(await probe(house.outside, host, 8080)).not.toContain('a ');
    const bindings = house.controller.sandbox('a').endpoints()[0]?.record.bindings;
    expect(bindings?.filter((b) => b.hostAddress.includes(':') === (family === 6)).map((b) => b.hostPort)).toEqual([0]);
  });
});

test('isolated: endpoints reach each other, the host reaches none and is reached by none', async () => {
  const house = await House.open();
  await house.network('net', {
    ...DUAL,
    internal: true,
    options: { [`${BRIDGE}.gateway_mode_ipv4`]: 'isolated', [`${BRIDGE}.gateway_mode_ipv6`]: 'isolated' },
  });
  await house.sandbox('a', [['net', {}]]);
  const b = await house.sandbox('b', [['net', {}]]);
  serve(house.host, 'host', 80);
  for (const { family, host } of FAMILIES) {
    expect(await ask(b, house.address('a', 'net', family), 80)).toBe(`a ${house.address('b', 'net', family)}`);
    expect(await probe(house.host, house.address('a', 'net', family), 80)).not.toContain('a ');
    expect(await probe(b, host, 80)).not.toContain('host ');
  }
});

test('host_binding_ipv4 is where ports are published that name no address', async () => {
  const house = await House.open();
  await house.host.exec('ip', ['addr', 'add', '198.51.100.7/24', 'dev', 'wire0']);
  await house.network('net', { options: { [`${BRIDGE}.host_binding_ipv4`]: '198.51.100.7' } });
  await house.sandbox('a', [['net', {}]], {
    portBindings: { ...PORTS, '81/tcp': [{ HostIp: '0.0.0.0', HostPort: '8081' }] },
  });
  serve(house.inside('a'), 'a', 81);
  expect(await ask(house.outside, '198.51.100.7', 8080)).toBe(`a ${WIRE.outside}`);
  expect(await probe(house.outside, WIRE.host, 8080)).toBe('refused');
  expect(await ask(house.outside, WIRE.host, 8081)).toBe(`a ${WIRE.outside}`);
});

test('trusted_host_interfaces may route straight to endpoints, others may not', async () => {
  const house = await House.open();
  await house.network('net', { ...DUAL, options: { [`${BRIDGE}.trusted_host_interfaces`]: 'wire0:vpn0' } });
  await house.network('second', { enableIPv6: true, ipam: { config: [{ subnet: '10.2.0.0/24' }, { subnet: 'fd02::/64' }] } });
  await routeFromOutside(house);
  await house.sandbox('a', [['net', {}]], { portBindings: PORTS });
  const c = await house.sandbox('c', [['second', {}]]);
  for (const { family, outside } of FAMILIES) {
    expect(await ask(house.outside, house.address('a', 'net', family), 80)).toBe(`a ${outside}`);
    expect(await probe(c, house.address('a', 'net', family), 80)).not.toContain('a ');
  }
});

test('networks do not reach each other', async () => {
  const house = await House.open();
  await house.network('one', DUAL);
  await house.network('two', { enableIPv6: true, ipam: { config: [{ subnet: '10.2.0.0/24' }, { subnet: 'fd02::/64' }] } });
  await house.sandbox('a', [['one', {}]]);
  const b = await house.sandbox('b', [['two', {}]]);
  for (const { family } of FAMILIES) expect(await probe(b, house.address('a', 'one', family), 80)).not.toContain('a ');
});

test('host_ipv4 and host_ipv6 are the addresses that the outside sees', async () => {
  const house = await House.open();
  await house.host.exec('sh', ['-ec', 'ip addr add 198.51.100.7/24 dev wire0; ip addr add 2001:db8:100::7/64 dev wire0 nodad']);
  await house.network('net', {
    ...DUAL,
    options: { 'com.docker.network.host_ipv4': '198.51.100.7', 'com.docker.network.host_ipv6': '2001:db8:100::7' },
  });
  const a = await house.sandbox('a', [['net', {}]]);
  serve(house.outside, 'outside', 80);
  expect(await ask(a, WIRE.outside, 80)).toBe('outside 198.51.100.7');
  expect(await ask(a, WIRE.outside6, 80)).toBe('outside 2001:db8:100::7');
});
