/** Networks of ipvlan on a wire with a router. */

import { describe, expect, test } from 'vitest';
import { codeOf, messageOf } from '../../../src/base/index.ts';
import { createIpvlanDriver } from '../../../drivers/ipvlan/driver.ts';
import { driverContract } from '../../contract/driver.ts';
import { stageOf } from '../../contract/stage.ts';
import { ask } from '../../kernel/firewall-lab.ts';
import { LAN, comes, lanHouse, linksIn, onLan, pings, plugIn } from '../../kernel/parent-lab.ts';
import type { TestHost } from '../../kernel/support.ts';

const LIMIT_MS = 240_000;

const ipvlan = (options: Readonly<Record<string, string>> = {}, rest = {}) => onLan(options, { driver: 'ipvlan', ...rest });

const defaults = async (place: TestHost): Promise<string[]> =>
  (await place.exec('sh', ['-c', 'ip route show default; ip -6 route show default'])).stdout
    .split('\n')
    .map((line) => line.replace(/ (proto|metric) .*/, '').trim())
    .filter((line) => line !== '');

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return `${codeOf(error)}: ${messageOf(error)}`;
  }
  throw new Error('it was not refused');
}

describe('ipvlan', { timeout: LIMIT_MS }, () => {
  test('l2: addresses of their own behind the MAC of the parent, which no other network has', async () => {
    const house = await lanHouse();
    const before = await house.world();
    const parent = await house.host.host.rtnl().link.get({ name: 'lan0' });
    await house.network('lan', ipvlan());
    const a = await house.sandbox('a', [['lan', {}]]);
    await house.sandbox('b', [['lan', {}]]);
    expect(await linksIn(a)).toEqual([`eth0 ipvlan ${parent.mac}`]);
    expect(house.controller.sandbox('a').endpoints()[0]?.record.mac).toBeUndefined();
    expect(await defaults(a)).toEqual([`default via ${LAN.router} dev eth0`, `default via ${LAN.router6} dev eth0`]);
    expect(await comes(a, LAN.far)).toBe(true);
    expect(await comes(a, LAN.far6)).toBe(true);
    expect(await ask(a, house.address('b', 'lan'), 80)).toBe(`b ${house.address('a', 'lan')}`);
    expect(await comes(a, house.address('b', 'lan', 6))).toBe(true);
    expect(await refusal(house.sandbox('c', [['lan', { mac: '02:00:00:00:00:01' }]]))).toContain(
      'driver_lacks: ipvlan interfaces do not support custom mac address assignment',
    );
    const other = { ipam: { config: [{ subnet: '10.31.0.0/24' }] }, enableIPv6: false };
    expect(await refusal(house.network('other', ipvlan({}, other)))).toContain(
      'network lan is already using parent interface lan0',
    );
    expect(await refusal(house.network('other', onLan({}, other)))).toMatch(
      /^parent_in_use: parent lan0 has no room for macvlan links/,
    );
    for (const name of ['a', 'b']) await house.controller.deleteSandbox(name, true);
    await house.controller.deleteNetwork('lan');
    expect(await house.world()).toEqual(before);
  });

  test.each(['l3', 'l3s'])('%s: routed by the parent, over subnets, by a default route onto the link', async (mode) => {
    const house = await lanHouse();
    const config = [{ subnet: '10.61.0.0/30' }, { subnet: '10.62.0.0/24' }, { subnet: 'fd61::/64' }];
    await house.network('lan', ipvlan({ ipvlan_mode: mode }, { ipam: { config } }));
    const places = [];
    for (const name of ['a', 'b', 'c']) places.push(await house.sandbox(name, [['lan', {}]]));
    const [a] = places as [TestHost];
    expect(['a', 'b', 'c'].map((name) => house.address(name, 'lan'))).toEqual(['10.61.0.1', '10.61.0.2', '10.62.0.1']);
    expect(await defaults(a)).toEqual(['default dev eth0', 'default dev eth0']);
    expect(await comes(a, '10.62.0.1')).toBe(true);
    expect(await comes(a, house.address('c', 'lan', 6))).toBe(true);
    // The wire needs routes to the subnets, and the host's address on it.
    await house.host.exec('sh', ['-ec', 'ip addr add 10.30.0.5/24 dev lan0; sysctl -qw net.ipv4.conf.lan0.forwarding=1']);
    await house.outside.exec('ip', ['route', 'add', '10.62.0.0/24', 'via', '10.30.0.5']);
    expect(await comes(house.outside, '10.62.0.1')).toBe(true);
    await house.controller.mend();
    expect(house.controller.network('lan').record.degraded).toBeUndefined();
    // A route that somebody takes is a loss.
    await a.exec('ip', ['route', 'del', 'default']);
    await house.controller.mend();
    expect(await defaults(a)).toEqual(['default dev eth0', 'default dev eth0']);
  });

  test.each(['private', 'vepa'])('flag %s keeps endpoints apart', async (flag) => {
    const house = await lanHouse();
    await house.network('lan', ipvlan({ ipvlan_flag: flag }));
    const a = await house.sandbox('a', [['lan', {}]]);
    await house.sandbox('b', [['lan', {}]]);
    expect(await comes(a, LAN.router)).toBe(true);
    expect(await pings(a, house.address('b', 'lan'))).toBe(false);
  });

  test.each(['l2', 'l3'])('%s with host_access: host and sandboxes reach each other', async (mode) => {
    const house = await lanHouse();
    await house.network('lan', ipvlan({ ipvlan_mode: mode, host_access: 'true' }));
    const a = await house.sandbox('a', [['lan', {}]]);
    expect(await comes(house.host, house.address('a', 'lan'))).toBe(true);
    expect(await ask(house.host, house.address('a', 'lan'), 80)).toBe('a 10.30.0.1');
    expect(await comes(house.host, house.address('a', 'lan', 6))).toBe(true);
    expect(await comes(a, '10.30.0.1')).toBe(true);
    await house.start();
    expect(await comes(house.host, house.address('a', 'lan'))).toBe(true);
  });

  test('a parent that goes and comes back, and a restart', async () => {
    const house = await lanHouse();
    await house.network('lan', ipvlan());
    const a = await house.sandbox('a', [['lan', {}]]);
    const works = async (): Promise<void> => {
      expect(await comes(a, LAN.far)).toBe(true);
      expect(house.controller.network('lan').record.degraded).toBeUndefined();
    };
    await works();
    await house.host.exec('ip', ['link', 'del', 'lan0']);
    await house.controller.mend();
    expect(house.controller.network('lan').record.degraded).toContain('parent lan0 is not there');
    await plugIn(house);
    await house.controller.mend();
    await works();
    const before = await house.world();
    await house.start();
    expect(await house.world()).toEqual(before);
    await works();
  });
});

driverContract('ipvlan', { open: () => stageOf(createIpvlanDriver, true, { parent: 'lan0', host_access: 'true' }) });
