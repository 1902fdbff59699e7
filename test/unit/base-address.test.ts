import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Address,
  type Prefix,
  addressBytes,
  addressFromBigInt,
  addressFromBytes,
  addressToBigInt,
  codeOf,
  familyOf,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isUnspecified,
  linkLocalOf,
  macBytes,
  makePrefix,
  networkOf,
  parseAddress,
  parseMac,
  parsePrefix,
  prefixAddress,
  prefixBounds,
  prefixContains,
  prefixLength,
  prefixesOverlap,
  randomMac,
  tryAddress,
  tryPrefix,
  unmapped,
} from '../../src/base/index.ts';

const codeFrom = (work: () => unknown): string | undefined => {
  try {
    work();
  } catch (error) {
    return codeOf(error) ?? String(error);
  }
  return 'accepted';
};

describe('addresses', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['FD00:0:0:0:0:0:0:1', 'fd00::1'],
    ['2001:DB8:0000:0001:0000:0000:0000:0001', '2001:db8:0:1::1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8::1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ])('%s is written %s', (text, canonical) => {
    expect(parseAddress(text)).toBe(canonical);
    expect(parseAddress(canonical)).toBe(canonical);
  });

  test.each([
    '',
    ' ',
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '10.0.0.1 ',
    '10.0.0.1/24',
    '1.2.3.4.5',
    'fe80::1%eth0',
    ':::',
    '1::2::3',
    '12345::',
    '[::1]',
    'localhost',
    '0x7f.1',
    '1',
  ])('%j is not an address', (text) => {
    expect(tryAddress(text)).toBeUndefined();
    expect(codeFrom(() => parseAddress(text))).toBe('bad_address');
  });

  const numbers: readonly [text: string, value: bigint][] = [
    ['0.0.0.0', 0n],
    ['10.0.0.1', 0x0a000001n],
    ['255.255.255.255', 0xffffffffn],
    ['::', 0n],
    ['::1', 1n],
    ['fd00::1:0', (0xfd00n << 112n) + 0x10000n],
    ['ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', (1n << 128n) - 1n],
  ];
  test.each(numbers)('%s is number %s and back', (text, value) => {
    const address = parseAddress(text);
    expect(addressToBigInt(address)).toBe(value);
    expect(addressFromBigInt(value, familyOf(address))).toBe(address);
  });

  test.each([
    [-1n, 4],
    [1n << 32n, 4],
    [-1n, 6],
    [1n << 128n, 6],
  ] as const)('number %s does not fit IPv%s', (value, family) => {
    expect(codeFrom(() => addressFromBigInt(value, family))).toBe('bad_address');
  });

  test('octets are in network order', () => {
    expect([...addressBytes(parseAddress('10.1.2.3'))]).toEqual([10, 1, 2, 3]);
    expect([...addressBytes(parseAddress('fd00::102'))]).toEqual([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
  });

  test('every number survives text and octets in both families', () => {
    for (const [family, bits] of [
      [4, 32],
      [6, 128],
    ] as const) {
      fc.assert(
        fc.property(fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n }), (value) => {
          const address = addressFromBigInt(value, family);
          expect(addressToBigInt(parseAddress(address))).toBe(value);
          expect(parseAddress(address)).toBe(address);
          expect(addressFromBytes(addressBytes(address))).toBe(address);
        }),
        { numRuns: 200 },
      );
    }
  });

  test('octets with any runs of zeros are written as the package writes them', () => {
    const group = fc.oneof(fc.constant(0), fc.constant(1), fc.integer({ min: 0, max: 0xffff }));
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        const bytes = Uint8Array.from(groups.flatMap((one) => [one >> 8, one & 0xff]));
        expect(addressFromBytes(bytes)).toBe(parseAddress(groups.map((one) => one.toString(16)).join(':')));
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::ffff:0:0', '0.0.0.0'],
    ['::ffff:ffff:ffff', '255.255.255.255'],
    ['::fffe:10.0.0.1', undefined],
    ['::10.0.0.1', undefined],
    ['::ffff:0:10.0.0.1', undefined],
    ['::ffff:1:2:3', undefined],
    ['fd00::1', undefined],
    ['10.0.0.1', undefined],
  ])('%s carries the IPv4 address %s', (text, inside) => {
    expect(unmapped(parseAddress(text))).toBe(inside);
  });

  const kinds: readonly [text: string, kind: string][] = [
    ['0.0.0.0', 'unspecified'],
    ['::', 'unspecified'],
    ['127.0.0.1', 'loopback'],
    ['127.255.255.255', 'loopback'],
    ['::1', 'loopback'],
    ['224.0.0.0', 'multicast'],
    ['239.255.255.255', 'multicast'],
    ['ff00::', 'multicast'],
    ['ff02::1', 'multicast'],
    ['169.254.0.0', 'link-local'],
    ['169.254.255.255', 'link-local'],
    ['fe80::', 'link-local'],
    ['febf:ffff::1', 'link-local'],
    ['0.0.0.1', ''],
    ['126.255.255.255', ''],
    ['128.0.0.1', ''],
    ['::2', ''],
    ['223.255.255.255', ''],
    ['240.0.0.0', ''],
    ['feff::1', ''],
    ['169.253.255.255', ''],
    ['169.255.0.0', ''],
    ['fec0::1', ''],
    ['fe7f::1', ''],
  ];
  test.each(kinds)('%s is of the kind %j only', (text, kind) => {
    const address = parseAddress(text);
    const is = [
      isUnspecified(address) && 'unspecified',
      isLoopback(address) && 'loopback',
      isMulticast(address) && 'multicast',
      isLinkLocal(address) && 'link-local',
    ].filter((name) => name !== false);
    expect(is).toEqual(kind === '' ? [] : [kind]);
  });
});

