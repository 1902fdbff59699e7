/** Links on a parent that an engine has moved into its sandbox, when the parent goes and comes back. */

import { statSync } from 'node:fs';
import { expect, test, vi } from 'vitest';
import type { Address, EndpointId, NetworkId, Prefix } from '../../src/base/index.ts';
import type { House } from './house-lab.ts';
import { LAN, comes, lanHouse, linksIn, plugIn } from './parent-lab.ts';
import { type TestHost, hostAt, testHosts } from './support.ts';

const NETWORK = 'a1'.repeat(32) as NetworkId;
const ENDPOINTS = ['b2'.repeat(32), 'c3'.repeat(32)] as EndpointId[];

/** What an engine does with the link that it is told of. */
async function take(house: House, box: TestHost, id: EndpointId, v4: string, ifname: string): Promise<void> {
  const { guests } = house.controller;
  await guests.createEndpoint(NETWORK, id, { v4: v4 as Prefix, options: {}, publish: [] });
  // A container that has just begun, however long this machine took until here: only then is the link told to the engine.
  const clock = vi.spyOn(Date, 'now').mockReturnValue(statSync(box.path).ctimeMs + 1);
  const { link, gateway } = await guests.join(NETWORK, id, box.path).finally(() => clock.mockRestore());
  await house.host.exec('ip', ['link', 'set', link?.name ?? '', 'netns', box.path, 'name', ifname]);
  await box.exec('sh', [
    '-ec',
    `ip addr add ${v4} dev ${ifname}; ip link set ${ifname} up; ip route replace default via ${gateway}`,
  ]);
}

/** A network of an engine on `lan0`, one endpoint of which is in a sandbox. */
async function engaged() {
  const house = await lanHouse();
  await house.controller.guests.createNetwork('macvlan', NETWORK, {
    internal: false,
    enableIPv4: true,
    enableIPv6: false,
    options: { parent: 'lan0' },
    v4: [{ prefix: LAN.v4 as Prefix, gateway: LAN.router as Address, aux: {} }],
    v6: [],
  });
  const box = hostAt(await testHosts(1), 0);
  await take(house, box, ENDPOINTS[0] as EndpointId, '10.30.0.2/24', 'uplink');
  const flap = async (): Promise<void> => {
    await house.host.exec('ip', ['link', 'del', 'lan0']);
    expect(await linksIn(box)).toEqual([]);
    await plugIn(house);
  };
  return { house, box, flap };
}

test('they come back under their names, with MACs, addresses and the default route, by a look and by a start', async () => {
  const { house, box, flap } = await engaged();
  await house.controller.mend();
  const links = await linksIn(box);
  expect(links).toHaveLength(1);
  const works = async (): Promise<void> => {
    expect(await linksIn(box)).toEqual(links);
    expect(await comes(box, LAN.far)).toBe(true);
  };
  await works();
  await house.host.exec('ip', ['link', 'del', 'lan0']);
  await house.controller.mend();
  expect(house.controller.guests.networks()[0]?.degraded).toContain('parent lan0 is not there');
  await plugIn(house);
  await house.controller.mend();
  expect(house.controller.guests.networks()[0]?.degraded).toBeUndefined();
  await works();
  await flap();
  await house.controller.mend();
  await works();
  await flap();
  await house.start();
  await works();
  const before = await house.world();
  for (let i = 0; i < 3; i++) await house.controller.mend();
  expect(await house.world()).toEqual(before);
});

test('when another link comes under the name of the parent they move there', async () => {
  const { house, box } = await engaged();
  await house.controller.mend();
  const below = async (): Promise<number | undefined> => (await box.host.rtnl().link.find({ name: 'uplink' }))?.parent;
  const before = await below();
  const swap = async (was: string): Promise<void> => {
    await house.outside.exec('sh', ['-ec', `ip link set slan0 nomaster down; ip link set slan0 name s${was}`]);
    await house.host.exec('sh', ['-ec', `ip link set lan0 down; ip link set lan0 name ${was}; ip link set ${was} up`]);
    await plugIn(house);
  };
  await swap('first0');
  await house.controller.mend();
  expect(await below()).not.toBe(before);
  expect(await linksIn(box)).toHaveLength(1);
  expect(await comes(box, LAN.far)).toBe(true);
  await swap('second0');
  await house.start();
  expect(await linksIn(box)).toHaveLength(1);
  expect(await comes(box, LAN.far)).toBe(true);
  expect(house.controller.guests.networks()[0]?.degraded).toBeUndefined();
});

test('one that a kill left half-made is made whole', async () => {
  const { house, box } = await engaged();
  await house.controller.mend();
  const links = await linksIn(box);
  const half = `half${ENDPOINTS[0]?.slice(0, 11)}`;
  await box.exec('sh', ['-ec', `ip link set uplink down; ip addr flush dev uplink; ip link set uplink name ${half}`]);
  await house.start();
  expect(await linksIn(box)).toEqual(links);
  expect(await comes(box, LAN.far)).toBe(true);
});

test('two in one sandbox keep their names, and a name that nobody saw is the first that is free', async () => {
  const { house, box, flap } = await engaged();
  await house.controller.mend();
  await take(house, box, ENDPOINTS[1] as EndpointId, '10.30.0.3/24', 'eth7');
  const links = await linksIn(box);
  await flap();
  await house.controller.mend();
  const [eth, uplink] = await linksIn(box);
  expect(uplink).toBe(links[1]);
  expect(eth).toBe(links[0]?.replace('eth7', 'eth0'));
  expect(await comes(box, LAN.far)).toBe(true);
});

test('what the engine does with its sandbox is its own: routes that it took, a link that it gave back', async () => {
  const { house, box } = await engaged();
  await house.controller.mend();
  await box.exec('ip', ['route', 'del', 'default']);
  await house.controller.mend();
  expect((await box.exec('ip', ['route', 'show', 'default'])).stdout).toBe('');
  const [id = ''] = ENDPOINTS;
  const bare = `peer${id.slice(0, 11)}`;
  await box.exec('sh', ['-ec', `ip link set uplink down; ip link set uplink name ${bare}`]);
  await box.exec('ip', ['link', 'set', bare, 'netns', house.host.path]);
  await house.controller.mend();
  expect(await linksIn(box)).toEqual([]);
  await house.controller.guests.leave(NETWORK, id as EndpointId);
  await house.controller.guests.deleteEndpoint(NETWORK, id as EndpointId);
  expect((await linksIn(house.host)).filter((line) => line.includes('macvlan'))).toEqual([]);
});

test('a link of somebody else under the name stays, and the network says so', async () => {
  const { house, box, flap } = await engaged();
  await house.controller.mend();
  await flap();
  await box.exec('ip', ['link', 'add', 'uplink', 'type', 'bridge']);
  await house.controller.mend();
  expect(house.controller.guests.networks()[0]?.degraded).toContain('another link is called uplink in its sandbox');
  await box.exec('ip', ['link', 'del', 'uplink']);
  await house.controller.mend();
  expect(house.controller.guests.networks()[0]?.degraded).toBeUndefined();
  expect(await comes(box, LAN.far)).toBe(true);
});
