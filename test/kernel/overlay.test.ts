/** Overlay networks over two and three hosts: who reaches whom, what is on the wire, and what is not. */

import { describe, expect, test } from 'vitest';
import { codeOf, messageOf } from '../../src/base/index.ts';
import type { DriverNetwork } from '../../src/driver/index.ts';
import { ask, serve } from './firewall-lab.ts';
import { eventually } from './keeper-lab.ts';
import { type Guest, OverlayLab, addressOf, ctx, isSilent, pings, underlay } from './overlay-lab.ts';

const DUAL = { v4: ['10.20.0.0/24'], v6: ['fd20::/64'] };

/** Code and words of a refusal. */
async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return `${codeOf(error)}: ${messageOf(error)}`;
  }
  throw new Error('it was not refused');
}

const vniOf = (net: DriverNetwork): number => (net.state as { vnis: number[] }).vnis[0] as number;

async function pair(lab: OverlayLab, net: DriverNetwork): Promise<{ a: Guest; b: Guest }> {
  const a = await lab.host(0).guest(net, { v4: '10.20.0.2/24', v6: 'fd20::2/64' });
  const b = await lab.host(1).guest(net, { v4: '10.20.0.3/24', v6: 'fd20::3/64' });
  await lab.tell(net);
  return { a, b };
}

/** What the hosts themselves say on the underlay, to find each other. */
const UNDERLAY_ONLY = /who-has 192\.0\.2|Reply 192\.0\.2|who has 2001:db8:7|tgt is 2001:db8:7|> ff02::/;

describe.each([
  { family: 4, overhead: 50, port: 4789 },
  { family: 6, overhead: 70, port: 4790 },
] as const)('an underlay of IPv$family', ({ family, overhead, port }) => {
  test('sandboxes on two hosts reach each other in both families, and nothing but their own packets is on the wire', async () => {
    const lab = await OverlayLab.open({ family, port });
    const net = await lab.network(DUAL);
    const { a, b } = await pair(lab, net);
    const capture = await lab.capture();
    for (const inside of [4, 6] as const) expect(await pings(a, addressOf(b, inside))).toBe(true);
    const frames = (await capture.end()).split('\n').filter((line) => /^\d\d:/.test(line) && !UNDERLAY_ONLY.test(line));
    expect(frames).toHaveLength(4);
    const text = await captured(lab, async () => void (await pings(b, addressOf(a, 4))));
    const [there, back] = [`${underlay(1, family)}.`, `${underlay(0, family)}.`];
    expect(text).toMatch(new RegExp(`${there}\\d+ > ${back}${port}: .*vni ${vniOf(net)}`));
    expect(text).toMatch(new RegExp(`${back}\\d+ > ${there}${port}: .*vni ${vniOf(net)}`));
  });

  test('what fits the MTU inside crosses whole, and what does not is refused in the sandbox', async () => {
    const lab = await OverlayLab.open({ family, port });
    const net = await lab.network(DUAL);
    const { a, b } = await pair(lab, net);
    const mtu = 1500 - overhead;
    expect((await a.place.netns.rtnl().link.get({ name: 'eth0' })).mtu).toBe(mtu);
    const text = await captured(lab, async () => {
      // ICMP and its IP header are 28 octets, 48 with IPv6.
      expect(await pings(a, addressOf(b, 4), mtu - 28)).toBe(true);
      expect(await pings(a, addressOf(b, 6), mtu - 48)).toBe(true);
      expect(await isSilent(a, addressOf(b, 4), mtu - 27)).toBe(true);
    });
    expect(text).not.toMatch(/frag|flags \[\+\]|offset [1-9]/);
    expect(text).toContain(`vni ${vniOf(net)}`);
  });

  test('an address that nobody has is asked for here only: not one frame leaves the host', async () => {
    const lab = await OverlayLab.open({ family, port });
    const net = await lab.network(DUAL);
    const { a, b } = await pair(lab, net);
    expect(await pings(a, addressOf(b, 4))).toBe(true);
    const text = await captured(lab, async () => {
      expect(await isSilent(a, '10.20.0.77')).toBe(true);
      expect(await isSilent(a, 'fd20::77')).toBe(true);
      // Broadcast, multicast, and a MAC that is nobody's.
      await a.exec('ping', ['-b', '-c', '1', '-W', '1', '10.20.0.255'], { reject: false });
      await a.exec('ping', ['-c', '1', '-W', '1', 'ff02::1%eth0'], { reject: false });
      await a.exec('ip', ['neigh', 'replace', '10.20.0.78', 'lladdr', '02:42:0a:14:00:4e', 'dev', 'eth0']);
      expect(await isSilent(a, '10.20.0.78')).toBe(true);
    });
    expect(text.split('\n').filter((line) => line.includes('vni'))).toEqual([]);
  });
});

