/** Entries for peers: what a wish comes to in the kernel, who gets an address, and how entries that others changed are mended. */

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { EndpointId } from '../../src/base/index.ts';
import type { DriverNetwork, Peer } from '../../src/driver/index.ts';
import { type Guest, type OverlayHost, OverlayLab, addressOf, ctx, isSilent, pings, underlay } from './overlay-lab.ts';

/** Batches and operations that went through namespaces opened by their pins. */
const sent = vi.hoisted(() => ({ batches: 0, operations: 0, announced: 0 }));
vi.mock(import('../../src/kernel/index.ts'), async (original) => {
  const real = await original();
  return {
    ...real,
    announce: (...args) => {
      sent.announced++;
      real.announce(...args);
    },
    openNetns: (path) => {
      const netns = real.openNetns(path);
      const rtnl = netns.rtnl.bind(netns);
      netns.rtnl = () => {
        const opened = rtnl();
        return new Proxy(opened, {
          get: (target, key) => {
            const value: unknown = Reflect.get(target, key, target);
            if (typeof value !== 'function') return value;
            if (key !== 'batch') return value.bind(target) as unknown;
            return (ops: readonly unknown[]) => {
              sent.batches++;
              sent.operations += ops.length;
              return target.batch(ops as Parameters<typeof target.batch>[0]);
            };
          },
        });
      };
      return netns;
    },
  };
});

let lab: OverlayLab;
let net: DriverNetwork;
let host: OverlayHost;
let a: Guest;
beforeEach(async () => {
  lab = await OverlayLab.open();
  // What endpoints announce by themselves is not counted.
  const options = { 'com.docker.network.advertise_addr_nmsgs': '0' };
  net = await lab.network({ v4: ['10.20.0.0/16'], v6: ['fd20::/64'], options });
  host = lab.host(0);
  a = await host.guest(net, { v4: '10.20.0.2/16', v6: 'fd20::2/64' });
});
afterEach(() => vi.restoreAllMocks());

/** What the kernel has for peers, as others list it. */
async function entries(at: OverlayHost = host): Promise<string[]> {
  const text = await at.inside(
    net,
    'ip -4 neigh show dev br0 nud permanent; ip -6 neigh show dev br0 nud permanent; bridge fdb show dev vx0',
  );
  return text
    .split('\n')
    .map((line) => line.replace(/ link-netnsid \d+| sticky/g, '').trim())
    .filter((line) => line !== '' && !line.endsWith('master br0 permanent'))
    .sort();
}

const entriesOf = (mac: string, vtep: string, ...addresses: string[]): string[] =>
  [
    ...addresses.map((ip) => `${ip} lladdr ${mac} PERMANENT`),
    `${mac} dst ${vtep} self permanent`,
    `${mac} master br0 static`,
  ].sort();

const peer = (n: number, over: Partial<Peer> = {}): Peer => ({
  endpoint: `${n}`.padStart(64, '0') as EndpointId,
  mac: `02:42:0a:14:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}` as Peer['mac'],
  v4: `10.20.${n >> 8}.${n & 255}/16` as NonNullable<Peer['v4']>,
  vtep: underlay(1, 4),
  ...over,
});

const set = (peers: readonly Peer[], complete = true) => host.cluster.setPeers(ctx, net, peers, complete);
const audit = () => host.cluster.audit(ctx, net);

test('a wish becomes entries, another wish changes only what is other, the same wish nothing', async () => {
  const first = peer(50, { v6: 'fd20::50/64' as NonNullable<Peer['v6']> });
  expect(await set([first])).toEqual({ added: 4, changed: 0, removed: 0, ignored: 0 });
  expect(await entries()).toEqual(entriesOf(first.mac, underlay(1, 4), '10.20.0.50', 'fd20::50'));
  expect(await set([first])).toEqual({ added: 0, changed: 0, removed: 0, ignored: 0 });
  const elsewhere = { ...first, vtep: underlay(5, 4) };
  expect(await set([elsewhere, peer(51)])).toEqual({ added: 3, changed: 1, removed: 0, ignored: 0 });
  expect(await set([peer(51)])).toEqual({ added: 0, changed: 0, removed: 4, ignored: 0 });
  expect(await entries()).toEqual(entriesOf(peer(51).mac, underlay(1, 4), '10.20.0.51'));
  expect(await set([])).toEqual({ added: 0, changed: 0, removed: 3, ignored: 0 });
  expect(await entries()).toEqual([]);
});