describe('prefixes', () => {
  test.each([
    ['10.0.0.1/24', '10.0.0.1/24', '10.0.0.0/24'],
    ['10.1.2.3/0', '10.1.2.3/0', '0.0.0.0/0'],
    ['10.1.2.3/32', '10.1.2.3/32', '10.1.2.3/32'],
    ['10.1.2.3/31', '10.1.2.3/31', '10.1.2.2/31'],
    ['172.16.255.255/12', '172.16.255.255/12', '172.16.0.0/12'],
    ['FD00:0::1/64', 'fd00::1/64', 'fd00::/64'],
    ['fd00::ffff/121', 'fd00::ffff/121', 'fd00::ff80/121'],
    ['::1/128', '::1/128', '::1/128'],
    ['fd00::1/0', 'fd00::1/0', '::/0'],
  ])('%s is written %s and lies in %s', (text, canonical, network) => {
    const prefix = parsePrefix(text);
    expect(prefix).toBe(canonical);
    expect(networkOf(prefix)).toBe(network);
    expect(makePrefix(prefixAddress(prefix), prefixLength(prefix))).toBe(prefix);
  });

  test.each([
    '',
    '10.0.0.0',
    '10.0.0.0/',
    '/24',
    '10.0.0.0/33',
    'fd00::/129',
    '10.0.0.0/-1',
    '10.0.0.0/+8',
    '10.0.0.0/08',
    '10.0.0.0/8.0',
    '10.0.0.0/255.0.0.0',
    '10.0.0.0/8/8',
    '10.0.0.0 /8',
    '10.0.0.0/8 ',
    '10.0.0.0/1000',
    'fe80::%eth0/64',
    '10.0.0/24',
  ])('%j is not a prefix', (text) => {
    expect(tryPrefix(text)).toBeUndefined();
    expect(codeFrom(() => parsePrefix(text))).toBe('bad_subnet');
  });

  test.each([
    ['10.0.0.77/24', '10.0.0.0', '10.0.0.255'],
    ['10.0.0.77/32', '10.0.0.77', '10.0.0.77'],
    ['0.0.0.0/0', '0.0.0.0', '255.255.255.255'],
    ['fd00::5/126', 'fd00::4', 'fd00::7'],
    ['::/0', '::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ])('%s reaches from %s to %s', (text, first, last) => {
    const prefix = parsePrefix(text);
    const bounds = prefixBounds(prefix);
    expect(addressFromBigInt(bounds.first, familyOf(prefix))).toBe(first);
    expect(addressFromBigInt(bounds.last, familyOf(prefix))).toBe(last);
  });

  test.each([
    ['10.0.0.0/24', '10.0.0.0', true],
    ['10.0.0.0/24', '10.0.0.255', true],
    ['10.0.0.9/24', '10.0.0.1', true],
    ['10.0.0.0/24', '10.0.1.0', false],
    ['10.0.0.0/24', '9.255.255.255', false],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '10.0.0.1', false],
    ['::/0', '::ffff:10.0.0.1', true],
    ['fd00::/64', 'fd00::ffff:ffff:ffff:ffff', true],
    ['fd00::/64', 'fd00:0:0:1::', false],
  ])('whether %s contains %s: %s', (prefix, address, expected) => {
    expect(prefixContains(parsePrefix(prefix), parseAddress(address))).toBe(expected);
  });

  test.each([
    ['10.0.0.0/24', '10.0.0.0/24', true],
    ['10.0.0.0/8', '10.200.0.0/16', true],
    ['10.0.0.0/24', '10.0.1.0/24', false],
    ['10.0.0.0/25', '10.0.0.128/25', false],
    ['10.0.0.200/24', '10.0.0.1/25', true],
    ['0.0.0.0/0', '::/0', false],
    ['fd00::/48', 'fd00:0:0:ffff::/64', true],
    ['fd00::/64', 'fd00:0:0:1::/64', false],
  ])('whether %s and %s overlap: %s', (a, b, expected) => {
    expect(prefixesOverlap(a as Prefix, b as Prefix)).toBe(expected);
    expect(prefixesOverlap(b as Prefix, a as Prefix)).toBe(expected);
  });

  test('a network holds its bounds and nothing beside them', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 0xffffffffn }), fc.integer({ min: 1, max: 32 }), (value, length) => {
        const prefix = makePrefix(addressFromBigInt(value, 4), length);
        const { first, last } = prefixBounds(prefix);
        expect(prefixContains(prefix, addressFromBigInt(value, 4))).toBe(true);
        expect(last - first + 1n).toBe(1n << BigInt(32 - length));
        const neighbours: Address[] = [];
        if (first > 0n) neighbours.push(addressFromBigInt(first - 1n, 4));
        if (last < 0xffffffffn) neighbours.push(addressFromBigInt(last + 1n, 4));
        for (const outside of neighbours) expect(prefixContains(prefix, outside)).toBe(false);
      }),
      { numRuns: 200 },
    );
  });
});

