import { describe, expect, test } from 'vitest';
import { makePrefix, parseAddress, parseMac, parsePrefix } from '../../src/base/index.ts';
import type { Netns, RtnlOp } from '../../src/kernel/index.ts';
import { hostAt, testHosts } from './support.ts';

const GROUP = 0x41234566;
const BRIDGE = 40;

const gateway = parsePrefix('10.99.0.1/24');

/** The whole attach of one sandbox to a bridge in `host`: the sandbox's own batch, then the bridge port's. */
async function attach(host: Netns, sandbox: Netns, number: number): Promise<void> {
  const inner = 20;
  await sandbox.rtnl().batch([
    {
      op: 'link.add',
      spec: {
        kind: 'veth',
        name: 'eth0',
        index: inner,
        mac: parseMac(`02:00:00:00:00:0${number}`),
        group: GROUP,
        peer: { name: `pbv${number}`, index: 100 + number, group: GROUP, netns: host, mtu: 1400 },
        mtu: 1400,
      },
    },
    { op: 'address.add', spec: { link: inner, prefix: parsePrefix(`10.99.0.1${number}/24`) } },
    { op: 'address.add', spec: { link: inner, prefix: parsePrefix(`fd99::1${number}/64`), noDad: true } },
  ]);
  await host
    .rtnl()
    .batch([
      { op: 'link.set', at: { index: 100 + number }, change: { master: BRIDGE, up: true, hairpin: true, isolated: false } },
    ]);
  await sandbox.rtnl().batch([
    { op: 'link.set', at: { index: inner }, change: { up: true } },
    { op: 'route.replace', spec: { family: 4, gateway: parseAddress('10.99.0.1') } },
  ]);
}

async function bridge(host: Netns): Promise<void> {
  await host.rtnl().batch([
    {
      op: 'link.add',
      spec: { kind: 'bridge', name: 'pb-br0', index: BRIDGE, group: GROUP, bridge: { multicastSnooping: false, stp: false } },
    },
    { op: 'address.add', spec: { link: BRIDGE, prefix: gateway } },
    { op: 'address.add', spec: { link: BRIDGE, prefix: parsePrefix('fd99::1/64'), noDad: true } },
    { op: 'link.set', at: { name: 'pb-br0' }, change: { up: true, alias: 'patchbay test' } },
  ]);
}

describe('a bridge with two sandboxes', () => {
  test('carries real packets between them, and to its own address', async () => {
    const [host, a, b] = (await testHosts(3)) as [
      Awaited<ReturnType<typeof testHosts>>[0],
      ...Awaited<ReturnType<typeof testHosts>>,
    ];
    if (a === undefined || b === undefined) throw new Error('no hosts');
    await bridge(host.host);
    await attach(host.host, a.host, 1);
    await attach(host.host, b.host, 2);
    await Promise.all([
      a.exec('ping', ['-c1', '-W5', '10.99.0.12']),
      a.exec('ping', ['-c1', '-W5', 'fd99::12']),
      b.exec('ping', ['-c1', '-W5', '10.99.0.1']),
    ]);
    const rtnl = host.host.rtnl();
    expect(await rtnl.link.list({ master: BRIDGE })).toEqual([
      expect.objectContaining({
        name: 'pbv1',
        index: 101,
        kind: 'veth',
        group: GROUP,
        mtu: 1400,
        up: true,
        carrier: true,
        master: BRIDGE,
        parent: 20,
      }),
      expect.objectContaining({ name: 'pbv2', index: 102 }),
    ]);
    expect(await rtnl.link.get({ name: 'pb-br0' })).toMatchObject({
      index: BRIDGE,
      kind: 'bridge',
      alias: 'patchbay test',
      group: GROUP,
    });
    expect(await a.host.rtnl().link.get({ index: 20 })).toMatchObject({
      name: 'eth0',
      mac: '02:00:00:00:00:01',
      group: GROUP,
      carrier: true,
    });
    expect((await rtnl.link.list({ kind: 'bridge' })).map((link) => link.name)).toEqual(['pb-br0']);
    expect((await rtnl.link.list({ group: GROUP })).map((link) => link.name).sort()).toEqual(['pb-br0', 'pbv1', 'pbv2']);
    expect(await rtnl.link.find({ name: 'nothing' })).toBeUndefined();
    await expect(rtnl.link.get({ index: 4711 })).rejects.toMatchObject({ code: 'syscall_failed', errno: 'ENODEV' });
    const { stdout } = await host.exec('bridge', ['-d', 'link', 'show', 'dev', 'pbv1']);
    expect(stdout).toContain('hairpin on');
    expect(stdout).toContain('isolated off');
    const addresses = await a.host.rtnl().address.list({ link: 20 });
    expect(addresses.map((each) => each.prefix)).toEqual(expect.arrayContaining(['10.99.0.11/24', 'fd99::11/64']));
    expect(await rtnl.fdb.list({ mac: parseMac('02:00:00:00:00:01') })).toMatchObject([{ link: 101, permanent: false }]);
    expect(await a.host.rtnl().route.list({ family: 4, table: 254 })).toEqual(
      expect.arrayContaining([
        { family: 4, scope: 'global', table: 254, protocol: 4, gateway: '10.99.0.1', link: 20 },
        expect.objectContaining({ destination: '10.99.0.0/24', link: 20, protocol: 2, scope: 'link' }),
      ]),
    );
  });

  test('gives up its end: down, renamed, off the bridge, and the name is free at once', async () => {
    const hosts = await testHosts(2);
    const host = hostAt(hosts, 0).host;
    const sandbox = hostAt(hosts, 1).host;
    await bridge(host);
    await attach(host, sandbox, 1);
    await sandbox
      .rtnl()
      .batch([{ op: 'link.set', at: { name: 'eth0' }, change: { name: 'pbdead', up: false, group: GROUP + 1 } }]);
    await host.rtnl().batch([{ op: 'link.set', at: { index: 101 }, change: { master: 0, up: false, group: GROUP + 1 } }]);
    expect(await sandbox.rtnl().link.find({ name: 'eth0' })).toBeUndefined();
    const left = await host.rtnl().link.get({ index: 101 });
    expect([left.master, left.up, left.group]).toEqual([undefined, false, GROUP + 1]);
    // Index 20 is still the dead link's.
    await expect(attach(host, sandbox, 2)).rejects.toMatchObject({ operation: 'link.add', errno: 'EEXIST' });
    await host.rtnl().batchOffThread([{ op: 'link.remove', at: { index: 101 } }]);
    await attach(host, sandbox, 2);
    expect((await sandbox.rtnl().link.list()).map((link) => link.name)).toEqual(['lo', 'eth0']);
  });
});

