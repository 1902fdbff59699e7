import { describe, expect, test } from 'vitest';
import { type Address, type NetworkId, type Prefix, codeOf, messageOf } from '../../src/base/index.ts';
import { type DriverNetwork, type DriverPool, labels } from '../../src/driver/index.ts';
import { type BridgeOptions, checkSubnets, containerGateway, parseBridgeOptions } from '../../drivers/bridge/options.ts';

const network = (changes: Partial<DriverNetwork> = {}): DriverNetwork => ({
  id: `0123456789ab${'c'.repeat(52)}` as NetworkId,
  name: 'front',
  internal: false,
  enableIPv4: true,
  enableIPv6: false,
  options: {},
  v4: [],
  v6: [],
  state: null,
  ...changes,
});

const pool = (prefix: string, gateway?: string, aux: Record<string, string> = {}): DriverPool => ({
  prefix: prefix as Prefix,
  ...(gateway !== undefined && { gateway: gateway as Address }),
  aux: aux as Record<string, Address>,
});

function expectRefused(work: () => unknown, code: string, ...words: string[]): void {
  let seen: unknown = 'accepted';
  try {
    work();
  } catch (error) {
    seen = error;
  }
  expect(codeOf(seen), messageOf(seen)).toBe(code);
  for (const word of words) expect(messageOf(seen)).toContain(word);
}

const defaults: BridgeOptions = {
  bridge: 'br-0123456789ab',
  masquerade: true,
  icc: true,
  mode4: 'nat',
  mode6: 'nat',
  inhibitIPv4: false,
  isDefault: false,
  trustedInterfaces: [],
  advertise: { count: 3, intervalMs: 1000 },
};

const ip = (text: string): Address => text as Address;
const TRUTHS: readonly [string, boolean][] = [
  ['true', true],
  ['1', true],
  ['T', true],
  ['false', false],
  ['0', false],
  ['False', false],
];

