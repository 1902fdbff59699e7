/** Services of networks of one host: names, members, health, drain, restart. What packets do is balance's. */

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { codeOf } from '../../src/base/index.ts';
import { House } from './house-lab.ts';
import { NotedBalancer, addressesOf, membersOf, nameOf } from './services-lab.ts';

const SOON = { timeout: 20_000, interval: 50 };
/** How long a member may drain, and more than the time between two looks, milliseconds. */
const [MINUTES_MS, LOOKS_MS] = [600_000, 3000];
const code = (work: Promise<unknown>): Promise<string | undefined> => work.then(() => undefined, codeOf);

async function open(now: () => number = Date.now) {
  const balancer = new NotedBalancer();
  const house = await House.open({
    parts: (parts) => ({ ...parts, env: { ...parts.env, now }, balancer: balancer.over(parts.balancer) }),
  });
  await house.network('net', { enableIPv6: true });
  const client = await house.sandbox('client', [['net', {}]]);
  return { house, client, balancer };
}

test('a service answers to its name with its own address, and its tasks with those of the members that serve', async () => {
  const { house, client, balancer } = await open();
  const { services } = house.controller;
  const { vips } = await services.create({ name: 'Web', network: 'net', aliases: ['www'] });
  const [vip] = vips.map(({ address }) => address);
  expect(vips).toHaveLength(2);
  expect(await addressesOf(client, 'web')).toEqual([vip]);
  expect(await addressesOf(client, 'www')).toEqual([vip]);
  expect(await nameOf(client, vip ?? '')).toBe('web.net.');
  expect(await addressesOf(client, 'tasks.web')).toEqual([]);
  for (const name of ['a', 'b']) {
    await house.sandbox(name, [['net', {}]]);
    await services.members.add(services.find('Web'), name);
  }
  const all = ['a', 'b'].map((name) => house.address(name, 'net'));
  expect(await addressesOf(client, 'tasks.web')).toEqual(all.toSorted());
  expect(await nameOf(client, all[0] ?? '')).toBe('a.net.');
  const [told] = balancer.told.get(client.host.identity) ?? [];
  expect(told?.vips).toEqual(vips.map(({ address }) => address));
  expect(told?.members.map(({ addresses, state }) => `${addresses[0]} ${state}`).toSorted()).toEqual(
    all.map((one) => `${one} serving`).toSorted(),
  );
  // Who comes later has it too, and who leaves has nothing left.
  const late = await house.sandbox('late', [['net', {}]]);
  expect(balancer.told.get(late.host.identity)?.[0]?.members).toHaveLength(2);
  await house.controller.disconnect('net', 'late', false);
  expect(balancer.told.has(late.host.identity)).toBe(false);
  await house.controller.disconnect('net', 'a', false);
  expect(await addressesOf(client, 'tasks.web')).toEqual([all[1]]);
  await house.controller.deleteSandbox('b', true);
  expect(await addressesOf(client, 'tasks.web')).toEqual([]);
  expect(await code(house.controller.deleteNetwork('net'))).toBe('network_in_use');
  await services.remove('Web');
  expect(await addressesOf(client, 'web')).toEqual([]);
  expect(balancer.told.has(client.host.identity)).toBe(false);
});

test('without a virtual address the name is the members themselves', async () => {
  const { house, client } = await open();
  const { services } = house.controller;
  const service = await services.create({ name: 'web', network: 'net', mode: 'dnsrr' });
  expect(service.vips).toEqual([]);
  await house.sandbox('a', [['net', {}]]);
  await services.members.add(service, 'a');
  const address = house.address('a', 'net');
  expect(await addressesOf(client, 'web')).toEqual([address]);
  expect(await nameOf(client, address)).toBe('a.net.');
  await services.members.drain(service, 'a');
  expect(await addressesOf(client, 'web')).toEqual([]);
});