test('single peers change at the cost of the change, also when somebody has disturbed their entries, or another has their address', async () => {
  const change = (put: readonly Peer[], ...remove: Peer[]) =>
    host.cluster.changePeers(ctx, net, { put, remove: remove.map(({ endpoint }) => endpoint) });
  await set([peer(50), peer(51)]);
  const moved = peer(70, { v4: '10.20.0.50/16' as NonNullable<Peer['v4']>, mac: peer(50).mac, vtep: underlay(5, 4) });
  expect(await change([moved], peer(50))).toEqual({ added: 0, changed: 1, removed: 0, ignored: 0 });
  expect(await change([peer(52)], peer(51))).toEqual({ added: 3, changed: 0, removed: 3, ignored: 0 });
  expect(await change([peer(52)], peer(51))).toEqual({ added: 0, changed: 0, removed: 0, ignored: 0 });
  await host.inside(net, `bridge fdb del ${peer(52).mac} dev vx0 master`);
  await change([], peer(52));
  expect(await entries()).toEqual(entriesOf(moved.mac, moved.vtep, '10.20.0.50'));
  // The first one told keeps the address while it is there.
  const second = peer(80, { v4: '10.20.0.50/16' as NonNullable<Peer['v4']> });
  await change([second]);
  expect(await entries()).toEqual(entriesOf(moved.mac, moved.vtep, '10.20.0.50'));
  await change([], moved);
  expect(await entries()).toEqual(entriesOf(second.mac, second.vtep, '10.20.0.50'));
  await change([], second);
  expect(await entries()).toEqual([]);
});

test('while the wish is not complete nothing is removed, also not by a driver that knows nothing yet', async () => {
  await set([peer(50), peer(51)]);
  const both = await entries();
  expect(await set([peer(51)], false)).toMatchObject({ removed: 0 });
  host.restart();
  expect(await set([peer(52)], false)).toMatchObject({ added: 3, removed: 0 });
  expect(await entries()).toEqual([...both, ...entriesOf(peer(52).mac, underlay(1, 4), '10.20.0.52')].sort());
  expect(await audit()).toEqual({ restored: 0, removed: 0, left: 0 });
  expect(await host.restore(net)).toBeUndefined();
  expect(await entries()).toHaveLength(9);
  expect(await set([peer(51)], true)).toMatchObject({ removed: 6 });
  expect(await entries()).toEqual(entriesOf(peer(51).mac, underlay(1, 4), '10.20.0.51'));
});

test('of several peers with one address the first told has it, and the next when it goes', async () => {
  const [one, two] = [peer(50), peer(60, { v4: '10.20.0.50/16' as NonNullable<Peer['v4']>, vtep: underlay(2, 4) })];
  await set([one, two]);
  expect(await entries()).toEqual(entriesOf(one.mac, one.vtep, '10.20.0.50'));
  await set([two, one]);
  expect(await entries()).toEqual(entriesOf(one.mac, one.vtep, '10.20.0.50'));
  await set([two]);
  expect(await entries()).toEqual(entriesOf(two.mac, two.vtep, '10.20.0.50'));
  await set([two, one]);
  expect(await entries()).toEqual(entriesOf(two.mac, two.vtep, '10.20.0.50'));
});

test('an endpoint here has its address, whatever is told of elsewhere, until it leaves', async () => {
  const elsewhere = peer(50);
  await set([elsewhere], false);
  expect(await entries()).toHaveLength(3);
  const here = await host.guest(net, { v4: '10.20.0.50/16' });
  expect(here.ep.iface.mac).toBe(elsewhere.mac);
  expect(await entries()).toEqual([]);
  expect(await pings(a, '10.20.0.50')).toBe(true);
  expect(await set([elsewhere], true)).toEqual({ added: 0, changed: 0, removed: 0, ignored: 0 });
  await host.leave(here);
  expect(await entries()).toEqual(entriesOf(elsewhere.mac, elsewhere.vtep, '10.20.0.50'));
});

