import { describe, expect, test } from 'vitest';
import { codeOf, messageOf } from '../../src/base/index.ts';
import {
  type EndpointSpec,
  type IpamConfigSpec,
  checkEndpoint,
  checkHostname,
  checkIpam,
  checkNetworkName,
  checkSandboxName,
  familiesOf,
  isPredefined,
  parseBool,
} from '../../src/cnm/spec.ts';
import { labels } from '../../src/driver/index.ts';

const BOTH = { v4: true, v6: true };

function refusal(work: () => unknown): { code: string | undefined; words: string } {
  try {
    work();
  } catch (error) {
    return { code: codeOf(error), words: messageOf(error) };
  }
  return { code: 'accepted', words: '' };
}

function expectRefused(work: () => unknown, code: string, words: string): void {
  const seen = refusal(work);
  expect(seen.code).toBe(code);
  expect(seen.words).toContain(words);
}

describe('IPAM configurations', () => {
  const good: readonly [why: string, configs: IpamConfigSpec[], expected: unknown[]][] = [
    ['none', [], []],
    ['a subnet', [{ subnet: '10.1.0.0/16' }], [{ subnet: '10.1.0.0/16', aux: {} }]],
    ['an IPv6 subnet in its short form', [{ subnet: 'FD00:0::/64' }], [{ subnet: 'fd00::/64', aux: {} }]],
    ['a single address', [{ subnet: '10.1.0.1/32' }], [{ subnet: '10.1.0.1/32', aux: {} }]],
    [
      'all fields',
      [{ subnet: '10.1.0.0/16', range: '10.1.4.0/24', gateway: '10.1.0.1', aux: { a: '10.1.0.2', b: '10.1.255.254' } }],
      [{ subnet: '10.1.0.0/16', range: '10.1.4.0/24', gateway: '10.1.0.1', aux: { a: '10.1.0.2', b: '10.1.255.254' } }],
    ],
    [
      'a range as large as its subnet',
      [{ subnet: '10.1.0.0/24', range: '10.1.0.0/24' }],
      [{ subnet: '10.1.0.0/24', range: '10.1.0.0/24', aux: {} }],
    ],
    ['empty texts are absent', [{ subnet: '10.1.0.0/24', range: '', gateway: '' }], [{ subnet: '10.1.0.0/24', aux: {} }]],
    ['an empty configuration asks for nothing', [{ subnet: '', range: '', gateway: '', aux: {} }], []],
    [
      'one subnet of each family',
      [{ subnet: '10.1.0.0/24' }, { subnet: 'fd00::/64', gateway: 'fd00::1' }],
      [
        { subnet: '10.1.0.0/24', aux: {} },
        { subnet: 'fd00::/64', gateway: 'fd00::1', aux: {} },
      ],
    ],
    [
      'neighbouring subnets',
      [{ subnet: '10.1.0.0/25' }, { subnet: '10.1.0.128/25' }],
      [
        { subnet: '10.1.0.0/25', aux: {} },
        { subnet: '10.1.0.128/25', aux: {} },
      ],
    ],
    [
      'one subnet given twice with ranges',
      [
        { subnet: '10.1.0.0/24', range: '10.1.0.0/25' },
        { subnet: '10.1.0.0/24', range: '10.1.0.128/25' },
      ],
      [
        { subnet: '10.1.0.0/24', range: '10.1.0.0/25', aux: {} },
        { subnet: '10.1.0.0/24', range: '10.1.0.128/25', aux: {} },
      ],
    ],
  ];
  test.each(good)('%s: accepted', (_why, configs, expected) => {
    expect(checkIpam(configs, BOTH)).toEqual(expected);
  });

  const subnet = '10.1.0.0/16';
  const bad: readonly [config: IpamConfigSpec | IpamConfigSpec[], code: string, words: string][] = [
    [{ subnet: '10.1.0.0' }, 'bad_subnet', 'invalid subnet 10.1.0.0: it is not an address with a prefix length'],
    [{ subnet: '10.1.0.0/33' }, 'bad_subnet', 'invalid subnet 10.1.0.0/33'],
    [{ subnet: 'fd00::/129' }, 'bad_subnet', 'invalid subnet fd00::/129'],
    [{ subnet: 'x' }, 'bad_subnet', 'invalid subnet x'],
    [{ subnet: '10.1.0.1/16' }, 'bad_subnet', 'invalid subnet 10.1.0.1/16: it should be 10.1.0.0/16'],
    [{ subnet: 'fd00::1/64' }, 'bad_subnet', 'invalid subnet fd00::1/64: it should be fd00::/64'],
    [{ range: '10.1.4.0/24' }, 'bad_subnet', 'must have a corresponding subnet'],
    [{ gateway: '10.1.0.1' }, 'bad_subnet', 'must have a corresponding subnet'],
    [{ aux: { a: '10.1.0.1' } }, 'bad_subnet', 'must have a corresponding subnet'],
    [{ subnet, range: '10.1.4.0' }, 'bad_ip_range', 'invalid ip-range 10.1.4.0: it is not an address with a prefix length'],
    [{ subnet, range: '10.1.4.1/24' }, 'bad_ip_range', 'invalid ip-range 10.1.4.1/24: it should be 10.1.4.0/24'],
    [{ subnet, range: '10.0.0.0/8' }, 'bad_ip_range', 'CIDR block is bigger than its parent subnet 10.1.0.0/16'],
    [{ subnet, range: '10.2.0.0/24' }, 'bad_ip_range', "parent subnet 10.1.0.0/16 doesn't contain ip-range"],
    [{ subnet, range: 'fd00::/64' }, 'bad_ip_range', 'is of the other family'],
    [{ subnet, gateway: '10.2.0.1' }, 'bad_gateway', "invalid gateway 10.2.0.1: parent subnet 10.1.0.0/16 doesn't contain"],
    [{ subnet, gateway: 'fd00::1' }, 'bad_gateway', "doesn't contain this address"],
    [{ subnet, gateway: '10.1.0.1/16' }, 'bad_gateway', 'invalid gateway 10.1.0.1/16: it is not an IP address'],
    [{ subnet, gateway: 'x' }, 'bad_gateway', 'invalid gateway x: it is not an IP address'],
    [{ subnet, aux: { host: '10.2.0.1' } }, 'bad_aux_address', 'invalid auxiliary address host 10.2.0.1: parent subnet'],
    [{ subnet, aux: { host: '' } }, 'bad_aux_address', 'invalid auxiliary address host : it is not an IP address'],
    [{ subnet, aux: { host: 'x' } }, 'bad_aux_address', 'it is not an IP address'],
    [[{ subnet }, { subnet }], 'bad_subnet', 'subnet 10.1.0.0/16 overlaps subnet 10.1.0.0/16 of the same network'],
    [[{ subnet: '10.1.4.0/24' }, { subnet }], 'bad_subnet', 'subnet 10.1.0.0/16 overlaps subnet 10.1.4.0/24'],
    [[{ subnet, range: '10.1.4.0/24' }, { subnet }], 'bad_subnet', 'overlaps'],
    [[{ subnet: 'fd00::/48' }, { subnet: 'fd00:0:0:1::/64' }], 'bad_subnet', 'subnet fd00:0:0:1::/64 overlaps subnet fd00::/48'],
  ];
  test.each(bad)('%j is refused with %s', (config, code, words) => {
    const configs = Array.isArray(config) ? config : [config];
    expectRefused(() => checkIpam(configs as IpamConfigSpec[], BOTH), code, words);
    expectRefused(() => checkIpam(configs as IpamConfigSpec[], BOTH), code, 'invalid network config:\n');
  });

  test('more names and addresses than a keeper takes are refused before anything else is looked at', () => {
    const texts = (count: number, text: (i: number) => string): string[] => Array.from({ length: count }, (_, i) => text(i));
    expect(checkEndpoint({ aliases: texts(128, (i) => `a${i}`) }).aliases).toHaveLength(128);
    expectRefused(() => checkEndpoint({ aliases: texts(129, (i) => `a${i}`) }), 'bad_name', '129 aliases, up to 128');
    const linkLocal = texts(65, (i) => `169.254.1.${i + 1}`);
    expectRefused(() => checkEndpoint({ linkLocal }), 'bad_address', '65 link-local addresses, up to 64');
  });

  test('all problems are named at once, the code is that of the first', () => {
    const seen = refusal(() =>
      checkIpam(
        [{ subnet, gateway: '10.2.0.1', range: '10.2.0.0/24', aux: { a: 'x' } }, { subnet: 'y' }, { gateway: '10.0.0.1' }],
        BOTH,
      ),
    );
    expect(seen.code).toBe('bad_ip_range');
    const lines = seen.words.split('\n');
    expect(lines).toHaveLength(6);
    for (const [i, start] of ['invalid ip-range', 'invalid gateway', 'invalid auxiliary', 'invalid subnet y', 'every'].entries())
      expect(lines[i + 1]).toContain(start);
  });

  test('configurations of a family that is off are left out', () => {
    const configs = [{ subnet: '10.1.0.0/16' }, { subnet: 'fd00::/64' }];
    expect(checkIpam(configs, { v4: true, v6: false }).map((c) => c.subnet)).toEqual(['10.1.0.0/16']);
    expect(checkIpam(configs, { v4: false, v6: true }).map((c) => c.subnet)).toEqual(['fd00::/64']);
  });
});

