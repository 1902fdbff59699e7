/** Networks of macvlan on a wire with a router: who reaches whom, how sandboxes lead out, what is refused. */

import { describe, expect, test } from 'vitest';
import { codeOf, messageOf } from '../../src/base/index.ts';
import { House } from './house-lab.ts';
import { ask } from './firewall-lab.ts';
import { LAN, comes, lanHouse, linksIn, onLan, pings, plugIn } from './parent-lab.ts';
import type { TestHost } from './support.ts';

const defaults = async (place: TestHost): Promise<string[]> =>
  (await place.exec('sh', ['-c', 'ip route show default; ip -6 route show default'])).stdout
    .split('\n')
    .map((line) => line.replace(/ proto .*/, '').trim())
    .filter((line) => line !== '');

/** Code and words of a refusal. */
async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return `${codeOf(error)}: ${messageOf(error)}`;
  }
  throw new Error('it was not refused');
}

const macOf = (house: House, sandbox: string): string => house.controller.sandbox(sandbox).endpoints()[0]?.record.mac ?? 'none';

test('sandboxes have addresses and MACs of their own on the wire, and lead out by its router', async () => {
  const house = await lanHouse();
  const before = await house.world();
  await house.network('lan', onLan());
  const a = await house.sandbox('a', [['lan', {}]]);
  await house.sandbox('b', [['lan', {}]]);
  expect(await linksIn(a)).toEqual([`eth0 macvlan ${macOf(house, 'a')}`]);
  expect(await defaults(a)).toEqual([`default via ${LAN.router} dev eth0`, `default via ${LAN.router6} dev eth0`]);
  expect(await comes(a, LAN.far)).toBe(true);
  expect(await comes(a, LAN.far6)).toBe(true);
  expect(await comes(house.outside, house.address('a', 'lan'))).toBe(true);
  expect(await ask(a, house.address('b', 'lan'), 80)).toBe(`b ${house.address('a', 'lan')}`);
  expect(await ask(a, house.address('b', 'lan', 6), 80)).toBe(`b ${house.address('a', 'lan', 6)}`);
  expect((await a.exec('cat', ['/proc/sys/net/ipv6/conf/eth0/accept_ra'])).stdout).toBe('0');
  // The kernel's rule: a parent and its links do not reach each other.
  await house.host.exec('ip', ['addr', 'add', '10.30.0.250/24', 'dev', 'lan0']);
  expect(await pings(house.host, house.address('a', 'lan'))).toBe(false);
  await house.host.exec('ip', ['addr', 'del', '10.30.0.250/24', 'dev', 'lan0']);
  for (const name of ['a', 'b']) await house.controller.deleteSandbox(name, true);
  await house.controller.deleteNetwork('lan');
  expect(await house.world()).toEqual(before);
});

test('a subnet without gateway gives none, and the addresses that would be the gateway are free', async () => {
  const house = await lanHouse();
  await house.network('lan', onLan({}, { enableIPv6: false, ipam: { config: [{ subnet: LAN.v4 }] } }));
  const a = await house.sandbox('a', [['lan', {}]]);
  expect(house.address('a', 'lan')).toBe('10.30.0.1');
  expect(await defaults(a)).toEqual([]);
  expect(await comes(a, LAN.router)).toBe(true);
  // It counts as a way out all the same: names of the outside are asked for.
  expect(house.controller.sandbox('a').endpoints()[0]?.record.join?.wayOut).toEqual({ v4: 'none' });
  // A look finds nothing lost.
  await house.controller.mend();
  expect(house.controller.network('lan').record.degraded).toBeUndefined();
});

test('who has an address next is known at once, and settings of an endpoint win over those of the driver', async () => {
  const house = await lanHouse();
  await house.network('lan', onLan());
  const known = async (): Promise<string> => {
    const { stdout } = await house.outside.exec('sh', ['-c', 'ip neigh show 10.30.0.77; ip neigh show fd30::77']);
    return [...stdout.matchAll(/lladdr (\S+)/g)].map(([, mac]) => mac).join(' ');
  };
  const fixed = { ipv4: '10.30.0.77', ipv6: 'fd30::77' };
  for (const mac of ['02:00:00:00:00:0a', '02:00:00:00:00:0b']) {
    const box = await house.sandbox('box', [
      ['lan', { ...fixed, mac, options: { 'com.docker.network.endpoint.sysctls': 'net.ipv6.conf.IFNAME.accept_ra=1' } }],
    ]);
    if (mac.endsWith('a')) for (const to of [fixed.ipv4, fixed.ipv6]) expect(await comes(house.outside, to)).toBe(true);
    // Nobody has asked for the second one.
    expect(await known()).toBe(`${mac} ${mac}`);
    expect((await box.exec('cat', ['/proc/sys/net/ipv6/conf/eth0/accept_ra'])).stdout).toBe('1');
    await house.controller.deleteSandbox('box', true);
  }
});