describe('a batch', () => {
  test("that fails says which operation, why in the kernel's words, and keeps what was before", async () => {
    const { host } = hostAt(await testHosts(1), 0);
    const ops: RtnlOp[] = [
      { op: 'link.add', spec: { kind: 'bridge', name: 'pb-a', index: 50 } },
      { op: 'link.add', spec: { kind: 'veth', name: 'pb-b', peer: { name: 'pb-c' } } },
      { op: 'link.set', at: { name: 'pb-b' }, change: { master: 77 } },
      { op: 'address.add', spec: { link: 77, prefix: gateway } },
    ];
    const failure = host.rtnl().batch(ops);
    await expect(failure).rejects.toMatchObject({ operation: 'link.set', errno: 'EINVAL' });
    await expect(failure).rejects.toThrow('pb-b (operation 3 of 4)');
    expect((await host.rtnl().link.list()).map((link) => link.name).sort()).toEqual(['lo', 'pb-a', 'pb-b', 'pb-c']);
  });

  test('carries the extended text of the kernel', async () => {
    const { host } = hostAt(await testHosts(1), 0);
    const none = host.rtnl().batch([{ op: 'route.add', spec: { family: 4, gateway: parseAddress('192.0.2.1') } }]);
    await expect(none).rejects.toMatchObject({ errno: 'ENETUNREACH', message: expect.stringContaining('gateway') });
    await host.rtnl().batch([{ op: 'link.add', spec: { kind: 'bridge', name: 'pb-a', index: 50 } }]);
    const loop = host.rtnl().batch([{ op: 'link.set', at: { index: 1 }, change: { master: 50 } }]);
    await expect(loop).rejects.toMatchObject({ errno: 'EINVAL' });
  });

  test('longer than what may be in flight is sent in parts, and its failure keeps its number', async () => {
    const { host } = hostAt(await testHosts(1), 0);
    await host.rtnl().batch([
      { op: 'link.add', spec: { kind: 'bridge', name: 'pb-a', index: 50 } },
      { op: 'link.set', at: { index: 50 }, change: { up: true } },
    ]);
    const routes: RtnlOp[] = Array.from({ length: 1000 }, (_, i) => ({
      op: 'route.add',
      spec: { family: 4, destination: parsePrefix(`10.${i >> 8}.${i & 255}.0/24`), link: 50 },
    }));
    await host.rtnl().batch(routes);
    expect((await host.rtnl().route.list({ table: 254, family: 4 })).length).toBe(1000);
    const again = host
      .rtnl()
      .batch([
        ...routes.slice(0, 0),
        { op: 'route.replace', spec: { family: 4, destination: parsePrefix('10.3.231.0/24'), link: 50 } },
        ...routes,
      ]);
    await expect(again).rejects.toThrow('operation 2 of 1001): EEXIST');
  });

  test('refuses names that are none', async () => {
    const { host } = hostAt(await testHosts(1), 0);
    for (const name of ['', 'a/b', 'has space', 'sixteen-letters!', '..']) {
      await expect(host.rtnl().batch([{ op: 'link.add', spec: { kind: 'bridge', name } }])).rejects.toMatchObject({
        code: 'bad_name',
      });
    }
  });
});