describe('endpoint settings', () => {
  const nothing = { linkLocal: [], aliases: [], options: {}, gwPriority: 0 };
  const ifname = (name: string): EndpointSpec => ({ options: { [labels.endpointIfname]: name } });

  const good: readonly [spec: EndpointSpec, expected: Record<string, unknown>][] = [
    [{}, {}],
    [{ ipv4: '', ipv6: '', mac: '' }, {}],
    [{ ipv4: '10.0.0.5' }, { v4: '10.0.0.5' }],
    [{ ipv6: 'FD00::0005' }, { v6: 'fd00::5' }],
    [{ ipv6: '::ffff:1:2:3' }, { v6: '::ffff:1:2:3' }],
    [{ mac: '02-42-AC-11-00-02' }, { mac: '02:42:ac:11:00:02' }],
    [{ linkLocal: ['169.254.3.4', 'fe80::9'] }, { linkLocal: ['169.254.3.4/16', 'fe80::9/64'] }],
    [{ aliases: ['Web', 'web', '_x', 'a.b-c'] }, { aliases: ['web', '_x', 'a.b-c'] }],
    [{ gwPriority: -5 }, { gwPriority: -5 }],
    [{ options: { any: 'thing' } }, { options: { any: 'thing' } }],
    [ifname('abcdefghijklmno'), ifname('abcdefghijklmno') as Record<string, unknown>],
    [ifname('wan.1@x'), ifname('wan.1@x') as Record<string, unknown>],
  ];
  test.each(good)('%j is accepted', (spec, expected) => {
    expect(checkEndpoint(spec)).toEqual({ ...nothing, ...expected });
  });

  const bad: readonly [spec: EndpointSpec, code: string, words: string][] = [
    [{ ipv4: 'x' }, 'bad_address', 'invalid IPv4 address: x'],
    [{ ipv4: '10.0.0.5/24' }, 'bad_address', 'invalid IPv4 address: 10.0.0.5/24'],
    [{ ipv4: 'fd00::5' }, 'bad_address', 'invalid IPv4 address: fd00::5'],
    [{ ipv4: '0.0.0.0' }, 'bad_address', 'invalid IPv4 address: 0.0.0.0'],
    [{ ipv4: '224.0.0.1' }, 'bad_address', 'invalid IPv4 address: 224.0.0.1'],
    [{ ipv6: '10.0.0.5' }, 'bad_address', 'invalid IPv6 address: 10.0.0.5'],
    [{ ipv6: '::' }, 'bad_address', 'invalid IPv6 address: ::'],
    [{ ipv6: 'ff02::1' }, 'bad_address', 'invalid IPv6 address: ff02::1'],
    [{ ipv6: '::ffff:10.0.0.5' }, 'bad_address', 'invalid IPv6 address: ::ffff:10.0.0.5'],
    [{ ipv6: 'fe80::1%eth0' }, 'bad_address', 'invalid IPv6 address: fe80::1%eth0'],
    [{ mac: 'x' }, 'bad_mac', 'invalid MAC address: "x"'],
    [{ mac: '01:00:5e:00:00:01' }, 'bad_mac', 'is not unicast'],
    [{ linkLocal: ['10.0.0.5'] }, 'bad_address', 'invalid link-local IP address: 10.0.0.5'],
    [{ linkLocal: ['fe80:0:0:1::1'] }, 'bad_address', 'invalid link-local IP address: fe80:0:0:1::1'],
    [{ linkLocal: ['169.254.1.1/16'] }, 'bad_address', 'invalid link-local IP address: 169.254.1.1/16'],
    [{ linkLocal: [''] }, 'bad_address', 'invalid link-local IP address: '],
    [{ aliases: [''] }, 'bad_name', 'invalid alias ""'],
    [{ aliases: ['a b'] }, 'bad_name', 'invalid alias "a b": only [a-zA-Z0-9_.-] is allowed'],
    [{ aliases: ['-a'] }, 'bad_name', 'invalid alias "-a"'],
    [{ aliases: ['a\n10.0.0.1 evil'] }, 'bad_name', 'invalid alias "a\\n10.0.0.1 evil"'],
    [{ aliases: ['a'.repeat(254)] }, 'bad_name', 'invalid alias'],
    [ifname(''), 'bad_option', 'invalid interface name ""'],
    [ifname('abcdefghijklmnop'), 'bad_option', 'invalid interface name "abcdefghijklmnop": 1 to 15 characters'],
    [ifname('a/b'), 'bad_option', 'invalid interface name "a/b"'],
    [ifname('a:b'), 'bad_option', 'invalid interface name "a:b"'],
    [ifname('a b'), 'bad_option', 'invalid interface name "a b"'],
    [ifname('lo'), 'bad_option', 'invalid interface name "lo"'],
    [ifname('.'), 'bad_option', 'invalid interface name "."'],
    [ifname('..'), 'bad_option', 'invalid interface name ".."'],
    [ifname('all'), 'bad_option', 'invalid interface name "all"'],
    [ifname('default'), 'bad_option', 'none of . .. lo all default'],
    [{ gwPriority: 1.5 }, 'bad_option', 'invalid gateway priority 1.5: it must be a whole number'],
    [{ gwPriority: Number.NaN }, 'bad_option', 'invalid gateway priority NaN'],
    [{ gwPriority: 2 ** 53 }, 'bad_option', 'invalid gateway priority'],
  ];
  test.each(bad)('%j is refused with %s', (spec, code, words) => {
    expectRefused(() => checkEndpoint(spec), code, words);
    expectRefused(() => checkEndpoint(spec), code, 'invalid endpoint settings:\n');
  });

  test('all problems are named at once, the code is that of the first', () => {
    const seen = refusal(() => checkEndpoint({ ipv4: 'x', ipv6: 'y', mac: 'z', aliases: ['?'], gwPriority: 0.5 }));
    expect(seen.code).toBe('bad_address');
    expect(seen.words.split('\n')).toHaveLength(6);
  });
});