async function captured(lab: OverlayLab, work: () => Promise<void>): Promise<string> {
  const capture = await lab.capture('udp');
  await work();
  return capture.end();
}

test('three hosts: any sandbox reaches any other, TCP flows, and two networks of one subnet are apart', async () => {
  const lab = await OverlayLab.open({ hosts: 3 });
  const [red, blue] = [await lab.network(), await lab.network()];
  const guests: Guest[] = [];
  for (const i of [0, 1, 2]) guests.push(await lab.host(i).guest(red, { v4: `10.20.0.${i + 2}/24` }));
  const other = await lab.host(0).guest(blue, { v4: '10.20.0.9/24' });
  const twin = await lab.host(1).guest(blue, { v4: '10.20.0.2/24' });
  for (const net of [red, blue]) await lab.tell(net);
  for (const from of guests) for (const to of guests) expect(await pings(from, addressOf(to, 4))).toBe(true);
  expect(await isSilent(other, '10.20.0.3')).toBe(true);
  expect(await isSilent(guests[1] as Guest, '10.20.0.9')).toBe(true);
  // The address is a sandbox of each network: each answers its own.
  expect(await pings(other, addressOf(twin, 4))).toBe(true);
  const server = guests[2] as Guest;
  serve(server.box, 'x'.repeat(3_000_000), 80);
  expect((await ask((guests[0] as Guest).box, addressOf(server, 4), 80)).length).toBe(3_000_000 + ' 10.20.0.2'.length);
});

test('several subnets: each endpoint reaches those of the others by its own gateway, on its own and on another host', async () => {
  const lab = await OverlayLab.open();
  const net = await lab.network({
    v4: ['10.20.0.0/24', '10.21.0.0/24'],
    v6: ['fd20::/64', 'fd21::/64'],
    options: { 'com.docker.network.driver.overlay.vxlanid_list': '300,301' },
  });
  const a = await lab.host(0).guest(net, { v4: '10.20.0.2/24', v6: 'fd20::2/64' });
  const near = await lab.host(0).guest(net, { v4: '10.21.0.2/24', v6: 'fd21::2/64' });
  const far = await lab.host(1).guest(net, { v4: '10.21.0.3/24', v6: 'fd21::3/64' });
  await lab.tell(net);
  expect(a.routes).toEqual([
    { destination: '10.21.0.0/24', nextHop: '10.20.0.1' },
    { destination: 'fd21::/64', nextHop: 'fd20::1' },
  ]);
  const text = await captured(lab, async () => {
    for (const to of [near, far]) for (const family of [4, 6] as const) expect(await pings(a, addressOf(to, family))).toBe(true);
  });
  // There on the wire of the other's subnet, back on that of its own.
  expect([...new Set([...text.matchAll(/vni (\d+)/g)].map(([, vni]) => vni))].sort()).toEqual(['300', '301']);
});

