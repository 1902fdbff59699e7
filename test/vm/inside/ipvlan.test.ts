/** The ipvlan driver on a wire with a router. */

import { expect, test } from 'vitest';
import { LAN, comes, linksIn, pings, plugIn } from '../../kernel/parent-lab.ts';
import { WireLab, refusal } from './wire-lab.ts';

const LIMIT_MS = 200_000;

test(
  'ipvlan l2: addresses behind the MAC of the parent, which it has for itself; the host; a parent that goes',
  { timeout: LIMIT_MS },
  async () => {
    const lab = await WireLab.open();
    const parent = await lab.host.host.rtnl().link.get({ name: 'lan0' });
    const net = await lab.network('ipvlan', { parent: 'lan0', host_access: 'true' });
    const a = await lab.join('ipvlan', net, '10.30.0.5/24', 'fd30::5/64');
    const b = await lab.join('ipvlan', net, '10.30.0.6/24', 'fd30::6/64');
    const works = async (): Promise<void> => {
      for (const to of ['10.30.0.6', 'fd30::6', LAN.router, '10.30.0.200']) expect(await comes(a.inside, to), to).toBe(true);
      for (const to of ['10.30.0.5', 'fd30::6']) expect(await comes(lab.host, to), to).toBe(true);
      expect(await lab.isWrong('ipvlan', net, [a, b])).toBe(false);
    };
    expect(await linksIn(a.inside)).toEqual([`eth0 ipvlan ${parent.mac}`]);
    expect([a.ep.iface.mac, a.result.gateway, a.result.gateway6]).toEqual([undefined, LAN.router, LAN.router6]);
    expect(await comes(a.inside, LAN.far)).toBe(true);
    await works();
    expect(await refusal(lab.join('ipvlan', net, '10.30.0.7/24', undefined, '02:00:00:00:00:01'))).toContain(
      'driver_lacks: ipvlan interfaces do not support custom mac address assignment',
    );
    expect(await refusal(lab.network('ipvlan', { parent: 'lan0' }))).toMatch(
      /^parent_in_use: .* is already using parent interface lan0/,
    );
    expect(await refusal(lab.network('macvlan', { parent: 'lan0' }))).toMatch(
      /^parent_in_use: .* is already using parent interface lan0, and it is of driver ipvlan/,
    );

    await lab.host.exec('ip', ['link', 'del', 'lan0']);
    expect(await lab.isWrong('ipvlan', net, [a, b])).toBe(true);
    expect(await lab.restore('ipvlan', net, [a, b])).toMatch(/^parent lan0 is not there/);
    await plugIn(lab);
    expect(await lab.restore('ipvlan', net, [a, b])).toBeUndefined();
    await works();
    lab.restart();
    expect(await lab.restore('ipvlan', net, [a, b])).toBeUndefined();
    await works();
    for (const box of [a, b]) await lab.leave('ipvlan', net, box);
    expect(await linksIn(a.inside)).toEqual([]);
    await lab.deleteNetwork('ipvlan', net);
    expect(await lab.links()).toEqual([]);
  },
);

test.each(['l3', 'l3s'])('ipvlan %s: routed by the parent, over subnets', { timeout: LIMIT_MS }, async (ipvlan_mode) => {
  const lab = await WireLab.open();
  const options = { parent: 'lan0', ipvlan_mode, ...(ipvlan_mode === 'l3' && { host_access: 'true' }) };
  const net = await lab.network(
    'ipvlan',
    options,
    ['10.61.0.0/30 - 10.61.0.2', '10.62.0.0/24 10.62.0.1 10.62.0.9'],
    ['fd61::/64 - fd61::9'],
  );
  const a = await lab.join('ipvlan', net, '10.61.0.1/30', 'fd61::1/64');
  const b = await lab.join('ipvlan', net, '10.62.0.7/24', 'fd61::2/64');
  expect(a.result.wayOut).toEqual({ v4: 'link', v6: 'link' });
  expect([b.result.wayOut, b.result.gateway]).toEqual([{ v4: 'link', v6: 'link' }, undefined]);
  for (const to of ['10.62.0.7', 'fd61::2']) expect(await comes(a.inside, to), to).toBe(true);
  // The wire needs a route to the subnets, by the host's address on it.
  await lab.host.exec('sh', ['-ec', 'ip addr add 10.30.0.5/24 dev lan0; sysctl -qw net.ipv4.ip_forward=1']);
  await lab.outside.exec('ip', ['route', 'add', '10.62.0.0/24', 'via', '10.30.0.5']);
  expect(await comes(lab.outside, '10.62.0.7')).toBe(true);
  if (ipvlan_mode === 'l3') {
    expect(await comes(lab.host, '10.62.0.7')).toBe(true);
    expect(await comes(a.inside, '10.61.0.2')).toBe(true);
  }
  for (const box of [a, b]) await lab.leave('ipvlan', net, box);
  await lab.deleteNetwork('ipvlan', net);
  expect(await lab.links()).toEqual([]);
});

test.each(['private', 'vepa'])('ipvlan flag %s keeps endpoints apart', { timeout: LIMIT_MS }, async (ipvlan_flag) => {
  const lab = await WireLab.open();
  const net = await lab.network('ipvlan', { parent: 'lan0', ipvlan_flag });
  const a = await lab.join('ipvlan', net, '10.30.0.5/24');
  const b = await lab.join('ipvlan', net, '10.30.0.6/24');
  expect(await comes(a.inside, LAN.router)).toBe(true);
  expect(await pings(a.inside, '10.30.0.6')).toBe(false);
  expect(await pings(b.inside, '10.30.0.5')).toBe(false);
});