test('peers that nothing can be done for are counted and left out', async () => {
  const wishes = [
    peer(50, { v4: '10.99.0.50/16' as NonNullable<Peer['v4']> }),
    peer(51, { vtep: underlay(0, 4) }),
    peer(52, { vtep: underlay(1, 6) }),
  ];
  expect(await set(wishes)).toEqual({ added: 0, changed: 0, removed: 0, ignored: 3 });
  expect(await entries()).toEqual([]);
});

test('a wish waits for the first endpoint, and comes again with the next one after the last has left', async () => {
  const other = lab.host(1);
  expect(await other.cluster.setPeers(ctx, net, [a.peer], true)).toEqual({ added: 0, changed: 0, removed: 0, ignored: 0 });
  expect(await other.cluster.audit(ctx, net)).toEqual({ restored: 0, removed: 0, left: 0 });
  for (let round = 0; round < 2; round++) {
    const b = await other.guest(net, { v4: '10.20.0.3/16' });
    expect(await entries(other)).toEqual(entriesOf(a.peer.mac, underlay(0, 4), '10.20.0.2', 'fd20::2'));
    await set([b.peer]);
    expect(await pings(b, addressOf(a, 4))).toBe(true);
    await other.leave(b);
    expect(other.spaces()).toEqual([]);
  }
});

test('what is taken away and what is put beside by hand is mended, and nothing else is touched', async () => {
  const b = await lab.host(1).guest(net, { v4: '10.20.0.3/16' });
  const near = await host.guest(net, { v4: '10.20.0.9/16' });
  await lab.tell(net);
  const wanted = await entries();
  expect(await pings(a, addressOf(b, 4))).toBe(true);
  expect(await audit()).toEqual({ restored: 0, removed: 0, left: 0 });
  const own =
    'bridge fdb add 02:00:00:00:00:99 dev br0 self permanent; ip neigh add 10.20.7.7 lladdr 02:00:00:00:07:07 dev br0 nud stale';
  await host.inside(
    net,
    `${own}
     ip neigh del 10.20.0.3 dev br0; bridge fdb del ${b.peer.mac} dev vx0 dst ${b.peer.vtep} self
     bridge fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.99 self permanent
     bridge fdb add 02:00:00:00:00:77 dev vx0 dst 192.0.2.99 self permanent
     bridge fdb add 02:00:00:00:00:78 dev vx0 master static
     ip neigh add 10.20.0.77 lladdr 02:00:00:00:00:77 dev br0 nud permanent
     ip neigh add fd20::77 lladdr 02:00:00:00:00:77 dev br0 nud permanent`,
  );
  expect(await isSilent(near, addressOf(b, 4))).toBe(true);
  expect(await audit()).toEqual({ restored: 2, removed: 5, left: 0 });
  expect(await entries()).toEqual(wanted);
  expect(await host.inside(net, 'bridge fdb show dev br0')).toContain('02:00:00:00:00:99');
  expect(await host.inside(net, 'ip neigh show dev br0')).toContain('10.20.7.7');
  expect(await pings(near, addressOf(b, 4))).toBe(true);
  // Another host, and another MAC, in the place of the right one.
  await host.inside(
    net,
    `bridge fdb replace ${b.peer.mac} dev vx0 dst 192.0.2.98 self permanent; ip neigh replace 10.20.0.3 lladdr 02:00:00:00:00:01 dev br0 nud permanent`,
  );
  expect(await audit()).toEqual({ restored: 2, removed: 0, left: 0 });
  expect(await entries()).toEqual(wanted);
});

test("a sandbox that sends with a peer's MAC does not draw what is meant for the peer", async () => {
  const b = await lab.host(1).guest(net, { v4: '10.20.0.3/16' });
  const near = await host.guest(net, { v4: '10.20.0.9/16' });
  await lab.tell(net);
  expect(await pings(a, addressOf(b, 4))).toBe(true);
  const own = near.ep.iface.mac as string;
  await near.exec('ip', ['link', 'set', 'eth0', 'address', b.peer.mac]);
  await near.exec('ping', ['-c', '3', '-i', '0.1', '-W', '1', addressOf(a, 4)], { reject: false });
  expect(await pings(a, addressOf(b, 4))).toBe(true);
  await near.exec('ip', ['link', 'set', 'eth0', 'address', own]);
  expect(await audit()).toEqual({ restored: 0, removed: 0, left: 0 });
});