test('IPv6 alone inside, and an MTU that the network asks for', async () => {
  const lab = await OverlayLab.open();
  const net = await lab.network({ v4: [], v6: ['fd20::/64'], options: { 'com.docker.network.driver.mtu': '1300' } });
  const a = await lab.host(0).guest(net, { v6: 'fd20::a:2/64' });
  const b = await lab.host(1).guest(net, { v6: 'fd20::a:3/64' });
  await lab.tell(net);
  expect(a.ep.iface.mac).toBe('02:00:00:0a:00:02');
  expect(await pings(a, addressOf(b, 6))).toBe(true);
  expect((await a.place.netns.rtnl().link.get({ name: 'eth0' })).mtu).toBe(1300);
});

test('the namespace is there with the first endpoint, with its socket in the host, and nothing is left after the last one', async () => {
  const lab = await OverlayLab.open();
  const [host] = [lab.host(0)];
  const net = await lab.network(DUAL);
  expect(host.spaces()).toEqual([]);
  const a = await host.guest(net, { v4: '10.20.0.2/24', v6: 'fd20::2/64' });
  const b = await host.guest(net, { v4: '10.20.0.3/24', v6: 'fd20::3/64' });
  expect(await pings(a, addressOf(b, 4))).toBe(true);
  expect(await pings(a, '10.20.0.1')).toBe(true);
  expect(host.spaces()).toHaveLength(1);
  expect((await host.at.exec('ss', ['-lunH'])).stdout).toContain(':4789');
  expect(await host.inside(net, 'ip -d link show vx0')).toMatch(/nolearning/);
  expect(await host.inside(net, 'bridge -d link show dev vx0')).toMatch(
    /learning off flood off mcast_flood off bcast_flood off .*neigh_suppress on/,
  );
  expect(await host.inside(net, 'ip -d link show br0')).not.toMatch(/vlan_default_pvid [1-9]/);
  await host.leave(a);
  expect(host.spaces()).toHaveLength(1);
  await host.leave(b);
  expect(host.spaces()).toEqual([]);
  expect((await host.at.exec('ss', ['-lunH'])).stdout).toBe('');
  expect((await host.at.host.rtnl().link.list()).map(({ name }) => name).sort()).toEqual(['lo', 'u0']);
});

test('without an underlay address there is no tunnel and nothing listens; with one there is, and another one moves it', async () => {
  const lab = await OverlayLab.open();
  const host = lab.host(0);
  host.vtep = undefined;
  const net = await lab.network();
  const a = await host.guest(net, { v4: '10.20.0.2/24' });
  const b = await host.guest(net, { v4: '10.20.0.3/24' });
  const far = await lab.host(1).guest(net, { v4: '10.20.0.4/24' });
  await lab.tell(net);
  expect(await pings(a, addressOf(b, 4))).toBe(true);
  expect((await host.at.exec('ss', ['-lunH'])).stdout).toBe('');
  expect(await host.observe(net)).toBe(0);
  for (const family of [4, 6] as const) {
    for (const [i, one] of lab.hosts.entries()) {
      const isOther = one.vtep !== underlay(i, family);
      one.vtep = underlay(i, family);
      expect(await one.observe(net)).toBe(isOther ? 1 : 0);
      expect(await one.restore(net)).toBeUndefined();
      expect(await one.observe(net)).toBe(0);
    }
    const moved = (guest: Guest, i: number) => [{ ...guest.peer, vtep: underlay(i, family) }];
    await host.cluster.setPeers(ctx, net, moved(far, 1), true);
    await lab.host(1).cluster.setPeers(ctx, net, [...moved(a, 0), ...moved(b, 0)], true);
    expect(await pings(a, addressOf(far, 4))).toBe(true);
  }
});