test('a template has parent and mode', async () => {
  const house = await lanHouse();
  const { driver: _own, enableIPv6, ...template } = onLan({ macvlan_mode: 'private' });
  await house.network('template', { ...template, ...(enableIPv6 && { enableIPv6 }), configOnly: true });
  await house.network('lan', { driver: 'macvlan', configFrom: 'template' });
  const a = await house.sandbox('a', [['lan', {}]]);
  expect((await a.exec('ip', ['-d', 'link', 'show', 'eth0'])).stdout).toContain('macvlan mode private');
  expect(await comes(a, LAN.router)).toBe(true);
});

test('an internal network leads nowhere', async () => {
  const house = await lanHouse();
  await house.network('lan', onLan({}, { internal: true }));
  const a = await house.sandbox('a', [['lan', {}]]);
  expect(await defaults(a)).toEqual([]);
  expect(await comes(a, LAN.router)).toBe(true);
  expect(await pings(a, LAN.far)).toBe(false);
});

describe('modes', () => {
  // Within the network, to the router, and with a switch that sends frames back where they came from.
  test.each([
    ['bridge', { within: true, out: true, reflected: true }],
    ['private', { within: false, out: true, reflected: false }],
    ['vepa', { within: false, out: true, reflected: true }],
  ])('%s', async (mode, wanted) => {
    const house = await lanHouse();
    await house.network('lan', onLan({ macvlan_mode: mode }));
    const a = await house.sandbox('a', [['lan', {}]]);
    await house.sandbox('b', [['lan', {}]]);
    const b = [house.address('b', 'lan'), house.address('b', 'lan', 6)];
    for (const to of b) expect(await (wanted.within ? comes(a, to) : pings(a, to)), to).toBe(wanted.within);
    expect(await comes(a, LAN.router)).toBe(wanted.out);
    await house.outside.exec('bridge', ['link', 'set', 'dev', 'slan0', 'hairpin', 'on']);
    for (const to of b) expect(await (wanted.reflected ? comes(a, to) : pings(a, to)), to).toBe(wanted.reflected);
  });

  test('passthru: one endpoint, with the MAC of the parent, which nobody else may use', async () => {
    const house = await lanHouse();
    const parent = await house.host.host.rtnl().link.get({ name: 'lan0' });
    await house.network('other', onLan());
    expect(
      await refusal(
        house.network('lan', onLan({ macvlan_mode: 'passthru' }, { ipam: { config: [{ subnet: '10.31.0.0/24' }] } })),
      ),
    ).toBe(
      'parent_in_use: cannot create network lan: network other is already using parent interface lan0, and mode passthru has its parent for itself; use another parent, or a VLAN of it',
    );
    await house.controller.deleteNetwork('other');
    await house.network('lan', onLan({ macvlan_mode: 'passthru' }));
    expect(await refusal(house.network('other', onLan({}, { ipam: { config: [{ subnet: '10.31.0.0/24' }] } })))).toContain(
      'network lan is already using parent interface lan0',
    );
    const a = await house.sandbox('a', [['lan', {}]]);
    expect(await linksIn(a)).toEqual([`eth0 macvlan ${parent.mac}`]);
    expect(await comes(a, LAN.far)).toBe(true);
    expect(await refusal(house.sandbox('b', [['lan', {}]]))).toContain('network_full: parent lan0 is in mode passthru');
    await house.controller.deleteSandbox('a', true);
    const b = await house.sandbox('b', [['lan', { mac: '02:00:00:00:00:99' }]]);
    expect(await linksIn(b)).toEqual(['eth0 macvlan 02:00:00:00:00:99']);
    expect(await comes(b, LAN.router)).toBe(true);
    await house.controller.deleteSandbox('b', true);
    // The parent has its own MAC again.
    expect((await house.host.host.rtnl().link.get({ name: 'lan0' })).mac).toBe(parent.mac);
  });
});

