/** What lives on when a daemon ends, and what is put back: namespaces, links, addresses, tunnels, entries. */

import { expect, test } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DriverNetwork } from '../../src/driver/index.ts';
import { eventually } from './keeper-lab.ts';
import { type Guest, OverlayLab, addressOf, pings, underlay } from './overlay-lab.ts';

interface Stage {
  readonly lab: OverlayLab;
  readonly net: DriverNetwork;
  readonly a: Guest;
  readonly near: Guest;
  readonly far: Guest;
}

async function stage(): Promise<Stage> {
  const lab = await OverlayLab.open();
  const net = await lab.network({ v4: ['10.20.0.0/24'], v6: ['fd20::/64'] });
  const a = await lab.host(0).guest(net, { v4: '10.20.0.2/24', v6: 'fd20::2/64' });
  const near = await lab.host(0).guest(net, { v4: '10.20.0.3/24', v6: 'fd20::3/64' });
  const far = await lab.host(1).guest(net, { v4: '10.20.0.4/24', v6: 'fd20::4/64' });
  await lab.tell(net);
  return { lab, net, a, near, far };
}

async function expectWhole({ lab, net, a, near, far }: Stage): Promise<void> {
  expect(await lab.host(0).observe(net)).toBe(0);
  for (const to of [near, far]) for (const family of [4, 6] as const) expect(await pings(a, addressOf(to, family))).toBe(true);
}

/** Everything of ours in the network's namespace. */
const all = (at: Stage): Promise<string> =>
  at.lab.host(0).inside(at.net, 'ip -d link; ip addr; ip neigh show nud permanent; bridge fdb show dev vx0; bridge -d link');

test('a new driver finds everything as it was and changes nothing; packets flow all the while', async () => {
  const at = await stage();
  const host = at.lab.host(0);
  const before = await all(at);
  const flood = at.a.exec('ping', ['-q', '-i', '0.02', '-c', '100', '-W', '1', addressOf(at.far, 4)]);
  host.restart();
  for (let round = 0; round < 2; round++) {
    expect(await host.restore(at.net)).toBeUndefined();
    await sleep(100);
  }
  await at.lab.tell(at.net, false);
  await at.lab.tell(at.net, true);
  expect((await flood).stdout).toContain(' 0% packet loss');
  const steady = (text: string): string => text.replaceAll(/(timer|preferred_lft|valid_lft|bridge_id|age)\S* +\S+/g, '');
  expect(steady(await all(at))).toBe(steady(before));
  await expectWhole(at);
});

test.each([
  ['the bridge', 'ip link del br0'],
  ['the bridge is down', 'ip link set br0 down'],
  ['the tunnel', 'ip link del vx0'],
  ['the tunnel is down', 'ip link set vx0 down'],
  ['the tunnel is off the bridge', 'ip link set vx0 nomaster'],
  ['the tunnel floods', 'bridge link set dev vx0 flood on'],
  ['the tunnel learns and is asked', 'bridge link set dev vx0 learning on neigh_suppress off'],
  ['addresses of the gateway', 'ip addr flush dev br0'],
  [
    'all ports',
    'for l in $(ls /sys/class/net | grep veth || ip -o link show type veth | cut -d: -f2 | cut -d@ -f1); do ip link del $l; done',
  ],
  [
    'ports are off the bridge',
    'for l in $(ip -o link show type veth | cut -d: -f2 | cut -d@ -f1); do ip link set $l nomaster; done',
  ],
])('lost or changed: %s: it is seen and put back', async (_what, command) => {
  const at = await stage();
  const host = at.lab.host(0);
  await host.inside(at.net, command);
  expect(await host.observe(at.net)).toBe(1);
  expect(await host.restore(at.net)).toBeUndefined();
  await expectWhole(at);
});

test('the pin is unlinked, and the namespace with all in it is gone: everything is made again, with the same MACs', async () => {
  const at = await stage();
  const host = at.lab.host(0);
  const macs = await host.inside(at.net, 'cat /sys/class/net/br0/address 2>/dev/null || ip -o link show br0');
  const path = `${host.pins}/${host.spaces()[0]}`;
  await host.at.exec('sh', ['-ec', `umount -l ${path}; rm ${path}`]);
  expect(await host.observe(at.net)).toBe(1);
  await eventually(
    async () => ((await at.a.exec('ip', ['-o', 'link'])).stdout.includes('eth0') ? undefined : true),
    'the links of the sandboxes are gone',
  );
  expect(await host.restore(at.net)).toBeUndefined();
  await expectWhole(at);
  expect(await host.inside(at.net, 'cat /sys/class/net/br0/address 2>/dev/null || ip -o link show br0')).toBe(macs);
});

test('a sandbox that lost its link or addresses has them again', async () => {
  const at = await stage();
  const host = at.lab.host(0);
  await at.a.exec('ip', ['addr', 'del', '10.20.0.2/24', 'dev', 'eth0']);
  await at.near.exec('ip', ['link', 'del', 'eth0']);
  expect(await host.observe(at.net)).toBe(1);
  expect(await host.restore(at.net)).toBeUndefined();
  await expectWhole(at);
});

test('what cannot be made again is a problem of the network, in words, and another try mends it', async () => {
  const at = await stage();
  const host = at.lab.host(0);
  await host.inside(at.net, 'ip link del vx0');
  const [vni] = (at.net.state as { vnis: number[] }).vnis;
  await host.at.exec('sh', ['-ec', `ip link add theirs type vxlan id ${vni} dstport 4789 local ${underlay(0, 4)}`]);
  host.restart();
  expect(await host.restore(at.net)).toContain(`cannot have VXLAN id ${vni} on this host: link theirs of the host has it`);
  // Who is here is still together.
  expect(await pings(at.a, addressOf(at.near, 4))).toBe(true);
  await host.at.exec('ip', ['link', 'del', 'theirs']);
  expect(await host.restore(at.net)).toBeUndefined();
  await at.lab.tell(at.net);
  await expectWhole(at);
});
