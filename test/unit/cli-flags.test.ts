import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { UsageError, filterQuery } from '../../src/cli/client.ts';
import {
  type IpamFlags,
  collect,
  endpointSettings,
  ipamConfig,
  keyValues,
  networkFlag,
  rewriteBooleans,
} from '../../src/cli/flags.ts';
import { BOOLEAN_FLAGS, GROUPS, createProgram } from '../../src/cli/program.ts';

function expectRefused(work: () => unknown, words: string): void {
  expect(work).toThrow(UsageError);
  expect(work).toThrow(words);
}

describe('IPAM flags', () => {
  const good: readonly [flags: IpamFlags, expected: Record<string, unknown>[]][] = [
    [{}, []],
    [{ subnet: ['10.0.0.0/24'] }, [{ Subnet: '10.0.0.0/24' }]],
    [
      { subnet: ['10.0.0.0/24'], ipRange: ['10.0.0.128/25'], gateway: ['10.0.0.1'], auxAddress: ['a=10.0.0.2', 'b=10.0.0.3'] },
      [
        {
          Subnet: '10.0.0.0/24',
          IPRange: '10.0.0.128/25',
          Gateway: '10.0.0.1',
          AuxiliaryAddresses: { a: '10.0.0.2', b: '10.0.0.3' },
        },
      ],
    ],
    [
      {
        subnet: ['10.0.0.0/24', '10.1.0.0/24', 'fd00::/64'],
        ipRange: ['fd00::8000/113', '10.1.0.0/25'],
        gateway: ['10.1.0.1', 'fd00::1', '10.0.0.1'],
        auxAddress: ['six=fd00::9'],
      },
      [
        { Subnet: '10.0.0.0/24', Gateway: '10.0.0.1' },
        { Subnet: '10.1.0.0/24', IPRange: '10.1.0.0/25', Gateway: '10.1.0.1' },
        { Subnet: 'fd00::/64', IPRange: 'fd00::8000/113', Gateway: 'fd00::1', AuxiliaryAddresses: { six: 'fd00::9' } },
      ],
    ],
    [
      { subnet: ['10.0.0.0/25', '10.0.0.128/25'], gateway: ['10.0.0.129'] },
      [{ Subnet: '10.0.0.0/25' }, { Subnet: '10.0.0.128/25', Gateway: '10.0.0.129' }],
    ],
    [{ subnet: ['0.0.0.0/0', '::/0'] }, [{ Subnet: '0.0.0.0/0' }, { Subnet: '::/0' }]],
  ];
  test.each(good)('%j is sorted to its subnets', (flags, expected) => {
    expect(ipamConfig(flags)).toEqual(expected);
  });

  const subnet = ['10.0.0.0/24'];
  test.each<[IpamFlags, string]>([
    [{ subnet: ['10.0.0.0'] }, 'invalid CIDR address: 10.0.0.0'],
    [{ subnet: ['10.0.0.0/33'] }, 'invalid CIDR address: 10.0.0.0/33'],
    [{ subnet: ['fd00::/129'] }, 'invalid CIDR address: fd00::/129'],
    [{ subnet: ['10.0.0.0/'] }, 'invalid CIDR address'],
    [{ subnet: ['10.0.0.0/24/8'] }, 'invalid CIDR address: 10.0.0.0/24/8'],
    [{ subnet: ['fe80::1%eth0/64'] }, 'invalid CIDR address: fe80::1%eth0/64'],
    [{ subnet: ['x/8'] }, 'invalid CIDR address: x/8'],
    [{ subnet: [''] }, 'invalid CIDR address: '],
    [{ ipRange: ['10.0.0.0/25'] }, 'every ip-range or gateway must have a corresponding subnet'],
    [{ gateway: ['10.0.0.1'] }, 'every ip-range or gateway must have a corresponding subnet'],
    [{ subnet, gateway: ['10.0.0.1', '10.0.0.2'] }, 'every ip-range or gateway must have a corresponding subnet'],
    [{ subnet: ['10.0.0.0/24', '10.0.0.0/24'] }, 'multiple overlapping subnet configuration is not supported'],
    [{ subnet: ['10.0.0.0/8', '10.5.0.0/16'] }, 'multiple overlapping subnet'],
    [{ subnet: ['10.5.0.0/16', '10.0.0.0/8'] }, 'multiple overlapping subnet'],
    [{ subnet, ipRange: ['10.9.0.0/25'] }, 'no matching subnet for range 10.9.0.0/25'],
    [{ subnet, ipRange: ['fd00::/80'] }, 'no matching subnet for range fd00::/80'],
    [{ subnet, ipRange: ['10.0.0.0'] }, 'invalid CIDR address: 10.0.0.0'],
    [{ subnet, gateway: ['10.9.0.1'] }, 'no matching subnet for gateway 10.9.0.1'],
    [{ subnet, gateway: ['x'] }, 'no matching subnet for gateway x'],
    [{ subnet, auxAddress: ['a=10.9.0.1'] }, 'no matching subnet for aux-address 10.9.0.1'],
    [{ subnet, auxAddress: ['a'] }, 'invalid argument "a" for "--aux-address" flag: use name=address'],
    [{ subnet, auxAddress: ['=10.0.0.2'] }, 'invalid argument "=10.0.0.2" for "--aux-address" flag: use name=address'],
    [
      { subnet, auxAddress: ['a=10.0.0.2', 'a=10.0.0.3'] },
      'invalid argument "a=10.0.0.3" for "--aux-address" flag: a is given twice',
    ],
    [{ auxAddress: ['a=10.0.0.1'] }, 'no matching subnet for aux-address 10.0.0.1'],
    [
      { subnet: ['10.0.0.0/24', '10.1.0.0/24'], ipRange: ['10.0.0.0/25', '10.0.0.128/25'] },
      'cannot configure multiple ranges (10.0.0.128/25, 10.0.0.0/25) on the same subnet (10.0.0.0/24)',
    ],
    [
      { subnet: ['10.0.0.0/24', '10.1.0.0/24'], gateway: ['10.0.0.1', '10.0.0.2'] },
      'cannot configure multiple gateways (10.0.0.2, 10.0.0.1) for the same subnet (10.0.0.0/24)',
    ],
  ])('%j is refused', (flags, words) => {
    expectRefused(() => ipamConfig(flags), words);
  });
});