describe('bridge options', () => {
  test('nothing given: the defaults', () => {
    expect(parseBridgeOptions(network())).toEqual(defaults);
  });

  test('every key left empty, and keys that are not known, change nothing', () => {
    const { auxGatewayIPv4: _4, auxGatewayIPv6: _6, ...keys } = labels;
    const options = Object.fromEntries([...Object.values(keys).map((key) => [key, '']), ['com.example.other', 'x']]);
    expect(parseBridgeOptions(network({ options }))).toEqual(defaults);
  });

  const good: readonly [key: keyof typeof labels, text: string, expected: Partial<BridgeOptions>][] = [
    ['bridgeName', 'br0', { bridge: 'br0' }],
    ['bridgeName', 'a_b.c-d', { bridge: 'a_b.c-d' }],
    ['bridgeName', 'fifteencharacte', { bridge: 'fifteencharacte' }],
    ['gatewayModeIPv4', 'nat', {}],
    ['gatewayModeIPv4', 'nat-unprotected', { mode4: 'nat-unprotected' }],
    ['gatewayModeIPv4', 'routed', { mode4: 'routed' }],
    ['gatewayModeIPv6', 'routed', { mode6: 'routed' }],
    ['hostBinding', '127.0.0.1', { hostBinding: ip('127.0.0.1') }],
    ['hostBinding', 'FD00:0::1', { hostBinding: ip('fd00::1') }],
    ['trustedHostInterfaces', 'eth0', { trustedInterfaces: ['eth0'] }],
    ['trustedHostInterfaces', 'eth0::wg.1:', { trustedInterfaces: ['eth0', 'wg.1'] }],
    ['hostIPv4', '192.0.2.1', { snat4: ip('192.0.2.1') }],
    ['hostIPv6', '2001:DB8::1', { snat6: ip('2001:db8::1') }],
    ['mtu', '0', {}],
    ['mtu', '68', { mtu: 68 }],
    ['mtu', '1500', { mtu: 1500 }],
    ['mtu', '65535', { mtu: 65535 }],
    ['advertiseCount', '0', { advertise: { count: 0, intervalMs: 1000 } }],
    ['advertiseCount', '3', {}],
    ['advertiseIntervalMs', '100', { advertise: { count: 3, intervalMs: 100 } }],
    ['advertiseIntervalMs', '2000', { advertise: { count: 3, intervalMs: 2000 } }],
    ['ifacePrefix', 'twelvecharac', {}],
    ...TRUTHS.flatMap(([text, masquerade]): [keyof typeof labels, string, Partial<BridgeOptions>][] => [
      ['enableIpMasquerade', text, { masquerade }],
      ['enableIcc', text, { icc: masquerade }],
      ['inhibitIPv4', text, { inhibitIPv4: masquerade }],
      ['defaultBridge', text, { isDefault: masquerade }],
    ]),
  ];
  test.each(good)('%s=%s', (key, text, expected) => {
    expect(parseBridgeOptions(network({ options: { [labels[key]]: text } }))).toEqual({ ...defaults, ...expected });
  });

  const bad: readonly [key: keyof typeof labels, text: string, words: string][] = [
    ['bridgeName', 'sixteencharacter', '1 to 15 of the characters'],
    ['bridgeName', 'a/b', '1 to 15 of the characters'],
    ['bridgeName', 'a b', '1 to 15 of the characters'],
    ['bridgeName', '.', '1 to 15 of the characters'],
    ['bridgeName', '..', '1 to 15 of the characters'],
    ['enableIpMasquerade', 'yes', 'use true or false'],
    ['enableIcc', 'tRUE', 'use true or false'],
    ['inhibitIPv4', '2', 'use true or false'],
    ['defaultBridge', ' true', 'use true or false'],
    ['gatewayModeIPv4', 'NAT', 'unknown gateway mode; use nat, nat-unprotected, routed, isolated'],
    ['gatewayModeIPv4', 'isolated', 'for internal networks only'],
    ['gatewayModeIPv6', 'x', 'unknown gateway mode'],
    ['gatewayModeIPv6', 'isolated', 'for internal networks only'],
    ['hostBinding', 'x', 'use an IP address'],
    ['hostBinding', '127.0.0.1:80', 'use an IP address'],
    ['trustedHostInterfaces', 'eth0,eth1', 'use interface names, separated by colons'],
    ['trustedHostInterfaces', 'sixteencharacter', 'use interface names'],
    ['ifacePrefix', 'thirteenchara', 'use up to 12 of the characters'],
    ['ifacePrefix', 'a/', 'use up to 12 of the characters'],
    ['hostIPv4', 'fd00::1', 'use an IPv4 address'],
    ['hostIPv4', 'x', 'use an IPv4 address'],
    ['hostIPv6', '192.0.2.1', 'use an IPv6 address'],
    ['hostIPv6', 'fe80::1%eth0', 'use an IPv6 address'],
    ['mtu', '67', 'the least is 68'],
    ['mtu', '65536', 'use a whole number from 0 to 65535'],
    ['mtu', '-1', 'use a whole number'],
    ['mtu', '1500.5', 'use a whole number'],
    ['mtu', '0x5dc', 'use a whole number'],
    ['mtu', 'x', 'use a whole number'],
    ['advertiseCount', '4', 'from 0 to 3'],
    ['advertiseCount', '-1', 'from 0 to 3'],
    ['advertiseIntervalMs', '99', 'from 100 to 2000'],
    ['advertiseIntervalMs', '2001', 'from 100 to 2000'],
    ['advertiseIntervalMs', '1s', 'from 100 to 2000'],
  ];
  test.each(bad)('%s=%j is refused', (key, text, words) => {
    expectRefused(() => parseBridgeOptions(network({ options: { [labels[key]]: text } })), 'bad_option', labels[key], words);
  });

  test('an MTU must carry IPv6 where that is on', () => {
    const options = (mtu: string) => network({ enableIPv6: true, options: { [labels.mtu]: mtu } });
    expect(parseBridgeOptions(options('1280')).mtu).toBe(1280);
    expectRefused(() => parseBridgeOptions(options('1279')), 'bad_option', 'the least is 1280');
  });

  test('internal networks may be isolated', () => {
    const options = { [labels.gatewayModeIPv4]: 'isolated', [labels.gatewayModeIPv6]: 'isolated' };
    const parsed = parseBridgeOptions(network({ internal: true, options }));
    expect([parsed.mode4, parsed.mode6]).toEqual(['isolated', 'isolated']);
  });
});