test('what cannot be is refused, and nothing is left', async () => {
  const { house } = await open();
  const { services } = house.controller;
  const before = await house.world();
  expect(await code(services.create({ name: 'client', network: 'net' }))).toBe('name_taken');
  expect(await code(services.create({ name: 'web', network: 'ghost' }))).toBe('no_network');
  expect(await code(services.create({ name: 'web', network: 'net', health: { command: 'true' } }, undefined, { uid: 1 }))).toBe(
    'not_permitted',
  );
  expect(await house.world()).toEqual(before);
  const web = await services.create({ name: 'web', network: 'net', ports: [{ published: 8080, target: 80 }] });
  expect(await code(services.create({ name: 'WEB', network: 'net' }))).toBe('name_taken');
  expect(await code(services.create({ name: 'other', network: 'net', ports: [{ published: 8080, target: 81 }] }))).toBe(
    'port_taken',
  );
  expect(await code(house.controller.createSandbox({ name: 'web', networks: [['net', {}]] }))).toBe('name_taken');
  expect(await code(services.members.add(web, 'ghost'))).toBe('no_sandbox');
  await house.network('far');
  await house.sandbox('out', [['far', {}]]);
  expect(await code(services.members.add(web, 'out'))).toBe('not_connected');
  expect(await code(services.members.drain(web, 'client'))).toBe('no_member');
  await services.members.add(web, 'client');
  expect(await code(services.members.add(web, 'client'))).toBe('already_joined');
});

test('a member is in names when its check says that it serves, and out of them when it does not', async () => {
  const { house, client } = await open();
  const { services } = house.controller;
  const health = { tcp: 80, intervalMs: 100, timeoutMs: 500, retries: 2 };
  const service = await services.create({ name: 'web', network: 'net', health });
  await house.controller.createSandbox({ name: 'a', networks: [['net', {}]] });
  await services.members.add(service, 'a');
  await vi.waitFor(() => expect(membersOf(house, 'web')).toEqual({ a: 'unhealthy' }), SOON);
  expect(await addressesOf(client, 'tasks.web')).toEqual([]);
  const inside = house.inside('a');
  const server = inside.exec(process.execPath, ['-e', "require('net').createServer((s) => s.end()).listen(80, '0.0.0.0')"], {
    reject: false,
  });
  await vi.waitFor(() => expect(membersOf(house, 'web')).toEqual({ a: 'healthy' }), SOON);
  await vi.waitFor(async () => expect(await addressesOf(client, 'tasks.web')).toEqual([house.address('a', 'net')]), SOON);
  server.kill('SIGKILL');
  await server;
  await vi.waitFor(async () => expect(await addressesOf(client, 'tasks.web')).toEqual([]), SOON);
});

test('a member that drains keeps its connections while the time of day is set forward, and goes with the last one', async () => {
  let later = 0;
  const { house, client } = await open(() => Date.now() + later);
  const { services } = house.controller;
  const service = await services.create({ name: 'web', network: 'net' });
  await house.controller.createSandbox({ name: 'a', networks: [['net', {}]] });
  await services.members.add(service, 'a');
  const held = `require('net').createServer((s) => s.resume()).listen(81, '0.0.0.0', () => console.log('listens'))`;
  const server = house.inside('a').exec(process.execPath, ['-e', held], { reject: false });
  await once(server.stdout, 'data');
  const call = `require('net').connect(81, '${house.address('a', 'net')}', () => console.log('connected'))`;
  const caller = client.exec(process.execPath, ['-e', call], { reject: false });
  await once(caller.stdout, 'data');
  const until = Date.now() + MINUTES_MS;
  const endpoint = await services.members.drain(service, 'a', until);
  const waits = services.members.drained(service, endpoint, until, new AbortController().signal);
  later = 2 * MINUTES_MS;
  const first = await Promise.race([waits, sleep(LOOKS_MS, 'still waits')]);
  expect([first, membersOf(house, 'web')]).toEqual(['still waits', { a: 'draining' }]);
  caller.kill('SIGKILL');
  await caller;
  expect(await waits).toBe(0);
  await vi.waitFor(() => expect(membersOf(house, 'web')).toEqual({}), SOON);
  server.kill('SIGKILL');
  await server;
});