describe('--network', () => {
  test.each([
    ['front', 'front', { IPAMConfig: {} }],
    ['a,b', 'a,b', { IPAMConfig: {} }],
    ['name=front', 'front', { IPAMConfig: {} }],
    ['NAME=front,IP=10.0.0.5', 'front', { IPAMConfig: { IPv4Address: '10.0.0.5' } }],
    [
      'name=front,ip=10.0.0.5,ip6=fd00::5,mac=02:42:00:00:00:01,gw-priority=-3',
      'front',
      { IPAMConfig: { IPv4Address: '10.0.0.5', IPv6Address: 'fd00::5' }, MacAddress: '02:42:00:00:00:01', GwPriority: -3 },
    ],
    ['alias=a,name=front,alias=b', 'front', { IPAMConfig: {}, Aliases: ['a', 'b'] }],
    ['name=front,mac-address=02:42:00:00:00:01', 'front', { IPAMConfig: {}, MacAddress: '02:42:00:00:00:01' }],
    ['name=front,driver-opt=k=v,driver-opt=x', 'front', { IPAMConfig: {}, DriverOpts: { k: 'v', x: '' } }],
    ['name=front,link-local-ip=169.254.1.1', 'front', { IPAMConfig: { LinkLocalIPs: ['169.254.1.1'] } }],
    ['name=one,name=two', 'two', { IPAMConfig: {} }],
  ])('%s', (text, name, settings) => {
    expect(networkFlag(text)).toEqual({ name, settings });
  });

  test.each([
    ['ip=10.0.0.5', 'the field name is missing'],
    ['name=', 'the field name is missing'],
    ['name=a,nonsense=1', 'invalid field "nonsense=1" in --network: there are name, ip, ip6'],
    ['name=a,ip', 'invalid field "ip"'],
    ['name=a,', 'invalid field ""'],
    ['name=a,=b', 'invalid field "=b"'],
    ['name=a,ip=fd00::1', 'invalid argument "fd00::1" for "--ip" flag'],
    ['name=a,ip6=10.0.0.1', 'invalid argument "10.0.0.1" for "--ip6" flag'],
    ['name=a,gw-priority=1.5', 'invalid argument "1.5" for "--gw-priority" flag: use a whole number'],
    ['name=a,gw-priority=', 'use a whole number'],
  ])('%s is refused', (text, words) => {
    expectRefused(() => networkFlag(text), words);
  });

  test('links and repeated values are kept in order', () => {
    expect(endpointSettings({ link: ['b:x', 'a'], alias: ['z', 'y'], gwPriority: '+7' })).toEqual({
      IPAMConfig: {},
      Links: ['b:x', 'a'],
      Aliases: ['z', 'y'],
      GwPriority: 7,
    });
  });
});

