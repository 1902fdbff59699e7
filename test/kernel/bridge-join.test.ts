/** Endpoints as they join and leave: gateways, published ports, neighbours, and what a start mends. */

import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { type Address, codeOf } from '../../src/base/index.ts';
import { openTcpListener, openUdpSocket } from '../../src/kernel/index.ts';
import { ask, probe, serveUdp } from './firewall-lab.ts';
import { House, WIRE, type World } from './house-lab.ts';
import type { TestHost } from './support.ts';

const PORTS = { '80/tcp': [{ HostIp: '', HostPort: '8080' }] };
const net = (n: number) => ({ enableIPv6: true, ipam: { config: [{ subnet: `10.${n}.0.0/24` }, { subnet: `fd0${n}::/64` }] } });

const defaults = async (place: TestHost): Promise<string[]> =>
  (await place.exec('sh', ['-c', 'ip route show default; ip -6 route show default'])).stdout
    .split('\n')
    .flatMap((line) => /via (\S+) dev (\S+)/.exec(line)?.slice(1, 3).join(' ') ?? []);

/** Whether another process can have the port on the host. */
const canBind = (house: House, port: number): boolean => {
  try {
    const fd = house.host.host.run(() => openTcpListener({ address: '0.0.0.0' as Address, port }));
    createServer().listen({ fd }).close();
    return true;
  } catch {
    return false;
  }
};

