/** What a start says of links that it had to make again, and of routes that were made into a network's subnet meanwhile. */

import { expect, test } from 'vitest';
import { House, WIRE } from './house-lab.ts';

const AGAIN = 'links of networks were gone: they are made again';
const OVERLAP = 'the subnet of a network overlaps a route of the host: what is meant for its sandboxes may go there';

/** Starts once more; answers what it said, by message. */
async function told(house: House): Promise<Record<string, Record<string, unknown>[]>> {
  const lines: Record<string, Record<string, unknown>[]> = {};
  const tell = (about: object, message: string): void => void (lines[message] ??= []).push({ ...about });
  const log = { debug: () => {}, info: () => {}, warn: tell, error: tell };
  await house.start({ foundation: (parts) => ({ ...parts, env: { ...parts.env, log } }) });
  return lines;
}

test('a bridge and a port that are gone are told in one line, what is there in none', async () => {
  const house = await House.open();
  for (const name of ['one', 'two', 'three'])
    await house.network(name, { options: { 'com.docker.network.bridge.name': `br-${name}` } });
  await house.sandbox('a', [
    ['one', {}],
    ['two', {}],
  ]);
  expect(await told(house)).toEqual({});
  await house.host.exec('ip', ['link', 'del', 'br-one']);
  const ports = (await house.host.exec('sh', ['-ec', 'ls -1 /proc/sys/net/ipv4/conf | grep ^veth'])).stdout.split('\n');
  for (const name of ports) await house.host.exec('ip', ['link', 'del', name]);
  const { [AGAIN]: again } = await told(house);
  expect(again).toEqual([{ networks: ['one', 'two'], links: 3 }]);
  expect(await told(house)).toEqual({});
});

test('a bridge in whose place is another link is not told as made', async () => {
  const house = await House.open();
  await house.network('one', { options: { 'com.docker.network.bridge.name': 'br-one' } });
  await house.host.exec('sh', ['-ec', 'ip link del br-one; ip link add br-one type veth peer name other']);
  const lines = await told(house);
  expect(Object.keys(lines)).toEqual(['a network is degraded']);
});

test('a route of somebody else to the subnet of a network, or to a part of it, is told at each start; wider ones and those of parents are not', async () => {
  const house = await House.open();
  const config = (subnet: string) => ({ ipam: { config: [{ subnet }] } });
  await house.network('same', { ...config('10.77.1.0/24'), enableIPv6: false });
  await house.network('part', config('10.77.2.0/24'));
  await house.network('wide', config('10.77.3.0/24'));
  await house.network('six', { enableIPv6: true, ipam: { config: [{ subnet: '10.77.4.0/24' }, { subnet: 'fd00:77::/64' }] } });
  await house.host.exec('ip', ['addr', 'add', '10.77.5.1/24', 'dev', 'wire0']);
  await house.network('lan', { driver: 'macvlan', options: { parent: 'wire0' }, ...config('10.77.5.0/24') });
  expect(await told(house)).toEqual({});
  await house.host.exec('sh', [
    '-ec',
    [
      'ip link add theirs0 type bridge; ip link set theirs0 up',
      'for a in 10.77.1.9/24 10.77.2.9/28 10.78.0.1/8; do ip addr add $a dev theirs0; done',
      'ip -6 addr add fd00:77::9/64 dev theirs0 nodad',
    ].join('\n'),
  ]);
  const about = (lines: Record<string, Record<string, unknown>[]>): unknown[] => {
    expect(Object.keys(lines)).toEqual([OVERLAP]);
    return (lines[OVERLAP] ?? []).map(({ name, subnet, route }) => [name, subnet, route]);
  };
  const expected = [
    ['same', '10.77.1.0/24', 'route 10.77.1.0/24 dev theirs0'],
    ['part', '10.77.2.0/24', 'route 10.77.2.0/28 dev theirs0'],
    ['six', 'fd00:77::/64', 'route fd00:77::/64 dev theirs0'],
  ];
  expect(about(await told(house))).toEqual(expected);
  expect(about(await told(house))).toEqual(expected);
  await house.host.exec('ip', ['link', 'del', 'theirs0']);
  expect(await told(house)).toEqual({});
});

test('a route over the parent of one network to a part of the subnet of another is told', async () => {
  const house = await House.open();
  await house.network('lan', { driver: 'macvlan', options: { parent: 'wire0' }, ipam: { config: [{ subnet: '10.77.5.0/24' }] } });
  await house.network('near', { ipam: { config: [{ subnet: '10.77.1.0/24' }] } });
  expect(await told(house)).toEqual({});
  await house.host.exec('ip', ['addr', 'add', '10.77.1.9/28', 'dev', 'wire0']);
  expect(await told(house)).toMatchObject({ [OVERLAP]: [{ name: 'near', route: 'route 10.77.1.0/28 dev wire0' }] });
});

test('a route by a gateway is told as one of a link; one that comes after the own route of a bridge is not', async () => {
  const house = await House.open();
  const config = [{ subnet: '10.77.1.0/24' }, { subnet: 'fd00:77::/64' }];
  await house.network('near', { enableIPv6: true, ipam: { config } });
  const ip = (...args: string[]) => house.host.exec('ip', args);
  await ip('route', 'add', '10.77.1.0/24', 'dev', 'wire0', 'metric', '600');
  await ip('route', 'add', 'fd00:77::/64', 'dev', 'wire0', 'metric', '1024');
  expect(await told(house)).toEqual({});
  await ip('route', 'add', '10.77.1.0/25', 'via', WIRE.outside, 'metric', '600');
  await ip('route', 'add', 'fd00:77::/64', 'via', WIRE.outside6, 'metric', '200');
  const { [OVERLAP]: overlaps } = await told(house);
  expect(overlaps?.map(({ route }) => route)).toEqual([
    `route 10.77.1.0/25 via ${WIRE.outside} dev wire0`,
    `route fd00:77::/64 via ${WIRE.outside6} dev wire0`,
  ]);
});