describe('tables', () => {
  test('of routes keep table, metric, on-link and next hops apart', async () => {
    const { host, exec } = hostAt(await testHosts(1), 0);
    const rtnl = host.rtnl();
    await rtnl.batch([
      { op: 'link.add', spec: { kind: 'bridge', name: 'pb-a', index: 50 } },
      { op: 'address.add', spec: { link: 50, prefix: parsePrefix('10.1.0.1/24') } },
      { op: 'link.set', at: { index: 50 }, change: { up: true } },
      {
        op: 'route.add',
        spec: {
          family: 4,
          destination: parsePrefix('10.2.0.0/16'),
          gateway: parseAddress('192.0.2.9'),
          link: 50,
          onLink: true,
          table: 1000,
          metric: 7,
        },
      },
      { op: 'route.add', spec: { family: 6, destination: parsePrefix('fd01::/64'), link: 50, metric: 9 } },
    ]);
    expect(await rtnl.route.list({ table: 1000 })).toEqual([
      {
        family: 4,
        destination: '10.2.0.0/16',
        scope: 'global',
        table: 1000,
        protocol: 4,
        metric: 7,
        gateway: '192.0.2.9',
        link: 50,
        onLink: true,
      },
    ]);
    expect(await rtnl.route.list({ family: 6, metric: 9 })).toMatchObject([{ destination: 'fd01::/64', link: 50 }]);
    await exec('ip', ['route', 'add', '10.5.0.0/16', 'nexthop', 'via', '10.1.0.2', 'nexthop', 'via', '10.1.0.3']);
    expect((await rtnl.route.list({ destination: parsePrefix('10.5.0.0/16') })).map((each) => each.gateway)).toEqual([
      '10.1.0.2',
      '10.1.0.3',
    ]);
    await exec('ip', ['route', 'add', '10.6.0.0/16', 'via', 'inet6', 'fe80::1', 'dev', 'pb-a']);
    expect(await rtnl.route.list({ destination: parsePrefix('10.6.0.0/16') })).toMatchObject([{ gateway: 'fe80::1' }]);
    await rtnl.batch([
      { op: 'route.remove', spec: { family: 4, destination: parsePrefix('10.2.0.0/16'), table: 1000 } },
      { op: 'address.remove', spec: { link: 50, prefix: parsePrefix('10.1.0.1/24') } },
    ]);
    expect(await rtnl.route.list({ table: 1000 })).toEqual([]);
    expect(await rtnl.address.list({ prefix: parsePrefix('10.1.0.1/24') })).toEqual([]);
  });

  test('of addresses carry the broadcast address that others expect, and what was made without detection', async () => {
    const { host, exec } = hostAt(await testHosts(1), 0);
    const prefix = makePrefix(parseAddress('fd00::5'), 64);
    await host.rtnl().batch([
      { op: 'link.add', spec: { kind: 'bridge', name: 'pb-a', index: 50 } },
      { op: 'address.add', spec: { link: 50, prefix: parsePrefix('10.1.0.1/24') } },
      { op: 'address.add', spec: { link: 50, prefix, noDad: true } },
    ]);
    expect((await exec('ip', ['addr', 'show', 'pb-a'])).stdout).toContain('10.1.0.1/24 brd 10.1.0.255 scope global');
    expect(await host.rtnl().address.list({ link: 50, prefix })).toEqual([{ link: 50, prefix, noDad: true }]);
  });

  test('of what is on a link that has just gone are empty', async () => {
    const { host } = hostAt(await testHosts(1), 0);
    const rtnl = host.rtnl();
    expect(await rtnl.address.list({ link: 4711 })).toEqual([]);
    expect(await rtnl.neighbour.list({ link: 4711 })).toEqual([]);
    expect(await rtnl.fdb.list({ link: 4711 })).toEqual([]);
  });

  test('of rules and neighbours take back what they were given', async () => {
    const { host } = hostAt(await testHosts(1), 0);
    const rtnl = host.rtnl();
    const rule = { family: 4, priority: 500, table: 4000, mark: 0x10, source: parsePrefix('10.1.0.0/24') } as const;
    const neighbour = { link: 50, address: parseAddress('10.1.0.9'), mac: parseMac('02:00:00:00:00:09') };
    const sixth = { link: 50, address: parseAddress('fd00::9'), mac: parseMac('02:00:00:00:00:09'), state: 'noarp' } as const;
    await rtnl.batch([
      { op: 'link.add', spec: { kind: 'bridge', name: 'pb-a', index: 50, up: true } },
      { op: 'rule.add', spec: rule },
      { op: 'neighbour.replace', spec: neighbour },
      { op: 'neighbour.replace', spec: sixth },
    ]);
    expect(await rtnl.rule.list({ priority: 500 })).toEqual([rule]);
    expect(await rtnl.neighbour.list({ link: 50, mac: neighbour.mac })).toEqual([{ ...neighbour, state: 'permanent' }, sixth]);
    const moved = { ...neighbour, mac: parseMac('02:00:00:00:00:0a'), state: 'stale' } as const;
    await rtnl.batch([{ op: 'neighbour.change', spec: moved }]);
    expect(await rtnl.neighbour.list({ link: 50, address: neighbour.address })).toEqual([moved]);
    const nobody = { ...moved, address: parseAddress('10.1.0.10') };
    await expect(rtnl.batch([{ op: 'neighbour.change', spec: nobody }])).rejects.toMatchObject({ errno: 'ENOENT' });
    expect(await rtnl.neighbour.list({ link: 50, address: nobody.address })).toEqual([]);
    for (const { address } of [nobody, { address: parseAddress('fd00::a') }])
      await expect(rtnl.batch([{ op: 'neighbour.remove', spec: { link: 50, address } }])).rejects.toMatchObject({
        errno: 'ENOENT',
      });
    const away = { link: 4711, address: nobody.address };
    await expect(rtnl.batch([{ op: 'neighbour.remove', spec: away }])).rejects.toMatchObject({ errno: 'ENODEV' });
    await rtnl.batch([
      { op: 'rule.remove', spec: rule },
      { op: 'neighbour.remove', spec: neighbour },
      { op: 'neighbour.remove', spec: sixth },
    ]);
    expect(await rtnl.rule.list({ priority: 500 })).toEqual([]);
    expect(await rtnl.neighbour.list({ link: 50, mac: neighbour.mac })).toEqual([]);
  });

  test('of neighbours where IPv6 is switched off say so of changes, and not of removals', async () => {
    const { host, exec } = hostAt(await testHosts(1), 0);
    const rtnl = host.rtnl();
    await rtnl.batch([{ op: 'link.add', spec: { kind: 'bridge', name: 'pb-a', index: 50, up: true } }]);
    await exec('sysctl', ['-qw', 'net.ipv6.conf.pb-a.disable_ipv6=1']);
    const spec = { link: 50, address: parseAddress('fd00::9'), mac: parseMac('02:00:00:00:00:09') };
    await expect(rtnl.batch([{ op: 'neighbour.change', spec }])).rejects.toMatchObject({ errno: 'EINVAL' });
    await expect(rtnl.batch([{ op: 'neighbour.remove', spec }])).rejects.toMatchObject({ errno: 'ENOENT' });
  });
});

