import { describe, expect, test } from 'vitest';
import { type Address, type NetworkId, type Prefix, CnmError } from '../../src/base/index.ts';
import type { DriverEndpoint, DriverNetwork } from '../../src/driver/index.ts';
import { createIpvlanDriver } from '../../drivers/ipvlan/driver.ts';
import { createMacvlanDriver } from '../../drivers/macvlan/driver.ts';
import { ParentUsers } from '../../drivers/shared/parent.ts';
import { parseParent, parseVlan } from '../../drivers/shared/parent-name.ts';
import type { ParentedOptions } from '../../drivers/shared/parented-options.ts';
import { checkPools, waysOf } from '../../drivers/shared/ways.ts';

const ID = 'abcdef0123456789'.repeat(4) as NetworkId;
const pool = (prefix: string, gateway?: string) => ({
  prefix: prefix as Prefix,
  aux: {},
  ...(gateway !== undefined && { gateway: gateway as Address }),
});
const network = (options: Record<string, string>, rest: Partial<DriverNetwork> = {}): DriverNetwork => ({
  id: ID,
  name: 'net',
  internal: false,
  enableIPv4: true,
  enableIPv6: false,
  options,
  v4: [pool('10.0.0.0/24')],
  v6: [],
  state: null,
  ...rest,
});