describe('refused', () => {
  const OPTION = 'com.docker.network.driver.overlay.vxlanid_list';

  test.each([
    [{ [OPTION]: '0' }, 'bad_option: invalid value "0"'],
    [{ [OPTION]: '16777216' }, 'use whole numbers from 1 to 16777215'],
    [{ [OPTION]: '5,5' }, 'an id is named twice'],
    [{ [OPTION]: '5,6' }, 'the network has 1 subnets'],
    [{ [OPTION]: '5,' }, 'bad_option'],
    [{ 'com.docker.network.driver.mtu': '1279' }, 'the least is 1280'],
  ] as const)('%j: %s', async (options, words) => {
    const lab = await OverlayLab.open({ hosts: 1 });
    expect(await refusal(lab.network({ ...DUAL, options }))).toContain(words);
  });

  test('a VXLAN id of another network, as many subnets as do not pair, addresses of two wires', async () => {
    const lab = await OverlayLab.open({ hosts: 1 });
    await lab.network({ options: { [OPTION]: '700' } });
    expect(await refusal(lab.network({ options: { [OPTION]: '700' } }))).toContain(
      "number_taken: cannot create network over: VXLAN id 700 is another network's",
    );
    expect(await refusal(lab.network({ v4: ['10.1.0.0/24', '10.2.0.0/24'], v6: ['fd01::/64'] }))).toContain('bad_subnet');
    const net = await lab.network({ v4: ['10.1.0.0/24', '10.2.0.0/24'], v6: ['fd01::/64', 'fd02::/64'] });
    expect(await refusal(lab.host(0).guest(net, { v4: '10.1.0.2/24', v6: 'fd02::2/64' }))).toContain(
      'address_out_of_range: addresses 10.1.0.2/24 and fd02::2/64 are not of one wire',
    );
  });

  test('a VXLAN id that a link of the host has, which is named and stays; the port, when somebody else has it', async () => {
    const lab = await OverlayLab.open({ hosts: 1 });
    const { at } = lab.host(0);
    await at.exec('sh', ['-ec', 'ip link add theirs type vxlan id 800 dstport 4789 local 192.0.2.1; ip link set theirs up']);
    const net = await lab.network({ options: { [OPTION]: '800' } });
    expect(await refusal(lab.host(0).guest(net, { v4: '10.20.0.2/24' }))).toContain(
      'number_taken: network over cannot have VXLAN id 800 on this host: link theirs of the host has it',
    );
    expect((await at.host.rtnl().link.get({ name: 'theirs' })).up).toBe(true);
    expect(lab.host(0).spaces()).toEqual([]);
    await at.exec('ip', ['link', 'del', 'theirs']);
    const socket = at.exec('nc', ['-u', '-l', '-p', '4789'], { reject: false });
    await eventually(async () => ((await at.exec('ss', ['-lunH'])).stdout.includes(':4789') ? true : undefined), 'nc listens');
    expect(await refusal(lab.host(0).guest(net, { v4: '10.20.0.2/24' }))).toContain('port_taken: UDP port 4789');
    expect(lab.host(0).spaces()).toEqual([]);
    socket.kill('SIGTERM');
    await socket;
    await lab.host(0).guest(net, { v4: '10.20.0.2/24' });
  });

  test('IPv6 over an underlay that is too narrow for it', async () => {
    const lab = await OverlayLab.open({ hosts: 1, mtu: 1320 });
    const net = await lab.network(DUAL);
    expect(await refusal(lab.host(0).guest(net, { v4: '10.20.0.2/24', v6: 'fd20::2/64' }))).toContain(
      'bad_option: the underlay leaves 1270 octets',
    );
    expect(lab.host(0).spaces()).toEqual([]);
  });
});

test('a tunnel of ours that was left over gives its VXLAN id up', async () => {
  const lab = await OverlayLab.open({ hosts: 1 });
  const host = lab.host(0);
  const net = await lab.network();
  const old = await host.guest(net, { v4: '10.20.0.2/24' });
  expect(host.spaces()).toHaveLength(1);
  // The same ids under another record: what an interrupted removal and a restored store may leave.
  const again: DriverNetwork = { ...net, id: net.id.split('').reverse().join('') as DriverNetwork['id'] };
  await host.guest(again, { v4: '10.20.0.3/24' });
  expect(await host.inside(net, 'ip -o link show type vxlan')).toBe('');
  expect(await host.inside(again, 'ip -o link show type vxlan')).toContain('vx0');
  await host.leave(old);
});