test('a change meets entries that others have changed: what is there decides', async () => {
  await set([peer(50), peer(51)]);
  await host.inside(net, `ip neigh del 10.20.0.50 dev br0; bridge fdb del ${peer(50).mac} dev vx0 dst ${underlay(1, 4)} self`);
  await set([peer(51), peer(52)]);
  expect(await entries()).toEqual([51, 52].flatMap((n) => entriesOf(peer(n).mac, underlay(1, 4), `10.20.0.${n}`)).sort());
});

test.each(['the same MAC', 'another MAC'])('a peer that moved to another host with %s is reachable at once', async (which) => {
  const lab3 = await OverlayLab.open({ hosts: 3 });
  const net3 = await lab3.network({ v4: ['10.20.0.0/24'], v6: ['fd20::/64'] });
  const c = await lab3.host(0).guest(net3, { v4: '10.20.0.2/24', v6: 'fd20::2/64' });
  const places = { v4: '10.20.0.3/24', v6: 'fd20::3/64' };
  const macs = which === 'the same MAC' ? [undefined, undefined] : ['02:00:00:00:0a:01', '02:00:00:00:0a:02'];
  const [before, after] = macs;
  const old = await lab3.host(1).guest(net3, { ...places, ...(before && { mac: before }) });
  await lab3.tell(net3);
  for (const family of [4, 6] as const) expect(await pings(c, addressOf(old, family))).toBe(true);
  await lab3.host(1).leave(old);
  const now = await lab3.host(2).guest(net3, { ...places, ...(after && { mac: after }) });
  await lab3.tell(net3);
  // The first packet, while the sandbox still has the old entry in mind.
  for (const family of [4, 6] as const) expect(await pings(c, addressOf(now, family))).toBe(true);
  // It went for a while.
  await lab3.host(0).cluster.setPeers(ctx, net3, [], true);
  await lab3.host(2).leave(now);
  const back = await lab3.host(1).guest(net3, { ...places, ...(before && { mac: before }) });
  await lab3.tell(net3);
  for (const family of [4, 6] as const) expect(await pings(c, addressOf(back, family))).toBe(true);
});

test('a thousand peers are one batch, one that changes is a few operations', async () => {
  const peers = Array.from({ length: 1000 }, (_, i) => peer(i + 256));
  Object.assign(sent, { batches: 0, operations: 0, announced: 0 });
  expect(await set(peers)).toEqual({ added: 3000, changed: 0, removed: 0, ignored: 0 });
  expect(sent).toEqual({ batches: 1, operations: 3000, announced: 0 });
  expect(await entries()).toHaveLength(3000);
  await set([...peers.slice(1), { ...peers[0], vtep: underlay(3, 4) } as Peer]);
  expect(sent).toEqual({ batches: 2, operations: 3001, announced: 0 });
  await set(peers.slice(1));
  expect(sent).toEqual({ batches: 3, operations: 3004, announced: 0 });
  expect(await audit()).toEqual({ restored: 0, removed: 0, left: 0 });
  expect(sent.batches).toBe(3);
  // More than one audit takes in hand.
  await host.inside(net, 'ip neigh flush dev br0 nud permanent; ip link set vx0 nomaster; ip link set vx0 master br0');
  await host.inside(
    net,
    'bridge fdb flush dev vx0 self 2>/dev/null || bridge fdb show dev vx0 | while read mac rest; do bridge fdb del $mac dev vx0 $rest 2>/dev/null || true; done',
  );
  const first = await audit();
  expect(first).toMatchObject({ restored: 2000, removed: 0 });
  expect(first.left).toBeGreaterThan(0);
  expect(await audit()).toMatchObject({ restored: first.left, left: 0 });
  expect(await audit()).toEqual({ restored: 0, removed: 0, left: 0 });
});