/** Code and message of what `work` throws; undefined when it does not. */
function refusal(work: () => unknown): string | undefined {
  try {
    work();
  } catch (error) {
    if (error instanceof CnmError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return undefined;
}

describe('parent', () => {
  test.each([
    ['macvlan', {}, { name: 'dm-abcdef012345', isDummy: true }],
    ['ipvlan', { parent: '' }, { name: 'di-abcdef012345', isDummy: true }],
    ['macvlan', { parent: 'eth0' }, { name: 'eth0', isDummy: false }],
    ['ipvlan', { parent: 'enp0s31f6.4094' }, { name: 'enp0s31f6.4094', isDummy: false }],
  ] as const)('of %s with %j', (driver, options, wanted) => {
    expect(parseParent(driver, network(options))).toEqual(wanted);
  });

  test.each(['lo', 'a b', '..', 'all', 'x/y', 'enp0s31f6.409455', '-x'])('%j is refused', (parent) => {
    expect(refusal(() => parseParent('macvlan', network({ parent })))).toMatch(/^bad_option: /);
  });
});

describe('networks on one parent', () => {
  const user = (driver: 'macvlan' | 'ipvlan', name: string, isAlone = driver === 'ipvlan', parent = 'eth0') => ({
    id: name.padEnd(64, '0') as NetworkId,
    name,
    driver,
    parent,
    isAlone,
  });
  test.each([
    ['macvlan, then macvlan', user('macvlan', 'a'), user('macvlan', 'b'), undefined],
    ['on other parents', user('macvlan', 'a'), user('ipvlan', 'b', true, 'eth0.5'), undefined],
    ['the same again', user('ipvlan', 'a'), user('ipvlan', 'a'), undefined],
    [
      'macvlan, then ipvlan',
      user('macvlan', 'a'),
      user('ipvlan', 'b'),
      /network a .* eth0, and it is of driver macvlan: .* not both/,
    ],
    [
      'ipvlan, then macvlan',
      user('ipvlan', 'a'),
      user('macvlan', 'b'),
      /network a .* eth0, and it is of driver ipvlan: .* not both/,
    ],
    ['passthru, then ipvlan', user('macvlan', 'a', true), user('ipvlan', 'b'), /it is of driver macvlan/],
    ['ipvlan, then ipvlan', user('ipvlan', 'a'), user('ipvlan', 'b'), /network a .* an ipvlan network has its parent for itself/],
    ['macvlan, then passthru', user('macvlan', 'a'), user('macvlan', 'b', true), /mode passthru has its parent for itself/],
    ['passthru, then macvlan', user('macvlan', 'a', true), user('macvlan', 'b'), /mode passthru has its parent for itself/],
  ])('%s', (_what, first, second, wanted) => {
    for (const begin of ['claim', 'note'] as const) {
      const users = new ParentUsers();
      users[begin](first);
      const told = refusal(() => users.claim(second));
      if (wanted === undefined) expect(told).toBeUndefined();
      else expect(told).toMatch(wanted);
      users.forget(first.id);
      expect(refusal(() => users.claim(second))).toBeUndefined();
    }
  });
});

describe('VLAN', () => {
  const present = ['eth0', 'wlan0'];
  test.each([
    ['eth0.1', { base: 'eth0', id: 1 }],
    ['wlan0.4094', { base: 'wlan0', id: 4094 }],
    ['eth0.007', { base: 'eth0', id: 7 }],
  ])('%s', (name, wanted) => expect(parseVlan(name, present)).toEqual(wanted));

  test.each([
    ['nope', 'invalid subinterface vlan name nope, example formatting is eth0.10'],
    ['eth0.', 'invalid subinterface vlan name eth0.'],
    ['.5', 'invalid subinterface vlan name .5'],
    ['eth0.1.2', 'invalid subinterface vlan name eth0.1.2'],
    ['eth0.0', 'vlan id must be between 1-4094'],
    ['eth0.4095', 'vlan id must be between 1-4094'],
    ['eth0.1a', 'vlan id must be between 1-4094'],
    ['eth0.-1', 'vlan id must be between 1-4094'],
    ['eth7.5', '-o parent interface was not found on the host: eth7; this host has eth0, wlan0'],
  ])('%s is refused', (name, words) => expect(refusal(() => parseVlan(name, present))).toContain(`bad_option: ${words}`));

  test('a long list of links is cut', () => {
    const many = Array.from({ length: 30 }, (_, i) => `eth${i}`);
    expect(refusal(() => parseVlan('nope', many))).toMatch(/has eth0, .*eth7 and 22 more$/);
  });
});

describe('modes', () => {
  // Nothing of it is used before something is made.
  const parts = {} as Parameters<typeof createMacvlanDriver>[0];
  const [macvlan, ipvlan] = [createMacvlanDriver(parts), createIpvlanDriver(parts)];
  const refused = (driver: typeof macvlan, options: Record<string, string>): string | undefined =>
    refusal(() => driver.validateNetwork?.(network(options)));

  test.each(['', 'bridge', 'private', 'vepa', 'passthru'])('macvlan takes %j', (macvlan_mode) =>
    expect(refused(macvlan, { macvlan_mode })).toBeUndefined(),
  );
  test.each(['', 'l2', 'l3', 'l3s'])('ipvlan takes %j', (ipvlan_mode) =>
    expect(refused(ipvlan, { ipvlan_mode, ipvlan_flag: 'vepa' })).toBeUndefined(),
  );
  test.each([
    [macvlan, { macvlan_mode: 'Bridge' }, "'bridge' mode is the macvlan driver default; use bridge, private, vepa, passthru"],
    [ipvlan, { ipvlan_mode: 'l4' }, "'l2' mode is the ipvlan driver default; use l2, l3, l3s"],
    [ipvlan, { ipvlan_flag: 'none' }, "'bridge' flag is the ipvlan driver default; use bridge, private, vepa"],
    [macvlan, { macvlan_mode: 'passthru', host_access: 'true' }, 'keeps links on one parent apart'],
    [ipvlan, { ipvlan_flag: 'private', host_access: '1' }, 'keeps links on one parent apart'],
    [macvlan, { 'com.docker.network.container_iface_prefix': 'averylongprefix' }, 'up to 12'],
    [macvlan, { 'com.docker.network.advertise_addr_nmsgs': '9' }, 'from 0 to 3'],
  ])('%#: what is wrong is said, with what would be right', (driver, options, words) =>
    expect(refused(driver, options as unknown as Record<string, string>)).toContain(words),
  );

  test('gateways are leased only when they are given, and the host has an address of each subnet when it is to have one', async () => {
    const asked = { options: {}, internal: false, enableIPv6: false };
    expect(await macvlan.skipGwAlloc?.({ signal: new AbortController().signal }, asked)).toEqual({ v4: true, v6: true });
    expect(macvlan.auxAddresses?.({})).toEqual([]);
    expect(macvlan.auxAddresses?.({ host_access: 'true' })).toEqual(['host']);
  });
});

describe('ways out', () => {
  const options = (isLayer3: boolean, isClosed = false) => ({ isClosed, mode: { isLayer3 } }) as ParentedOptions;
  const ep = (v4?: string, v6?: string) =>
    ({ iface: { ...(v4 !== undefined && { v4 }), ...(v6 !== undefined && { v6 }) } }) as unknown as DriverEndpoint;
  const net = network({}, { v4: [pool('10.0.0.0/24'), pool('10.1.0.0/16', '10.1.0.1')], v6: [pool('fd00::/64', 'fd00::1')] });

  test.each([
    ['no gateway', ep('10.0.0.5/24'), options(false), { wayOut: { v4: 'none' } }],
    ['the gateway of its subnet', ep('10.1.3.5/16', 'fd00::7/64'), options(false), { gateway: '10.1.0.1', gateway6: 'fd00::1' }],
    ['routed: the link itself', ep('10.1.3.5/16', 'fd00::7/64'), options(true), { wayOut: { v4: 'link', v6: 'link' } }],
    ['internal', ep('10.1.3.5/16', 'fd00::7/64'), options(true, true), {}],
    ['no address', ep(), options(false), {}],
  ])('%s', (_what, endpoint, parsed, wanted) => expect(waysOf(net, endpoint, parsed)).toEqual(wanted));

  test.each([ep('10.9.0.5/24'), ep('10.1.3.5/24'), ep('10.0.0.5/24', 'fd00::7/128')])(
    '%#: an address of no subnet is refused',
    (endpoint) => {
      expect(refusal(() => waysOf(net, endpoint, options(false)))).toMatch(
        /^address_out_of_range: could not find a valid ipv[46] subnet/,
      );
    },
  );
});

test.each([
  [{ v4: [] }, 'ipv4 pool is empty'],
  [{ v4: [pool('0.0.0.0/0')] }, 'ipv4 pool is empty'],
  [{ enableIPv6: true }, 'ipv6 pool is empty'],
  [{ v4: [pool('224.0.0.0/24')] }, 'multicast'],
  [{ v4: [pool('10.0.0.0/24'), pool('127.1.0.0/24')] }, 'loopback'],
])('subnets %j are refused', (rest, words) => {
  expect(refusal(() => checkPools(network({}, rest)))).toContain(`bad_subnet: `);
  expect(refusal(() => checkPools(network({}, rest)))).toContain(words);
});