describe('two networks in one sandbox', () => {
  test('default routes and published ports follow the election and come back; the host port stays held all the time', async () => {
    const house = await House.open();
    for (const n of [1, 2, 3]) await house.network(`net${n}`, n === 3 ? { internal: true } : net(n));
    const a = await house.sandbox('a', [['net2', {}]], { portBindings: PORTS });
    const through = (): string[] =>
      house.controller
        .sandbox('a')
        .endpoints()
        .filter((e) => e.record.bindings.length > 0)
        .map((e) => e.network.name);
    expect(await defaults(a)).toEqual(['10.2.0.1 eth0', 'fd02::1 eth0']);
    expect(through()).toEqual(['net2']);

    // Meanwhile someone asks without a pause, and someone else wants the port.
    let isOver = false;
    const stolen: boolean[] = [];
    const watch = (async () => {
      for (let i = 0; i < 2000 && !isOver; i++) {
        stolen.push(canBind(house, 8080));
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    })();
    // By name net1 comes before net2.
    await house.controller.connect('net1', 'a', {});
    expect(await defaults(a)).toEqual(['10.1.0.1 eth1', 'fd01::1 eth1']);
    expect(through()).toEqual(['net1']);
    expect(await ask(house.outside, WIRE.host, 8080)).toBe(`a ${WIRE.outside}`);
    expect(await ask(house.outside, WIRE.host6, 8080)).toBe(`a ${WIRE.outside6}`);
    // An internal one gives no gateway, however much it is wanted.
    await house.controller.connect('net3', 'a', { gwPriority: 100 });
    expect(await defaults(a)).toEqual(['10.1.0.1 eth1', 'fd01::1 eth1']);
    await house.controller.disconnect('net1', 'a', false);
    expect(await defaults(a)).toEqual(['10.2.0.1 eth0', 'fd02::1 eth0']);
    expect(through()).toEqual(['net2']);
    expect(await ask(house.outside, WIRE.host, 8080)).toBe(`a ${WIRE.outside}`);
    await house.controller.disconnect('net2', 'a', false);
    expect(await defaults(a)).toEqual([]);
    expect(through()).toEqual([]);
    expect(await probe(house.outside, WIRE.host, 8080)).not.toContain('a ');
    await house.controller.connect('net2', 'a', {});
    expect(await ask(house.outside, WIRE.host, 8080)).toBe(`a ${WIRE.outside}`);
    isOver = true;
    await watch;
    expect(stolen.length).toBeGreaterThan(10);
    expect(stolen).not.toContain(true);
    await house.controller.deleteSandbox('a', false);
    expect(canBind(house, 8080)).toBe(true);
  });

  test('each family has its own winner', async () => {
    const house = await House.open();
    await house.network('four');
    await house.network('six', { enableIPv4: false, enableIPv6: true, ipam: { config: [{ subnet: 'fd06::/64' }] } });
    const a = await house.sandbox(
      'a',
      [
        ['four', {}],
        ['six', {}],
      ],
      { portBindings: PORTS },
    );
    expect(await defaults(a)).toEqual([expect.stringMatching(/ eth0$/), 'fd06::1 eth1']);
    expect(await ask(house.outside, WIRE.host, 8080)).toBe(`a ${WIRE.outside}`);
    expect(await ask(house.outside, WIRE.host6, 8080)).toBe(`a ${WIRE.outside6}`);
  });

  test('a higher priority wins, negative ones lose', async () => {
    const house = await House.open();
    for (const n of [1, 2]) await house.network(`net${n}`, net(n));
    const a = await house.sandbox('a', [
      ['net1', { gwPriority: -1 }],
      ['net2', {}],
    ]);
    expect(await defaults(a)).toEqual(['10.2.0.1 eth1', 'fd02::1 eth1']);
  });
});

test('a neighbour, the host and the outside reach a reused address at once', async () => {
  const house = await House.open();
  await house.network('net', net(1));
  const b = await house.sandbox('b', [['net', {}]]);
  for (const round of [1, 2, 3]) {
    await house.sandbox(`a${round}`, [['net', { ipv4: '10.1.0.9', ipv6: 'fd01::9' }]], { portBindings: PORTS });
    for (const address of ['10.1.0.9', 'fd01::9']) {
      // Less than the kernel takes to find out that the old MAC is gone.
      expect(await ask(b, address, 80, 900)).toContain(`a${round} `);
      expect(await ask(house.host, address, 80, 900)).toContain(`a${round} `);
    }
    expect(await ask(house.outside, WIRE.host, 8080, 900)).toContain(`a${round} `);
    await house.controller.deleteSandbox(`a${round}`, false);
  }
});

test('a neighbour reaches a link-local address at once that another sandbox has now', async () => {
  const house = await House.open();
  await house.network('net', net(1));
  const b = await house.sandbox('b', [['net', { linkLocal: ['169.254.7.7', 'fe80::77'] }]]);
  for (const round of [1, 2, 3]) {
    await house.sandbox(`a${round}`, [['net', { linkLocal: ['169.254.7.9', 'fe80::79'] }]]);
    for (const address of ['169.254.7.9', 'fe80::79%eth0']) await b.exec('ping', ['-c', '1', '-W', '0.9', address]);
    // Another MAC comes from another address.
    await house.sandbox(`between${round}`, [['net', {}]]);
    await house.controller.deleteSandbox(`a${round}`, false);
  }
});

test('joins take no room in the neighbour table, which the whole machine shares', async () => {
  const house = await House.open();
  await house.network('net', net(1));
  await house.sandbox('a', [['net', { ipv4: '10.1.0.9' }]]);
  expect(await house.host.host.rtnl().neighbour.list({ address: '10.1.0.9' as Address })).toEqual([]);
});

test('a port of the bridge has no IPv6 of its own, so that a join does not grow with the IPv6 routes of all others', async () => {
  const house = await House.open();
  await house.network('net1', net(1));
  const a = await house.sandbox('a', [['net1', {}]]);
  await house.sandbox('b', [['net1', {}]]);
  const links = JSON.parse((await house.host.exec('ip', ['-j', 'link', 'show', 'type', 'veth'])).stdout) as { ifname: string }[];
  const ports = links.map(({ ifname }) => ifname).filter((name) => name.startsWith('veth'));
  expect(ports).toHaveLength(2);
  for (const port of ports) {
    expect((await house.host.exec('ip', ['-6', 'address', 'show', 'dev', port])).stdout).toBe('');
    expect((await house.host.exec('ip', ['-6', 'route', 'show', 'table', 'all', 'dev', port])).stdout).toBe('');
  }
  // What passes over it does so as before.
  await a.exec('ping', ['-6', '-c', '1', '-W', '5', 'fd01::3']);
});

test('a bridge on which somebody has switched IPv6 off takes endpoints of both families, and lets them go', async () => {
  const house = await House.open();
  await house.network('net', net(1));
  const rtnl = house.host.host.rtnl();
  const bridge = (await rtnl.link.list({ kind: 'bridge' }))[0];
  await house.host.exec('sysctl', ['-qw', `net.ipv6.conf.${bridge?.name}.disable_ipv6=1`]);
  await house.sandbox('a', [['net', { ipv4: '10.1.0.9', ipv6: 'fd01::9' }]]);
  expect(await ask(house.host, '10.1.0.9', 80)).toContain('a ');
  await house.controller.deleteSandbox('a', false);
  expect(await rtnl.neighbour.list({ link: bridge?.index ?? 0, address: '10.1.0.9' as Address })).toEqual([]);
});

test('a UDP flow that goes on from the same port reaches the new owner of a published port, not the old one', async () => {
  const house = await House.open();
  await house.network('net', net(1));
  const start = async (name: string): Promise<void> => {
    const bindings = { '53/udp': [{ HostIp: '', HostPort: '5353' }] };
    serveUdp(await house.sandbox(name, [['net', {}]], { portBindings: bindings }), name, 53);
  };
  const socket = createSocket('udp4');
  socket.bind({ fd: house.outside.host.run(() => openUdpSocket({ address: '0.0.0.0' as Address, port: 7777 })) });
  const answer = (): Promise<string> =>
    new Promise((resolve) => {
      const timer = setTimeout(() => resolve('nothing'), 3000);
      socket.once('message', (message) => {
        clearTimeout(timer);
        resolve(message.toString());
      });
      socket.send('?', 5353, WIRE.host);
    });
  try {
    await start('a');
    expect(await answer()).toContain('a ');
    await house.controller.deleteSandbox('a', false);
    await start('b');
    expect(await answer()).toContain('b ');
  } finally {
    socket.close();
  }
});

test('nothing of an endpoint is left while its network lives on: links, rules, neighbours, addresses, files', async () => {
  const house = await House.open();
  await house.network('net', net(1));
  await house.network('other', net(2));
  await house.sandbox('stays', [['net', {}]]);
  await ask(house.host, house.address('stays', 'net'), 80);
  await ask(house.host, house.address('stays', 'net', 6), 80);
  const before = await house.world();
  const a = await house.sandbox(
    'a',
    [
      ['net', {}],
      ['other', {}],
    ],
    { portBindings: { ...PORTS, '53/udp': [{ HostIp: '', HostPort: '' }] } },
  );
  for (const family of [4, 6] as const) await ask(house.host, house.address('a', 'net', family), 80);
  await ask(a, house.address('stays', 'net'), 80);
  await house.controller.disconnect('other', 'a', false);
  await house.controller.deleteSandbox('a', false);
  expect(await house.world()).toEqual(before);
});

test('the 1,024th port of a bridge is refused by name, and changes nothing', { timeout: 60_000 }, async () => {
  const house = await House.open();
  await house.network('net', { options: { 'com.docker.network.bridge.name': 'br0' } });
  await house.host.exec('sh', [
    '-ec',
    'i=0; while [ $i -lt 1023 ]; do echo "link add name p$i type veth peer name q$i"; echo "link set p$i master br0"; i=$((i+1)); done | ip -batch -',
  ]);
  const before = house.controller.sandboxes().length;
  expect(await house.sandbox('a', [['net', {}]]).catch((error: unknown) => codeOf(error) ?? String(error))).toBe('network_full');
  expect(house.controller.sandboxes().length).toBe(before);
  await house.host.exec('ip', ['link', 'del', 'p7']);
  await house.sandbox('a', [['net', {}]]);
});

/** Neighbours come back with the first packet. */
const withoutCache = (world: World): World => ({
  ...world,
  kernel: Object.fromEntries(Object.entries(world.kernel).map(([place, tables]) => [place, { ...tables, neighbours: [] }])),
});

describe('a start mends', () => {
  const open = async (): Promise<{ house: House; a: TestHost; wanted: World }> => {
    const house = await House.open();
    for (const n of [1, 2]) await house.network(`net${n}`, net(n));
    const a = await house.sandbox(
      'a',
      [
        ['net1', {}],
        ['net2', {}],
      ],
      { portBindings: PORTS },
    );
    return { house, a, wanted: await house.world() };
  };
  const bridgeOf = (house: House, name: string): string =>
    (house.controller.network(name).record.driverState as { bridge: string }).bridge;
  const works = async (house: House, a: TestHost): Promise<void> => {
    expect(await defaults(a)).toEqual(['10.1.0.1 eth0', 'fd01::1 eth0']);
    expect(await ask(house.outside, WIRE.host, 8080)).toBe(`a ${WIRE.outside}`);
    expect(await ask(house.outside, WIRE.host6, 8080)).toBe(`a ${WIRE.outside6}`);
  };

  test.each<[string, (house: House, a: TestHost) => Promise<unknown>]>([
    ['nothing that is whole', async () => {}],
    ['a removed bridge', (house) => house.host.exec('ip', ['link', 'del', bridgeOf(house, 'net1')])],
    ['a bridge that is down', (house) => house.host.exec('ip', ['link', 'set', bridgeOf(house, 'net1'), 'down'])],
    ['a lost address of a bridge', (house) => house.host.exec('ip', ['addr', 'flush', 'dev', bridgeOf(house, 'net1')])],
    [
      'a lost link-local address of a bridge',
      (house) => house.host.exec('ip', ['-6', 'addr', 'flush', 'dev', bridgeOf(house, 'net1'), 'scope', 'link']),
    ],
    [
      'IPv6 that was switched off',
      (house) => house.host.exec('sysctl', ['-qw', `net.ipv6.conf.${bridgeOf(house, 'net1')}.disable_ipv6=1`]),
    ],
    ['a removed link', (_, a) => a.exec('ip', ['link', 'del', 'eth0'])],
    ['a link that is down', (_, a) => a.exec('ip', ['link', 'set', 'eth0', 'down'])],
    ['lost addresses', (_, a) => a.exec('ip', ['addr', 'flush', 'dev', 'eth0'])],
    ['lost default routes', (_, a) => a.exec('sh', ['-c', 'ip route del default; ip -6 route del default'])],
    [
      'flushed rules',
      (house) =>
        house.host.exec('sh', [
          '-ec',
          'for f in iptables ip6tables; do for t in filter nat raw; do $f -t $t -F; $f -t $t -X; done; done',
        ]),
    ],
    ['a lost table of the resolver', (_, a) => a.exec('nft', ['flush', 'ruleset'])],
  ])('%s', async (_, harm) => {
    const { house, a, wanted } = await open();
    await harm(house, a);
    await house.start();
    expect(withoutCache(await house.world())).toEqual(withoutCache(wanted));
    await works(house, a);
  });

  test('and removes a sandbox whose namespace is gone', async () => {
    const { house } = await open();
    const before = house.controller.networks().length;
    const { key } = house.controller.sandbox('a').record;
    await house.host.exec('umount', ['-l', key]);
    await house.start();
    expect(house.controller.sandboxes()).toEqual([]);
    expect(house.controller.networks().length).toBe(before);
    expect(canBind(house, 8080)).toBe(true);
    await house.sandbox('a', [['net1', {}]], { portBindings: PORTS });
  });
});