describe('boolean flags', () => {
  const flags = ['ipv6', 'internal'];
  test.each<[string[], string[], string[]]>([
    [[], [], []],
    [['--ipv6', 'x'], ['--ipv6', 'x'], []],
    [['--ipv6=true'], ['--ipv6'], []],
    [['--ipv6=1', '--internal=T'], ['--ipv6', '--internal'], []],
    [['--ipv6=false', 'x'], ['x'], ['ipv6']],
    [['--ipv6=0', '--internal=F'], [], ['ipv6', 'internal']],
    [['--other=false'], ['--other=false'], []],
    [['--', '--ipv6=false'], ['--', '--ipv6=false'], []],
    [['--ipv6=false', '--', '--ipv6=x'], ['--', '--ipv6=x'], ['ipv6']],
    [['ipv6=false'], ['ipv6=false'], []],
    // What belongs to the command that is started is not ours.
    [['exec', 'box', 'cmd', '--ipv6=false'], ['exec', 'box', 'cmd', '--ipv6=false'], []],
    [['run', '--ipv6=false', '-p', '80:80', 'cmd', '--internal=x'], ['run', '-p', '80:80', 'cmd', '--internal=x'], ['ipv6']],
    [
      ['--host', 'unix:///x', 'run', '--name', 'n', 'cmd', '--ipv6=0'],
      ['--host', 'unix:///x', 'run', '--name', 'n', 'cmd', '--ipv6=0'],
      [],
    ],
  ])('%j becomes %j without %j', (args, rewritten, no) => {
    const seen = rewriteBooleans(args, flags);
    expect(seen.args).toEqual(rewritten);
    expect([...seen.no]).toEqual(no);
  });

  test('each option of the command table without a value is one', () => {
    const program = createProgram({ out: () => {}, err: () => {}, no: new Set(), exitCode: 0 }, {});
    const below = (command: Command): Command[] => [command, ...command.commands.flatMap(below)];
    const options = below(program).flatMap((command) => command.options);
    const booleans = options.filter(({ required, optional }) => !required && !optional).map(({ long }) => long?.slice(2));
    expect([...new Set(booleans)].toSorted()).toEqual(BOOLEAN_FLAGS.toSorted());
  });

  test('each group of commands is found by the names and aliases of its commands, and by no other', () => {
    const context = { out: () => {}, err: () => {}, no: new Set<string>(), exitCode: 0 };
    const all = createProgram(context, {});
    const words = (program: Command): string[] => program.commands.flatMap((command) => [command.name(), ...command.aliases()]);
    expect(GROUPS.flatMap((group) => group.words).toSorted()).toEqual(words(all).toSorted());
    for (const group of GROUPS)
      for (const word of group.words)
        expect(words(createProgram(context, {}, [word])).toSorted()).toEqual(group.words.toSorted());
    expect(all.options.every(({ required }) => required)).toBe(true);
    for (const { long } of all.options) {
      // The value of an option of the program is no command.
      expect(words(createProgram(context, {}, [`${long}`, 'sandbox', 'ls']))).toContain('prune');
      expect(words(createProgram(context, {}, [`${long}=x`, 'sandbox', 'ls']))).toEqual(['sandbox', 'port']);
    }
    for (const args of [[], ['--help'], ['-h', 'ls'], ['--', 'ls'], ['help', 'ls'], ['lss'], ['--host'], ['--host', 'ls']])
      expect(words(createProgram(context, {}, args))).toEqual(words(all));
  });

  test.each(['', 'yes', 'tRUE', '2'])('--ipv6=%s is refused', (value) => {
    expectRefused(
      () => rewriteBooleans([`--ipv6=${value}`], flags),
      `invalid argument ${JSON.stringify(value)} for "--ipv6" flag`,
    );
  });
});

describe('keyed values', () => {
  test.each<[string[] | undefined, Record<string, string>]>([
    [undefined, {}],
    [[], {}],
    [['a=1'], { a: '1' }],
    [['a'], { a: '' }],
    [['a='], { a: '' }],
    [['a=b=c'], { a: 'b=c' }],
    [['a=1', 'a=2', 'b=3'], { a: '2', b: '3' }],
    [['=x'], { '': 'x' }],
  ])('%j', (texts, expected) => {
    expect(keyValues(texts)).toEqual(expected);
  });

  test('a key named like an inherited member is an ordinary one', () => {
    expect(Object.entries(keyValues(['__proto__=x', 'constructor=y']))).toEqual([
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ]);
  });

  test('repeated flags are collected without changing what was there', () => {
    const first = collect('a,b', undefined);
    expect(collect('c', first)).toEqual(['a,b', 'c']);
    expect(first).toEqual(['a,b']);
  });
});

test('a filter of any name goes out as it was given', () => {
  const query = filterQuery(['__proto__=x', 'label!=a=b', 'name=one', 'name=two']);
  expect(JSON.parse(decodeURIComponent(query.slice('?filters='.length)))).toEqual(
    JSON.parse('{"__proto__":["x"],"label!":["a=b"],"name":["one","two"]}'),
  );
  expect(query).toContain('__proto__');
});