describe('MACs', () => {
  test.each([
    ['02:42:ac:11:00:02', '02:42:ac:11:00:02'],
    ['02-42-AC-11-00-02', '02:42:ac:11:00:02'],
    ['00:00:00:00:00:01', '00:00:00:00:00:01'],
    ['FE:FF:FF:FF:FF:FF', 'fe:ff:ff:ff:ff:ff'],
  ])('%s is written %s', (text, canonical) => {
    expect(parseMac(text)).toBe(canonical);
  });

  test.each([
    '',
    '02:42:ac:11:00',
    '02:42:ac:11:00:02:03',
    '0242.ac11.0002',
    '0242ac110002',
    '2:42:ac:11:0:2',
    '02:42:ac:11:00:0g',
    '02:42:ac:11:00:02\n',
    '00:00:00:00:00:00',
    '01:00:5e:00:00:01',
    '33:33:00:00:00:01',
    'ff:ff:ff:ff:ff:ff',
  ])('%j is refused', (text) => {
    expect(codeFrom(() => parseMac(text))).toBe('bad_mac');
  });

  test('octets of a MAC', () => {
    expect([...macBytes(parseMac('02:42:ac:11:00:ff'))]).toEqual([2, 0x42, 0xac, 0x11, 0, 0xff]);
  });

  test.each([
    ['02:42:ac:11:00:02', 'fe80::42:acff:fe11:2/64'],
    ['c6:95:20:7d:fb:a0', 'fe80::c495:20ff:fe7d:fba0/64'],
  ])('%s gives its link %s', (mac, prefix) => {
    expect(linkLocalOf(parseMac(mac))).toBe(prefix);
  });

  test('random MACs are locally administered, unicast and differ', () => {
    const all = Array.from({ length: 200 }, randomMac);
    for (const mac of all) {
      expect(parseMac(mac)).toBe(mac);
      expect((macBytes(mac)[0] ?? 0) & 0b11).toBe(0b10);
    }
    expect(new Set(all).size).toBe(200);
  });
});