describe('other kinds of links', () => {
  test('a VXLAN link takes forwarding entries with a remote end', async () => {
    const { host, exec } = hostAt(await testHosts(1), 0);
    const rtnl = host.rtnl();
    const entry = { link: 60, mac: parseMac('02:00:00:00:00:0a'), destination: parseAddress('192.0.2.7'), permanent: true };
    await rtnl.batch([
      {
        op: 'link.add',
        spec: {
          kind: 'vxlan',
          name: 'pb-vx',
          index: 60,
          up: true,
          vxlan: { vni: 4097, learning: false, proxy: true, l2miss: true, local: parseAddress('127.0.0.1') },
        },
      },
      { op: 'fdb.replace', spec: entry },
    ]);
    const { stdout } = await exec('ip', ['-d', 'link', 'show', 'pb-vx']);
    expect(stdout).toContain('vxlan id 4097 local 127.0.0.1 ');
    expect(stdout).toContain('dstport 4789');
    for (const word of ['nolearning', 'proxy', 'l2miss']) expect(stdout).toContain(word);
    expect(await rtnl.fdb.list({ link: 60, mac: entry.mac })).toEqual([entry]);
    await rtnl.batch([{ op: 'fdb.remove', spec: entry }]);
    expect(await rtnl.fdb.list({ link: 60, mac: entry.mac })).toEqual([]);
  });

  test.each(['127.0.0.1', '::1'])(
    'a VXLAN link of %s lies in another namespace than its socket, and tells what it was made with',
    async (own) => {
      const hosts = await testHosts(2);
      const [host, inner] = [hostAt(hosts, 0), hostAt(hosts, 1)];
      const local = parseAddress(own);
      const vxlan = { vni: 16_777_215, port: 4790, local, learning: false };
      await host.host.rtnl().batch([{ op: 'link.add', spec: { kind: 'vxlan', name: 'vx0', netns: inner.host, vxlan } }]);
      const rtnl = inner.host.rtnl();
      expect((await rtnl.link.get({ name: 'vx0' })).vxlan).toEqual(vxlan);
      expect((await rtnl.link.get({ name: 'vx0' })).port).toBeUndefined();
      await rtnl.batch([{ op: 'link.set', at: { name: 'vx0' }, change: { up: true } }]);
      expect((await host.exec('ss', ['-lunH'])).stdout).toContain(':4790');
      expect((await inner.exec('ss', ['-lunH'])).stdout).toBe('');
    },
  );

  test('a port of a bridge is told what to learn, to flood and to answer, and tells it', async () => {
    const { host, exec } = hostAt(await testHosts(1), 0);
    const rtnl = host.rtnl();
    await rtnl.batch([
      { op: 'link.add', spec: { kind: 'bridge', name: 'pb-br', index: 50, bridge: { defaultPvid: 0 } } },
      { op: 'link.add', spec: { kind: 'veth', name: 'pb-a', master: 50, peer: { name: 'pb-b' } } },
    ]);
    const at = { name: 'pb-a' };
    const port = async () => (await rtnl.link.get(at)).port;
    expect(await port()).toEqual({ learning: true, flood: true, neighSuppress: false, hairpin: false, isolated: false });
    const silent = { learning: false, flood: false, neighSuppress: true, hairpin: true, isolated: true };
    await rtnl.batch([{ op: 'link.set', at, change: silent }]);
    expect(await port()).toEqual(silent);
    for (const kind of ['flood', 'mcast_flood', 'bcast_flood']) {
      await exec('bridge', ['link', 'set', 'dev', 'pb-a', kind, 'on']);
      expect(await port()).toEqual({ ...silent, flood: true });
      await exec('bridge', ['link', 'set', 'dev', 'pb-a', kind, 'off']);
    }
    await rtnl.batch([{ op: 'link.set', at, change: { learning: true, flood: true, neighSuppress: false } }]);
    expect((await exec('bridge', ['-d', 'link', 'show', 'dev', 'pb-a'])).stdout).toMatch(
      /learning on flood on mcast_flood on bcast_flood on .*neigh_suppress off/,
    );
  });

  test('a macvlan is made in the sandbox on a lower link of the host', async () => {
    const hosts = await testHosts(2);
    const host = hostAt(hosts, 0);
    const sandbox = hostAt(hosts, 1);
    await host.host.rtnl().batch([
      { op: 'link.add', spec: { kind: 'veth', name: 'parent0', index: 60, up: false, peer: { name: 'parent1' } } },
      {
        op: 'link.add',
        spec: {
          kind: 'macvlan',
          name: 'eth0',
          index: 33,
          parent: 60,
          netns: sandbox.host,
          group: GROUP,
          macvlan: { mode: 'private' },
        },
      },
    ]);
    expect(await sandbox.host.rtnl().link.get({ name: 'eth0' })).toMatchObject({
      index: 33,
      kind: 'macvlan',
      parent: 60,
      group: GROUP,
    });
    expect((await sandbox.exec('ip', ['-d', 'link', 'show', 'eth0'])).stdout).toContain('macvlan mode private');
  });

  test('a link that another one made moves to a sandbox under a new name', async () => {
    const hosts = await testHosts(2);
    const host = hostAt(hosts, 0).host;
    const sandbox = hostAt(hosts, 1).host;
    await host
      .rtnl()
      .batch([{ op: 'link.add', spec: { kind: 'veth', name: 'foreign0', group: GROUP, peer: { name: 'foreign1' } } }]);
    await host.rtnl().link.move({ name: 'foreign0' }, sandbox, 'eth5');
    expect(await sandbox.rtnl().link.get({ name: 'eth5' })).toMatchObject({ kind: 'veth', group: GROUP });
    await expect(host.rtnl().link.move({ name: 'foreign0' }, sandbox)).rejects.toMatchObject({ errno: 'ENODEV' });
  });
});