describe('subnets of a bridge', () => {
  test.each<[string, Partial<DriverNetwork>]>([
    ['IPv4', { v4: [pool('10.0.0.0/24', '10.0.0.1')] }],
    ['both', { enableIPv6: true, v4: [pool('10.0.0.0/24')], v6: [pool('fd00::/64')] }],
    ['exactly fe80::/64', { enableIPv4: false, enableIPv6: true, v6: [pool('fe80::/64')] }],
    ['no family', { enableIPv4: false }],
    ['another gateway', { v4: [pool('10.0.0.0/24', '10.0.0.1', { [labels.auxGatewayIPv4]: '10.0.0.9' })] }],
    ['internal', { internal: true, v4: [pool('10.0.0.0/24', '10.0.0.1')] }],
  ])('%s is accepted', (_why, changes) => {
    expect(() => checkSubnets(network(changes))).not.toThrow();
  });

  const six = (prefix: string): Partial<DriverNetwork> => ({ enableIPv4: false, enableIPv6: true, v6: [pool(prefix)] });
  const four = (prefix: string): Partial<DriverNetwork> => ({ v4: [pool(prefix)] });
  test.each<[Partial<DriverNetwork>, string, string]>([
    [{}, 'bad_subnet', 'ipv4 pool is empty'],
    [{ enableIPv6: true, v4: [pool('10.0.0.0/24')] }, 'bad_subnet', 'ipv6 pool is empty'],
    [{ v4: [pool('10.0.0.0/24'), pool('10.1.0.0/24')] }, 'too_many_subnets', 'multiple subnets for IPv4'],
    [{ ...six('fd00::/64'), v6: [pool('fd00::/64'), pool('fd01::/64')] }, 'too_many_subnets', 'multiple subnets for IPv6'],
    [four('0.0.0.0/0'), 'bad_subnet', 'ipv4 pool is empty'],
    [four('224.0.0.0/24'), 'bad_subnet', 'subnet 224.0.0.0/24 is multicast'],
    [four('127.5.0.0/16'), 'bad_subnet', 'overlaps loopback addresses'],
    [four('126.0.0.0/7'), 'bad_subnet', 'overlaps loopback addresses'],
    [six('::/0'), 'bad_subnet', 'ipv6 pool is empty'],
    [six('ff02::/64'), 'bad_subnet', 'is multicast'],
    [six('::/64'), 'bad_subnet', 'overlaps loopback addresses'],
    [six('fe80::/63'), 'bad_subnet', 'only exactly that one is taken'],
    [six('fe80::/80'), 'bad_subnet', 'only exactly that one is taken'],
    [
      { v4: [pool('10.0.0.0/24', '10.0.0.1', { [labels.auxGatewayIPv4]: '10.1.0.1' })] },
      'bad_aux_address',
      'outside 10.0.0.0/24',
    ],
    [
      { internal: true, v4: [pool('10.0.0.0/24', '10.0.0.1', { [labels.auxGatewayIPv4]: '10.0.0.9' })] },
      'bad_aux_address',
      'cannot be given for an internal network',
    ],
  ])('%j is refused with %s', (changes, code, words) => {
    expectRefused(() => checkSubnets(network(changes)), code, words);
  });

  test.each([
    [pool('10.0.0.0/24'), undefined],
    [pool('10.0.0.0/24', '10.0.0.1'), '10.0.0.1'],
    [pool('10.0.0.0/24', '10.0.0.1', { [labels.auxGatewayIPv4]: '10.0.0.9' }), '10.0.0.9'],
    [pool('10.0.0.0/24', '10.0.0.1', { [labels.auxGatewayIPv6]: '10.0.0.9' }), '10.0.0.1'],
    [pool('fd00::/64', 'fd00::1', { [labels.auxGatewayIPv6]: 'fd00::9' }), 'fd00::9'],
  ])('endpoints of %j leave by %s', (one, gateway) => {
    expect(containerGateway(one)).toBe(gateway);
  });
});