test('networks share a parent, and several subnets of a family are one network', async () => {
  const house = await lanHouse();
  await house.network(
    'one',
    onLan(
      {},
      { enableIPv6: false, ipam: { config: [{ subnet: '10.31.0.0/30' }, { subnet: '10.32.0.0/24', gateway: '10.32.0.254' }] } },
    ),
  );
  await house.network('two', onLan());
  const places = [];
  for (const name of ['a', 'b', 'c']) places.push(await house.sandbox(name, [['one', {}]]));
  expect(['a', 'b', 'c'].map((name) => house.address(name, 'one'))).toEqual(['10.31.0.1', '10.31.0.2', '10.32.0.1']);
  expect(await Promise.all(places.map(defaults))).toEqual([[], [], ['default via 10.32.0.254 dev eth0']]);
  expect(await ask(places[0] as TestHost, '10.31.0.2', 80)).toBe('b 10.31.0.1');
  const d = await house.sandbox('d', [['two', {}]]);
  expect(await comes(d, LAN.far)).toBe(true);
  const e = await house.sandbox('e', [['one', { ipv4: '10.32.0.77' }]]);
  expect(await defaults(e)).toEqual(['default via 10.32.0.254 dev eth0']);
});

test('networks share subnet and router with ranges of their own, over restarts, and no sandbox is the router', async () => {
  const house = await lanHouse();
  const part = (range: string) =>
    onLan({}, { enableIPv6: false, ipam: { config: [{ subnet: LAN.v4, range, gateway: LAN.router }] } });
  await house.network('one', part('10.30.0.32/27'));
  await house.network('two', part('10.30.0.248/29'));
  await house.start();
  for (const net of ['one', 'two']) {
    expect(house.controller.network(net).record.degraded).toBeUndefined();
    expect(await comes(await house.sandbox(net, [[net, {}]]), LAN.far)).toBe(true);
  }
  await house.controller.deleteSandbox('one', true);
  await house.controller.deleteNetwork('one');
  expect(await refusal(house.sandbox('three', [['two', { ipv4: LAN.router }]]))).toMatch(/^address_in_use: /);
  // .248 to .253, and .254 is the router.
  const names = ['a', 'b', 'c', 'd', 'e'];
  for (const name of names) await house.sandbox(name, [['two', {}]]);
  expect(names.map((name) => house.address(name, 'two'))).not.toContain(LAN.router);
  expect(await refusal(house.sandbox('full', [['two', {}]]))).toMatch(/^no_free_address: /);
});

test('the embedded resolver answers for names of the network; ports are not published, and that is said', async () => {
  const house = await lanHouse();
  await house.network('lan', onLan());
  const { warnings } = await house.controller.createSandbox({
    name: 'a',
    networks: [['lan', { aliases: ['front'] }]],
    portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] },
  });
  expect(warnings).toEqual([
    'Published ports are discarded: lan (macvlan) has no port mapping, its sandboxes are reached by their own addresses',
  ]);
  const b = await house.sandbox('b', [['lan', {}]]);
  const { stdout } = await b.exec('dig', ['+short', '+timeout=2', '@127.0.0.11', 'front']);
  expect(stdout).toBe(house.address('a', 'lan'));
  expect(house.controller.sandbox('a').record.held).toEqual([]);
});

test('with a bridge network beside it, ports are published while that one is the gateway', async () => {
  const house = await lanHouse();
  await house.network('alan', onLan());
  await house.network('bnet');
  await house.sandbox('web', [['bnet', {}]], { portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] } });
  const through = (): string[] =>
    house.controller
      .sandbox('web')
      .endpoints()
      .filter((e) => e.record.bindings.length > 0)
      .map((e) => e.network.name);
  expect(through()).toEqual(['bnet']);
  const web = house.inside('web');
  await house.controller.connect('alan', 'web', {});
  expect(through()).toEqual([]);
  expect(await defaults(web)).toEqual([`default via ${LAN.router} dev eth1`, `default via ${LAN.router6} dev eth1`]);
  await house.controller.disconnect('alan', 'web', false);
  expect(through()).toEqual(['bnet']);
  await house.controller.connect('alan', 'web', { gwPriority: -1 });
  expect(through()).toEqual(['bnet']);
});

