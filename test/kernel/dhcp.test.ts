/** The IPAM driver dhcp against a real server, on a parent of a host. */

import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { endServers, DhcpServer, type ServerOptions } from './dhcp-server.ts';
import { House, type HouseOptions } from './house-lab.ts';
import { LAN, comes, plugIn, plugLan } from './parent-lab.ts';
import { testFolder } from './support.ts';

afterEach(endServers);

/** A server that does not answer is asked again soon. */
const PATIENCE = { leastMs: 500, mostMs: 500 };
/** Longest wait for what a server's silence leads to, milliseconds. */
const LIMIT_MS = 25_000;
/** The machine may be busy, and a question that nobody answers takes ten seconds. */
const LONG = { timeout: 90_000 };

async function dhcpHouse(options: HouseOptions = {}): Promise<House> {
  const house = await House.open({ patience: PATIENCE, ...options });
  await plugLan(house.host, house.outside);
  return house;
}

const serve = (house: House, rest: Partial<ServerOptions> = {}): Promise<DhcpServer> =>
  DhcpServer.start({
    netns: house.outside.path,
    link: 'switch0',
    leaseFile: join(testFolder(), 'leases'),
    range: '10.30.0.10,10.30.0.20,2m',
    ...rest,
  });

/** Renewed after a second, asked of all after three: the shortest lease that the server gives is two minutes. */
const SHORT = ['--dhcp-option=option:T1,1', '--dhcp-option=option:T2,3'];

const onDhcp = { driver: 'macvlan', ipam: { driver: 'dhcp' }, options: { parent: 'lan0' } } as const;
const inSubnet = { ...onDhcp, ipam: { driver: 'dhcp', config: [{ subnet: LAN.v4 }] } } as const;

const boxed = (house: House, name = 'box', spec = {}) =>
  house.controller.createSandbox({ name, networks: [['lan', spec]] }).then(() => house.address(name, 'lan'));

const leasesOf = async (house: House): Promise<unknown[]> => [...(await house.store.list('dhcp-lease/')).entries];

/** What the house shows of the sandbox's lease. */
const troubles = (house: House): readonly string[] =>
  house.controller.endpoints().flatMap((ep) => house.controller.leaseTroubles.ofEndpoint(ep.record));

