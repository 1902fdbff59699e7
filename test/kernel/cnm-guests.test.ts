/** What an engine asks for twice. */

import { expect, test, vi } from 'vitest';
import type { Address, EndpointId, NetworkId, Prefix } from '../../src/base/index.ts';
import { House } from './house-lab.ts';
import { afterTest } from './keeper-lab.ts';
import { hostAt, testHosts } from './support.ts';

const NETWORK = 'a1'.repeat(32) as NetworkId;
const ENDPOINT = 'b2'.repeat(32) as EndpointId;
const KEY = '/run/netns/is-to-come';
const network = {
  internal: false,
  enableIPv4: true,
  enableIPv6: false,
  options: {},
  v4: [{ prefix: '10.41.0.0/24' as Prefix, gateway: '10.41.0.1' as Address, aux: {} }],
  v6: [],
};

test('a join that comes again begins anew: nothing of the first one is published or held', async () => {
  const house = await House.open();
  const { guests } = house.controller;
  await guests.createNetwork('bridge', NETWORK, network);
  const publish = [{ protocol: 'tcp', port: 80, hostPorts: { from: 8080, to: 8080 } } as const];
  await guests.createEndpoint(NETWORK, ENDPOINT, { v4: '10.41.0.2/24' as Prefix, options: {}, publish });
  const first = await guests.join(NETWORK, ENDPOINT, KEY);
  const joined = guests.endpoints();
  await guests.program(NETWORK, ENDPOINT, { roles: { v4: true, v6: false } });
  expect(guests.endpoints()[0]?.held).toHaveLength(1);
  expect(await guests.join(NETWORK, ENDPOINT, KEY)).toEqual(first);
  expect(guests.endpoints()).toEqual(joined);
  expect((await house.world()).keeper).toMatchObject({ holds: [] });
  await guests.deleteNetwork(NETWORK);
  expect(guests.endpoints()).toEqual([]);
});

test('a deleted bridge is made again, and a link that an engine has moved is plugged in again', async () => {
  const house = await House.open();
  const { guests } = house.controller;
  await guests.createNetwork('bridge', NETWORK, network);
  await guests.createEndpoint(NETWORK, ENDPOINT, { v4: '10.41.0.2/24' as Prefix, options: {}, publish: [] });
  const { link } = await guests.join(NETWORK, ENDPOINT, KEY);
  const box = hostAt(await testHosts(1), 0);
  await house.host.exec('ip', ['link', 'set', link?.name ?? '', 'netns', box.path, 'name', 'eth0']);
  await box.exec('ip', ['addr', 'add', '10.41.0.2/24', 'dev', 'eth0']);
  await box.exec('ip', ['link', 'set', 'eth0', 'up']);
  const isReached = async (): Promise<boolean> =>
    (await box.exec('ping', ['-c1', '-W2', '10.41.0.1'], { reject: false })).exitCode === 0;
  expect(await isReached()).toBe(true);
  await house.host.exec('ip', ['link', 'del', `br-${NETWORK.slice(0, 12)}`]);
  expect(await isReached()).toBe(false);
  await house.controller.mend();
  expect(await isReached()).toBe(true);
  // With its other side the engine's container takes the pair away: nothing is to be mended then.
  await box.exec('ip', ['link', 'del', 'eth0']);
  const before = await house.world();
  await house.controller.mend();
  expect(await house.world()).toEqual(before);
  await guests.deleteNetwork(NETWORK);
});

test('a container that runs is known as one that runs, also by a clock that was set back meanwhile', async () => {
  const house = await House.open();
  const { guests } = house.controller;
  await guests.createNetwork('bridge', NETWORK, network);
  await guests.createEndpoint(NETWORK, ENDPOINT, { v4: '10.41.0.2/24' as Prefix, options: {}, publish: [] });
  const box = hostAt(await testHosts(1), 0);
  await box.exec('ip', ['link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth1']);
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 5 * 3_600_000 });
  afterTest(() => void vi.useRealTimers());
  // The engine is given no link to move: it is made inside.
  expect((await guests.join(NETWORK, ENDPOINT, box.path)).link).toBeUndefined();
  await guests.deleteNetwork(NETWORK);
});

test('the address of an endpoint that its engine has forgotten is free again, in the pool that leased it and nowhere else', async () => {
  const { guests } = (await House.open()).controller;
  const lease = (subnet: string) =>
    guests.requestPool({ space: 'LocalDefault', family: 4, subnet: subnet as Prefix, options: {} }).then(({ pool }) => pool);
  const [pool, other] = [await lease('10.41.0.0/24'), await lease('10.42.0.0/24')];
  const address = '10.41.0.2' as Address;
  const ask = (from: string, wanted: Address) => guests.requestAddress(from, { address: wanted, owner: 'one', options: {} });
  await ask(pool, address);
  await ask(other, '10.42.0.2' as Address);
  await guests.createNetwork('bridge', NETWORK, network);
  await guests.createEndpoint(NETWORK, ENDPOINT, { v4: `${address}/24` as Prefix, options: {}, publish: [] });
  await expect(ask(pool, address)).rejects.toMatchObject({ code: 'address_in_use' });
  await guests.forgetEndpoint(NETWORK, ENDPOINT);
  expect(guests.endpoints()).toEqual([]);
  expect(await ask(pool, address)).toBe(`${address}/24`);
  await expect(ask(other, '10.42.0.2' as Address)).rejects.toMatchObject({ code: 'address_in_use' });
  await guests.deleteNetwork(NETWORK);
});