test('sixty-four endpoints come together and go together', { timeout: 60_000 }, async () => {
  const house = await lanHouse();
  await house.network('lan', onLan());
  const names = Array.from({ length: 64 }, (_, i) => `box${i}`);
  await Promise.all(names.map((name) => house.controller.createSandbox({ name, networks: [['lan', {}]] })));
  const [first, last] = [house.inside('box0'), house.inside('box63')];
  expect(await comes(first, house.address('box63', 'lan'))).toBe(true);
  expect(await comes(last, LAN.far6)).toBe(true);
  expect(new Set(names.map((name) => macOf(house, name))).size).toBe(64);
  await Promise.all(names.map((name) => house.controller.deleteSandbox(name, true)));
  await house.controller.deleteNetwork('lan');
  expect((await linksIn(house.host)).filter((line) => line.includes('macvlan'))).toEqual([]);
});

test('what cannot work is refused when the network is created, and nothing is left', async () => {
  const house = await lanHouse();
  await house.host.exec('sh', [
    '-ec',
    'ip link add br9 type bridge; ip link add p9 type veth peer name q9; ip link set p9 master br9',
  ]);
  const before = await house.world();
  const create = (options: Record<string, string>, rest = {}): Promise<string> =>
    refusal(house.network('lan', onLan(options, rest)));
  expect(await create({ parent: 'lo' })).toMatch(/^bad_option: .*loopback interface is not a valid macvlan parent link/);
  expect(await create({ parent: 'nope' })).toMatch(
    /^bad_option: invalid subinterface vlan name nope, example formatting is eth0.10: .*lan0/,
  );
  expect(await create({ parent: 'eth0.1.2' })).toMatch(/^bad_option: invalid subinterface vlan name eth0.1.2/);
  expect(await create({ parent: 'nope.5' })).toMatch(
    /^bad_option: -o parent interface was not found on the host: nope; this host has .*lan0/,
  );
  for (const id of ['0', '4095', 'x', '-1', '1e3'])
    expect(await create({ parent: `lan0.${id}` })).toMatch(/^bad_option: vlan id must be between 1-4094/);
  expect(await create({ parent: 'averyveryverylongname' })).toMatch(/^bad_option: .*at most 15 characters/);
  expect(await create({ parent: 'a/b' })).toMatch(/^bad_option: .*name a link of this host/);
  expect(await create({ macvlan_mode: 'brigde' })).toMatch(
    /^bad_option: .*'bridge' mode is the macvlan driver default; use bridge, private, vepa, passthru/,
  );
  expect(await create({ parent: 'p9' })).toBe('parent_in_use: parent p9 is a port of bridge br9: give -o parent=br9 instead');
  expect(await create({ macvlan_mode: 'private', host_access: 'true' })).toMatch(
    /^bad_option: .*keeps links on one parent apart/,
  );
  expect(await create({ host_access: 'maybe' })).toMatch(/^bad_option: .*true or false/);
  expect(await create({}, { ipam: { driver: 'null' } })).toMatch(/^bad_subnet: ipv4 pool is empty/);
  expect(await create({}, { ipam: { config: [{ subnet: '127.0.0.0/24' }] } })).toMatch(/^bad_subnet: /);
  expect(await house.world()).toEqual(before);
});

test('what this kernel has no module for is said by its name, and nothing is left', async () => {
  const house = await lanHouse();
  const before = await house.world();
  const lacks = async (kind: string): Promise<boolean> =>
    (await house.host.exec('sh', ['-c', `ip link add probe9 ${kind}`], { reject: false })).exitCode !== 0;
  const cases = [
    ['type dummy', { parent: '' }, {}, 'the kernel lacks dummy (module dummy)'],
    ['link lan0 type vlan id 9', { parent: 'lan0.9' }, {}, 'the kernel lacks vlan (module 8021q)'],
    ['link lan0 type ipvlan', {}, { driver: 'ipvlan' }, 'the kernel lacks ipvlan (module ipvlan)'],
  ] as const;
  let met = 0;
  for (const [kind, options, rest, words] of cases) {
    if (!(await lacks(kind))) {
      // Such a kernel has the tests of its own for this.
      await house.host.exec('ip', ['link', 'del', 'probe9']);
      await house.network('lan', onLan(options, rest));
      await house.controller.deleteNetwork('lan');
    } else {
      met++;
      expect(await refusal(house.network('lan', onLan(options, rest)))).toContain(`kernel_lacks: ${words}`);
    }
  }
  process.stdout.write(`${met} of ${cases.length} kinds are missing here\n`);
  expect(await house.world()).toEqual(before);
});