describe('network names', () => {
  test.each(['a', 'my net', 'Üben', '网络', 'a/b', '-x', 'a'.repeat(255)])('%j is accepted', (name) => {
    expect(refusal(() => checkNetworkName(name)).code).toBe('accepted');
  });

  test.each([
    ['', 'name is empty'],
    [' \t', 'name is empty'],
    ['a'.repeat(256), 'longer than 255 characters'],
    [' a', 'outer spaces are not allowed'],
    ['a ', 'outer spaces are not allowed'],
    ['a\nb', 'invalid name "a\\nb": control characters'],
    ['a\u0000b', 'control characters'],
    ['a\u001b[31m', 'control characters'],
    ['a\u007f', 'control characters'],
    ['a\u0085b', 'control characters'],
    ['a\u2028b', 'control characters'],
  ])('%j is refused', (name, words) => {
    expectRefused(() => checkNetworkName(name), 'bad_name', words);
  });

  test.each([
    ['bridge', true],
    ['host', true],
    ['none', true],
    ['Bridge', false],
    ['mine', false],
    ['toString', false],
  ])('whether %s is predefined: %s', (name, expected) => {
    expect(isPredefined(name)).toBe(expected);
  });
});

describe('sandbox names', () => {
  test.each(['a', '0', 'Web_1.x-y', 'a'.repeat(255)])('%j is accepted', (name) => {
    expect(refusal(() => checkSandboxName(name)).code).toBe('accepted');
  });

  test.each(['', '_a', '.a', '-a', 'a b', 'a/b', 'ü', 'a\n', '/web', 'a'.repeat(256)])('%j is refused', (name) => {
    expectRefused(() => checkSandboxName(name), 'bad_name', `invalid sandbox name ${JSON.stringify(name)}: only [a-zA-Z0-9]`);
  });
});

