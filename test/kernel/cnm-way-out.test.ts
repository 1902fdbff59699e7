/** Endpoints that lead out without a gateway: by the link itself, as of drivers that route, or not at all. */

import { expect, test } from 'vitest';
import { type Driver, Registry, type WayOut } from '../../src/driver/index.ts';
import type { HouseOptions } from './house-lab.ts';
import { House } from './house-lab.ts';
import { LAN, comes, onLan, plugLan } from './parent-lab.ts';
import type { TestHost } from './support.ts';

/** The macvlan driver, whose endpoints lead out by their link. */
const leading = (wayOut: WayOut): HouseOptions => ({
  parts: (parts) => ({
    ...parts,
    drivers: new Registry(
      'driver',
      parts.drivers.all().map((driver): Driver => {
        if (driver.name !== 'macvlan') return driver;
        return {
          ...driver,
          async join(...asked) {
            const { gateway: _v4, gateway6: _v6, ...result } = await driver.join(...asked);
            return { ...result, wayOut };
          },
        };
      }),
    ),
  }),
});

async function houseOf(wayOut: WayOut): Promise<House> {
  const house = await House.open(leading(wayOut));
  await plugLan(house.host, house.outside);
  return house;
}

const defaults = async (place: TestHost): Promise<string[]> =>
  (await place.exec('sh', ['-c', 'ip route show default; ip -6 route show default'])).stdout
    .split('\n')
    .map((line) => line.replace(/ (proto|metric) .*/, '').trim())
    .filter((line) => line !== '');

test('a way out by the link itself is a default route, which is elected, lost, found and made again', async () => {
  const house = await houseOf({ v4: 'link', v6: 'link' });
  await house.network('lan', onLan());
  await house.network('net', { enableIPv6: true });
  const a = await house.sandbox('a', [['lan', {}]]);
  const routed = ['default dev eth0', 'default dev eth0'];
  expect(await defaults(a)).toEqual(routed);
  // The far end answers for everything, as a router with proxy ARP does.
  await house.outside.exec('sysctl', ['-qw', 'net.ipv4.conf.switch0.proxy_arp=1', 'net.ipv4.ip_forward=1']);
  expect(await comes(a, LAN.far)).toBe(true);
  await house.controller.connect('net', 'a', { gwPriority: 1 });
  const bridged = await defaults(a);
  expect(bridged.map((line) => line.replace(/via \S+/, 'via'))).toEqual(['default via dev eth1', 'default via dev eth1']);
  await house.controller.disconnect('net', 'a', false);
  expect(await defaults(a)).toEqual(routed);
  await a.exec('sh', ['-ec', 'ip route del default; ip -6 route del default']);
  await house.controller.mend();
  expect(await defaults(a)).toEqual(routed);
  await a.exec('sh', ['-ec', 'ip route del default; ip -6 route del default']);
  await house.start();
  expect(await defaults(a)).toEqual(routed);
});

test('a way out without a route takes part in the election like one with a gateway, and nobody misses its route', async () => {
  const house = await houseOf({ v4: 'none' });
  await house.network('alan', onLan());
  await house.network('net');
  const a = await house.sandbox('a', [['net', {}]]);
  const before = await defaults(a);
  expect(before).toHaveLength(1);
  await house.controller.connect('alan', 'a', {});
  expect(await defaults(a)).toEqual([]);
  await house.controller.mend();
  expect(await defaults(a)).toEqual([]);
  await house.controller.disconnect('alan', 'a', false);
  expect(await defaults(a)).toEqual(before);
});