test('a bridge of ours may be the parent, and is its own network’s when the other one goes or is refused', async () => {
  const house = await lanHouse();
  const id = await house.network('net');
  const a = await house.sandbox('a', [['net', {}]]);
  const parent = `br-${id.slice(0, 12)}`;
  const before = await house.world();
  const rest = { enableIPv6: false, ipam: { config: [{ subnet: '10.31.0.0/24' }] } };
  await house.network('on', onLan({ parent }, rest));
  const b = await house.sandbox('b', [['on', { ipv4: '10.31.0.9' }]]);
  await a.exec('ip', ['addr', 'add', '10.31.0.8/24', 'dev', 'eth0']);
  expect(await comes(a, '10.31.0.9')).toBe(true);
  expect(await comes(b, '10.31.0.8')).toBe(true);
  await house.controller.deleteSandbox('b', true);
  await house.controller.deleteNetwork('on');
  // A creation that fails with the parent in hand.
  await house.host.exec('ip', ['link', 'add', 'own9', 'link', parent, 'type', 'macvlan', 'mode', 'passthru']);
  expect(await refusal(house.network('on', onLan({ parent }, rest)))).toMatch(/^parent_in_use: /);
  await house.host.exec('ip', ['link', 'del', 'own9']);
  await a.exec('ip', ['addr', 'del', '10.31.0.8/24', 'dev', 'eth0']);
  expect(await house.world()).toEqual(before);
});

test('a parent that is no Ethernet link is refused in words', async () => {
  const house = await lanHouse();
  await house.host.exec('ip', ['tuntap', 'add', 'tun9', 'mode', 'tun']);
  expect(await refusal(house.network('lan', onLan({ parent: 'tun9' })))).toMatch(
    /^parent_in_use: parent tun9 takes no such link: it is no Ethernet link/,
  );
});

test('a MAC that is in use on the parent is refused', async () => {
  const house = await lanHouse();
  await house.network('lan', onLan());
  await house.sandbox('a', [['lan', { mac: '02:00:00:00:00:07' }]]);
  expect(await refusal(house.sandbox('b', [['lan', { mac: '02:00:00:00:00:07' }]]))).toMatch(
    /^address_in_use: MAC 02:00:00:00:00:07 is in use on parent lan0/,
  );
  expect(house.controller.sandboxes().map((s) => s.name)).toEqual(['a']);
});

test.each([
  ['lan0', 'lan0'],
  ['mylan', 'lan0'],
  ['lan0', 'mylan'],
])(
  'a network of the other driver on the parent is refused before the kernel is asked, after a restart too: %s and %s',
  async (one, other) => {
    const house = await lanHouse();
    await house.host.exec('ip', ['link', 'property', 'add', 'dev', 'lan0', 'altname', 'mylan']);
    await house.network('first', onLan({ parent: one }));
    const ipam = { config: [{ subnet: '10.31.0.0/24' }] };
    const second = (): Promise<string> =>
      house.network('second', { driver: 'ipvlan', ipam, options: { parent: other, ipvlan_mode: 'l3' } });
    const wanted =
      /^parent_in_use: .*network first is already using parent interface lan0, and it is of driver macvlan: .* not both/;
    expect(await refusal(second())).toMatch(wanted);
    await house.start();
    expect(await refusal(second())).toMatch(wanted);
    expect(house.controller.networks().map((net) => net.name)).not.toContain('second');
    // The subnet is free, and so is the parent for another one of its own kind.
    await house.network('second', onLan({}, { enableIPv6: false, ipam }));
  },
);

test('a parent of ipvlan or of a passthru of somebody else has no room, which is seen at once', async () => {
  const house = await lanHouse();
  await house.host.exec('ip', ['link', 'add', 'own9', 'link', 'lan0', 'type', 'macvlan', 'mode', 'passthru']);
  expect(await refusal(house.network('lan', onLan()))).toMatch(/^parent_in_use: parent lan0 takes no such link/);
  await house.host.exec('ip', ['link', 'del', 'own9']);
  await house.host.exec('ip', ['link', 'add', 'own9', 'link', 'lan0', 'type', 'macvlan', 'mode', 'bridge']);
  expect(await refusal(house.network('lan', onLan({ macvlan_mode: 'passthru' })))).toMatch(/^parent_in_use: /);
  await house.network('lan', onLan());
  expect((await linksIn(house.host)).some((line) => line.startsWith('own9 '))).toBe(true);
  void plugIn;
});