describe('hostnames', () => {
  const label63 = 'a'.repeat(63);
  test.each(['a', '0', 'web-1', 'a_b', 'web.example.org', 'UP', label63, `${'a'.repeat(32)}.${'b'.repeat(31)}`])(
    '%j is accepted',
    (name) => {
      expect(refusal(() => checkHostname(name)).code).toBe('accepted');
    },
  );

  test.each([
    '',
    '-a',
    'a-',
    'a.',
    '.a',
    'a..b',
    'a.-b',
    'a b',
    'a\n127.0.0.1 evil',
    'a\n',
    'ü',
    `${label63}a`,
    `${'a'.repeat(32)}.${'b'.repeat(32)}`,
  ])('%j is refused', (name) => {
    expectRefused(() => checkHostname(name), 'bad_name', `invalid hostname ${JSON.stringify(name)}`);
  });
});

describe('families and truth values', () => {
  test.each([
    [{}, true, false],
    [{ enableIPv6: true }, true, true],
    [{ enableIPv4: false }, false, false],
    [{ options: { [labels.enableIPv6]: 'true' } }, true, true],
    [{ options: { [labels.enableIPv4]: '0' } }, false, false],
    [{ enableIPv4: true, enableIPv6: false, options: { [labels.enableIPv4]: '0', [labels.enableIPv6]: '1' } }, true, false],
  ])('%j enables IPv4 %s, IPv6 %s', (spec, v4, v6) => {
    expect(familiesOf({ name: 'n', ...spec })).toEqual({ v4, v6 });
  });

  test.each(['', 'yes', 'on', 'tRUE', '2', ' true'])('%j is no truth value', (text) => {
    expectRefused(() => parseBool('key', text), 'bad_option', `driver-opt "key": ${JSON.stringify(text)} is not a valid bool`);
    expectRefused(() => familiesOf({ name: 'n', options: { [labels.enableIPv6]: text } }), 'bad_option', 'not a valid bool');
  });
});