async function until(isTrue: () => boolean): Promise<void> {
  const end = Date.now() + LIMIT_MS;
  while (!isTrue()) {
    if (Date.now() > end) throw new Error('it does not come true');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('a network whose addresses a server gives', () => {
  test('has its subnet and its router, and a sandbox the address that its file says, for as long as it is there', async () => {
    const house = await dhcpHouse();
    const server = await serve(house);
    await house.network('lan', onDhcp);
    expect(house.controller.network('lan').record.pools).toMatchObject([{ family: 4, prefix: LAN.v4, gateway: LAN.router }]);
    expect(server.leases()).toEqual([]);
    const address = await boxed(house);
    const { mac, v4 } = house.controller.sandbox('box').endpoints()[0]?.record ?? {};
    expect(server.leases()).toEqual([{ mac, address, name: 'box', clientId: `01:${mac}` }]);
    expect(v4).toBe(`${address}/24`);
    const box = house.inside('box');
    expect((await box.exec('ip', ['-o', 'addr', 'show', 'eth0'])).stdout).toContain(`inet ${address}/24`);
    expect((await box.exec('ip', ['route', 'show', 'default'])).stdout).toContain(`via ${LAN.router}`);
    expect(await comes(box, LAN.far)).toBe(true);
    await house.controller.sandbox('box').delete();
    await server.says(/DHCPRELEASE/);
    await until(() => server.leases().length === 0);
    expect(await leasesOf(house)).toEqual([]);
    await house.controller.deleteNetwork('lan');
  });

  test('leaves nothing when no server answers, and says what would work', LONG, async () => {
    const house = await dhcpHouse();
    const before = await house.world();
    await expect(house.network('lan', onDhcp)).rejects.toMatchObject({
      code: 'dhcp_unanswered',
      message: expect.stringContaining('give --subnet') as string,
    });
    expect(await house.world()).toEqual(before);
    await house.network('lan', inSubnet);
    const made = await house.world();
    await expect(boxed(house)).rejects.toMatchObject({ code: 'dhcp_unanswered' });
    expect(await house.world()).toEqual(made);
  });

  test('of a subnet that is not the server’s takes no address of another one', LONG, async () => {
    const house = await dhcpHouse();
    const server = await serve(house);
    await house.network('lan', {
      ...onDhcp,
      ipam: { driver: 'dhcp', config: [{ subnet: '10.31.0.0/24', gateway: '10.31.0.1' }] },
    });
    const before = await house.world();
    await expect(boxed(house)).rejects.toMatchObject({
      code: 'dhcp_refused',
      message: expect.stringContaining('not inside 10.31.0.0/24') as string,
    });
    expect(server.leases()).toEqual([]);
    expect(await house.world()).toEqual(before);
  });

  test('whose router is named by the user has that one, and no sandbox gets its address', LONG, async () => {
    const house = await dhcpHouse();
    const mac = '02:00:00:00:00:55';
    await serve(house, { flags: [`--dhcp-host=${mac},10.30.0.200`] });
    await house.network('lan', { ...onDhcp, ipam: { driver: 'dhcp', config: [{ subnet: LAN.v4, gateway: '10.30.0.200' }] } });
    await boxed(house);
    expect((await house.inside('box').exec('ip', ['route', 'show', 'default'])).stdout).toContain('via 10.30.0.200');
    await expect(boxed(house, 'late', { mac })).rejects.toMatchObject({ code: 'dhcp_refused' });
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['on a bridge', { driver: 'bridge' }, 'bad_option'],
    ['without a parent', { options: {} }, 'bad_option'],
    ['with IPv6', { enableIPv6: true }, 'bad_option'],
    ['of IPv6 alone', { enableIPv4: false, enableIPv6: true }, 'bad_option'],
    [
      'with a range of its own',
      { ipam: { driver: 'dhcp', config: [{ subnet: LAN.v4, range: '10.30.0.0/25' }] } },
      'bad_ip_range',
    ],
    [
      'with two subnets',
      { ipam: { driver: 'dhcp', config: [{ subnet: LAN.v4 }, { subnet: '10.31.0.0/24' }] } },
      'too_many_subnets',
    ],
    ['with a place of the host that nobody gives', { options: { parent: 'lan0', host_access: 'true' } }, 'bad_aux_address'],
    ['of ipvlan in mode l3', { driver: 'ipvlan', options: { parent: 'lan0', ipvlan_mode: 'l3' } }, 'bad_option'],
    ['on a parent that is not there', { options: { parent: 'nope' } }, 'bad_option'],
  ])('is refused at once %s', async (_what, change, code) => {
    const house = await dhcpHouse();
    const before = await house.world();
    await expect(house.network('lan', { ...onDhcp, ...change })).rejects.toMatchObject({ code });
    expect(await house.world()).toEqual(before);
  });

  test('is not made on a parent that is down', async () => {
    const house = await dhcpHouse();
    await house.host.exec('ip', ['link', 'set', 'lan0', 'down']);
    await expect(house.network('lan', onDhcp)).rejects.toMatchObject({ code: 'parent_gone' });
    expect(await leasesOf(house)).toEqual([]);
  });

  test('has a place of the host where the user says', async () => {
    const house = await dhcpHouse();
    await serve(house);
    const options = { parent: 'lan0', host_access: 'true' };
    const config = [{ subnet: LAN.v4, gateway: LAN.router, aux: { host: '10.30.0.200' } }];
    await house.network('lan', { ...onDhcp, options, ipam: { driver: 'dhcp', config } });
    const address = await boxed(house);
    expect(await comes(house.host, address)).toBe(true);
    await house.controller.sandbox('box').delete();
    await house.controller.deleteNetwork('lan');
    expect(await leasesOf(house)).toEqual([]);
  });
});

describe('a sandbox', () => {
  test('with a MAC that the server knows has the address that is reserved for it', async () => {
    const house = await dhcpHouse();
    const mac = '02:00:00:00:00:55';
    await serve(house, { flags: [`--dhcp-host=${mac},10.30.0.99`] });
    await house.network('lan', onDhcp);
    expect(await boxed(house, 'box', { mac })).toBe('10.30.0.99');
  });

  test('has the address that it asks for, and another one none of another', LONG, async () => {
    const house = await dhcpHouse();
    const server = await serve(house);
    await house.network('lan', onDhcp);
    expect(await boxed(house, 'box', { ipv4: '10.30.0.15' })).toBe('10.30.0.15');
    const before = [await house.world(), server.leases()];
    await expect(boxed(house, 'late', { ipv4: '10.30.0.15' })).rejects.toMatchObject({ code: 'address_in_use' });
    expect([await house.world(), server.leases()]).toEqual(before);
  });

  test('among many at once has an address of its own', async () => {
    const house = await dhcpHouse();
    const server = await serve(house);
    await house.network('lan', onDhcp);
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    const addresses = await Promise.all(names.map((name) => boxed(house, name)));
    expect(new Set(addresses).size).toBe(names.length);
    expect(
      server
        .leases()
        .map((one) => `${one.name} ${one.address}`)
        .sort(),
    ).toEqual(names.map((name, i) => `${name} ${addresses[i]}`));
    await Promise.all(names.map((name) => house.controller.sandbox(name).delete()));
    await until(() => server.leases().length === 0);
  });

  test('among many at once that are all offered the same one has one in the end', LONG, async () => {
    const house = await dhcpHouse();
    // dnsmasq begins to look at a sum of the MAC, of which these octets cancel each other where there are 32 addresses.
    await serve(house, { range: '10.30.0.10,10.30.0.41,2m' });
    await house.network('lan', onDhcp);
    const macs = Array.from({ length: 12 }, (_, i) => `02:00:00:00:1${i.toString(16)}:1${i.toString(16)}`);
    const addresses = await Promise.all(macs.map((mac, i) => boxed(house, `box${i}`, { mac })));
    expect(new Set(addresses).size).toBe(macs.length);
  });

  test('is told when the server has no address left, and gets the next that is free', LONG, async () => {
    const house = await dhcpHouse();
    const server = await serve(house, { range: '10.30.0.10,10.30.0.11,2m' });
    await house.network('lan', onDhcp);
    await boxed(house, 'a');
    const second = await boxed(house, 'b');
    await expect(boxed(house, 'c')).rejects.toMatchObject({
      code: 'dhcp_unanswered',
      message: expect.stringContaining('addresses left') as string,
    });
    await server.says(/no address available/);
    await house.controller.sandbox('b').delete();
    await until(() => server.leases().length === 1);
    expect(await boxed(house, 'c')).toBe(second);
  });

  test('of several networks that is not made gives its leases back', async () => {
    const house = await dhcpHouse();
    const server = await serve(house);
    await house.network('lan', onDhcp);
    await house.network('more', onDhcp);
    await house.network('one');
    const networks = ['lan', 'more', 'one'].map(
      (name) => [name, name === 'one' ? { ipv4: '192.0.2.1' } : {}] as [string, object],
    );
    const before = await house.world();
    await expect(house.controller.createSandbox({ name: 'box', networks })).rejects.toMatchObject({
      code: 'address_out_of_range',
    });
    expect(server.log.match(/DHCPACK/g)).toHaveLength(2);
    await until(() => server.leases().length === 0);
    expect(await house.world()).toEqual(before);
    await house.controller.createSandbox({ name: 'box', networks: networks.slice(0, 2) });
    expect(server.leases()).toHaveLength(2);
  });
});

describe('a lease', () => {
  test('is renewed in its time, in a sandbox and in none', async () => {
    const house = await dhcpHouse();
    const server = await serve(house, { flags: SHORT });
    await house.network('lan', onDhcp);
    const address = await boxed(house);
    await server.says(new RegExp(`DHCPACK.* ${address} `), 4);
    const ep = await house.controller.createEndpoint('lan', 'lonely');
    const lonely = ep.record.v4?.replace(/\/.*/, '') ?? '';
    await server.says(new RegExp(`DHCPACK.* ${lonely} `), 3);
    await house.network('one');
    const { sandbox } = await house.controller.createSandbox({ name: 'home', networks: [['one', {}]] });
    await house.controller.joinEndpoint('lonely', sandbox.id);
    expect(house.address('home', 'lan')).toBe(lonely);
    expect(troubles(house)).toEqual([]);
    expect(server.leases()).toHaveLength(2);
  });

  test('outlives its server: the address stays, the network shows it, and the same address is had again', LONG, async () => {
    const house = await dhcpHouse();
    const server = await serve(house, { flags: SHORT });
    await house.network('lan', onDhcp);
    const address = await boxed(house);
    await server.kill();
    await until(() => troubles(house).length > 0);
    expect(troubles(house)).toEqual([expect.stringContaining(`box keeps ${address}`)]);
    const actions = () =>
      house.controller.events
        .recent()
        .map(({ action }) => action)
        .filter((action) => action.startsWith('lease'));
    expect(actions()).toEqual(['lease-lost']);
    const box = house.inside('box');
    expect(await comes(box, LAN.router)).toBe(true);
    // One that has forgotten all, and may say so: it is the only one here.
    const next = await server.restart({ forgets: true, flags: [...SHORT, '--dhcp-authoritative'] });
    await until(() => troubles(house).length === 0);
    expect(actions()).toEqual(['lease-lost', 'lease-regained']);
    expect(next.leases().map((one) => one.address)).toEqual([address]);
    expect(house.address('box', 'lan')).toBe(address);
  });

  test('that the server takes back is shown with what to do, and a new connect has another one', LONG, async () => {
    const house = await dhcpHouse();
    const server = await serve(house, { flags: SHORT });
    await house.network('lan', onDhcp);
    const address = await boxed(house);
    const next = await server.restart({
      forgets: true,
      range: '10.30.0.100,10.30.0.110,2m',
      flags: [...SHORT, '--dhcp-authoritative'],
    });
    await until(() => troubles(house).some((text) => text.includes('refuses')));
    expect(troubles(house)[0]).toContain('disconnect and connect again');
    await next.says(/DHCPNAK/);
    expect((await house.inside('box').exec('ip', ['addr'])).stdout).toContain(address);
    // It is shown after a restart too, before anybody is asked.
    await house.controller.close();
    await house.start({ patience: PATIENCE });
    expect(troubles(house)).toHaveLength(1);
    await house.controller.disconnect('lan', 'box', false);
    await house.controller.connect('lan', 'box', {});
    expect(house.address('box', 'lan')).toMatch(/^10\.30\.0\.1\d\d$/);
    expect(troubles(house)).toEqual([]);
    expect(next.leases()).toHaveLength(1);
  });

  test('goes on after a restart, and nobody asks for a second one', async () => {
    const house = await dhcpHouse();
    const server = await serve(house, { flags: SHORT });
    await house.network('lan', onDhcp);
    const address = await boxed(house);
    await house.controller.close();
    await house.start({ patience: PATIENCE });
    const offers = server.log.match(/DHCPDISCOVER/g)?.length;
    const count = server.log.match(/DHCPACK/g)?.length ?? 0;
    await server.says(/DHCPACK/, count + 2);
    expect(server.log.match(/DHCPDISCOVER/g)).toHaveLength(offers ?? 0);
    expect(house.address('box', 'lan')).toBe(address);
    expect(server.leases().map((one) => one.address)).toEqual([address]);
    await house.controller.sandbox('box').delete();
    await until(() => server.leases().length === 0);
  });

  test('of nobody is given back at a start; one that is not recorded is asked for', async () => {
    const house = await dhcpHouse();
    const server = await serve(house);
    await house.network('lan', onDhcp);
    await boxed(house, 'known');
    await boxed(house, 'lost');
    const { id } = house.controller.sandbox('lost').endpoints()[0]?.record ?? { id: '' };
    const [first] = (await house.store.list('dhcp-lease/')).entries.filter(({ key }) => key === `dhcp-lease/${id}`);
    await house.controller.close();
    const known = house.controller.sandbox('known').endpoints()[0]?.record;
    // As if a daemon had died between the server's answer and its own record, and as if one had lost a record.
    const orphan = { ...(first?.value as object), id: 'ee'.repeat(32) };
    await house.store.commit({
      put: [{ key: `dhcp-lease/${'ee'.repeat(32)}`, value: orphan }],
      remove: [`dhcp-lease/${id}`, `dhcp-lease/${known?.id}`],
    });
    await house.start({ patience: PATIENCE });
    await server.says(/DHCPRELEASE/);
    await server.says(/DHCPACK/, 3);
    const kept = (await leasesOf(house)) as { value: { id: string } }[];
    expect(kept.map(({ value }) => value.id).sort()).toEqual([id, known?.id ?? ''].sort());
    expect(house.address('known', 'lan')).toBe(known?.v4?.replace(/\/.*/, ''));
  });

  test('is asked for again when the parent is back', LONG, async () => {
    const house = await dhcpHouse();
    const server = await serve(house, { flags: SHORT });
    await house.network('lan', onDhcp);
    const address = await boxed(house);
    await house.host.exec('ip', ['link', 'del', 'lan0']);
    await until(() => troubles(house).length > 0);
    await plugIn(house);
    await house.controller.mend();
    await until(() => troubles(house).length === 0);
    expect(house.address('box', 'lan')).toBe(address);
    expect(server.leases().map((one) => one.address)).toEqual([address]);
  });
});
