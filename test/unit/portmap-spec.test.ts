import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codeOf, messageOf, splitPublish, type Address } from '../../src/base/index.ts';
import { parsePortBindings, type PortBindingsInput, type WantedPort } from '../../src/portmap/index.ts';
import { groupPorts } from '../../src/portmap/spec.ts';

const refusal = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    expect(codeOf(error)).toBe('bad_port');
    return messageOf(error);
  }
  return 'accepted';
};

describe('publish grammar', () => {
  const accepted: readonly [text: string, expected: Record<string, [ip: string, port: string][]>][] = [
    ['80', { '80/tcp': [['', '']] }],
    ['8080:80', { '80/tcp': [['', '8080']] }],
    ['8080:80/UDP', { '80/udp': [['', '8080']] }],
    ['80/', { '80/tcp': [['', '']] }],
    [':80', { '80/tcp': [['', '']] }],
    ['0:80', { '80/tcp': [['', '']] }],
    ['127.0.0.1::80', { '80/tcp': [['127.0.0.1', '']] }],
    ['127.0.0.1:8080:80', { '80/tcp': [['127.0.0.1', '8080']] }],
    ['[::1]:80:81', { '81/tcp': [['::1', '80']] }],
    ['::1:80:81', { '81/tcp': [['::1', '80']] }],
    ['::ffff:192.0.2.1:80:81', { '81/tcp': [['::ffff:192.0.2.1', '80']] }],
    ['8080-8081:80-81', { '80/tcp': [['', '8080']], '81/tcp': [['', '8081']] }],
    ['8080-8090:80', { '80/tcp': [['', '8080-8090']] }],
    ['80-81', { '80/tcp': [['', '']], '81/tcp': [['', '']] }],
    ['65535:65535', { '65535/tcp': [['', '65535']] }],
    ['published=8080,target=80,protocol=udp,mode=host', { '80/udp': [['', '8080']] }],
    ['target=80', { '80/tcp': [['', '']] }],
  ];
  test.each(accepted)('%s is split', (text, expected) => {
    const wanted = Object.fromEntries(
      Object.entries(expected).map(([key, list]) => [key, list.map(([HostIp, HostPort]) => ({ HostIp, HostPort }))]),
    );
    expect(splitPublish([text])).toEqual(wanted);
  });

  const refused: readonly [text: string, problem: string][] = [
    ['', 'no port specified: <empty>'],
    ['8080:', 'no port specified: 8080:<empty>'],
    ['/tcp', 'no port specified: /tcp<empty>'],
    ['80/icmp', 'invalid proto: icmp'],
    ['80/tcp/udp', 'invalid proto: tcp/udp'],
    ['80/sctp', 'protocol sctp is not supported yet, use tcp or udp'],
    ['localhost:8080:80', 'invalid IP address: localhost'],
    ['fe80::1%eth0:8080:80', 'invalid IP address: fe80::1%eth0'],
    ['[fe80::1%eth0]:8080:80', 'invalid IP address: fe80::1%eth0'],
    ['1.2.3:8080:80', 'invalid IP address: 1.2.3'],
    ['[fe80::1]:8080:80', 'fe80::1 is one of each link'],
    ['224.0.0.1:8080:80', "224.0.0.1 is no host's own"],
    ['239.255.255.255::80', "239.255.255.255 is no host's own"],
    ['255.255.255.255:8080:80', "255.255.255.255 is no host's own"],
    ['[FF02::1]:8080:80', "FF02::1 is no host's own"],
    ['[::ffff:224.0.0.1]:8080:80', "::ffff:224.0.0.1 is no host's own"],
    ['8080-8082:80-81', 'invalid ranges specified for container and host Ports: 80-81 and 8080-8082'],
    ['8080:80-81', 'invalid ranges specified for container and host Ports: 80-81 and 8080'],
    ['81-80', 'invalid containerPort: 81-80'],
    ['0', 'invalid containerPort: 0'],
    ['65536', 'invalid containerPort: 65536'],
    ['http', 'invalid containerPort: http'],
    ['+80', 'invalid containerPort: +80'],
    ['65536:80', 'invalid hostPort: 65536'],
    ['90-80:80', 'invalid hostPort: 90-80'],
    ['0-10:80', 'invalid hostPort: 0-10'],
    ['8080/udp:80', 'invalid hostPort: 8080/udp'],
    ['published=8080', 'no port specified'],
    ['target=80,colour=red', 'invalid field "colour=red"'],
    ['target=80,mode=both', 'invalid publish mode "both"'],
  ];
  test.each(refused)('%s is refused', (text, problem) => {
    expect(refusal(() => splitPublish([text]))).toContain(problem);
  });

  test('several values for one container port are all kept, in order', () => {
    expect(splitPublish(['8080:80', '127.0.0.1:9090:80', '8080:80/udp'])).toEqual({
      '80/tcp': [
        { HostIp: '', HostPort: '8080' },
        { HostIp: '127.0.0.1', HostPort: '9090' },
      ],
      '80/udp': [{ HostIp: '', HostPort: '8080' }],
    });
  });

  test('every problem of every value is named at once', () => {
    const message = refusal(() => splitPublish(['here:99999:x/icmp', '80', '8080:']));
    for (const part of [
      'invalid proto: icmp',
      'invalid IP address: here',
      'invalid containerPort: x',
      'invalid hostPort: 99999',
      '8080:<empty>',
    ]) {
      expect(message).toContain(part);
    }
  });

  test('any text is either refused with bad_port or gives bindings that the API form accepts', () => {
    const piece = fc.constantFrom(
      ':',
      '-',
      '/',
      '[',
      ']',
      '80',
      '8080',
      '0',
      '::1',
      '127.0.0.1',
      'tcp',
      'udp',
      '%',
      ',',
      '=',
      'target',
      ' ',
      '65536',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 9 }), (pieces) => {
        const text = pieces.join('');
        const outcome = (): string | undefined => {
          try {
            return parsePortBindings(splitPublish([text])).wanted.length > 0 ? 'accepted' : 'lost';
          } catch (error) {
            return codeOf(error);
          }
        };
        expect(['accepted', 'bad_port']).toContain(outcome());
      }),
      { numRuns: 2000 },
    );
  });
});

describe('API form', () => {
  test('becomes wanted ports: ranges, chosen ports, unmapped addresses, exposed-only keys', () => {
    const input: PortBindingsInput = {
      '80/tcp': [{ HostIp: '', HostPort: '8080-8090' }, { HostIp: '::FFFF:192.0.2.1', HostPort: '0' }, {}],
      '53/udp': [{ HostIp: null, HostPort: '53' }],
      '443': null,
      '444/TCP': [],
    };
    expect(parsePortBindings(input)).toEqual({
      wanted: [
        { protocol: 'tcp', port: 80, hostPorts: { from: 8080, to: 8090 } },
        { protocol: 'tcp', port: 80, hostAddress: '192.0.2.1' },
        { protocol: 'tcp', port: 80 },
        { protocol: 'udp', port: 53, hostPorts: { from: 53, to: 53 } },
      ],
      exposed: ['443/tcp', '444/tcp'],
    });
  });

  test('takes as many bindings as a host has ports, and of one port as many as can be looked at', () => {
    const bindings = (count: number): { HostPort: string }[] => Array.from({ length: count }, () => ({ HostPort: '' }));
    expect(parsePortBindings({ '80/tcp': bindings(1024) }).wanted).toHaveLength(1024);
    expect(refusal(() => parsePortBindings({ '80/tcp': bindings(1025) }))).toMatch(
      /80\/tcp: 1025 bindings of one port, up to 1024/,
    );
    const most = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`${i + 1}/tcp`, bindings(1024)]));
    expect(refusal(() => parsePortBindings(most))).toMatch(/over 65536 bindings/);
  });

  test('names every problem with its key', () => {
    const message = refusal(() =>
      parsePortBindings({
        '80/x': [{ HostIp: 'a', HostPort: '99999' }],
        '1-2/tcp': [{ HostPort: '5' }],
        'z/tcp': null,
        '81/sctp': null,
      }),
    );
    for (const part of [
      '80/x: invalid proto: x',
      '80/x: invalid IP address: a',
      '80/x: invalid hostPort: 99999',
      '1-2/tcp: a key names one',
      'z/tcp: invalid containerPort: z',
      '81/sctp: protocol sctp is not supported yet',
    ]) {
      expect(message).toContain(part);
    }
  });
});

describe('groups', () => {
  const both = { families: { v4: true, v6: true } };
  const want = (port: number, host?: string, from?: number, to = from): WantedPort => ({
    protocol: 'tcp',
    port,
    ...(host === undefined ? {} : { hostAddress: host as Address }),
    ...(from === undefined || to === undefined ? {} : { hostPorts: { from, to } }),
  });
  const addresses = (wanted: WantedPort[], side: Parameters<typeof groupPorts>[1] = both): string[] =>
    groupPorts(wanted, side).map((group) => group.addresses.join(' '));

  test('no host address means both families, or the ones that the host has', () => {
    expect(addresses([want(80)])).toEqual(['0.0.0.0 ::']);
    expect(addresses([want(80)], { families: { v4: true, v6: false } })).toEqual(['0.0.0.0']);
    expect(addresses([want(80)], { families: { v4: false, v6: false } })).toEqual([]);
  });

  test("the network's default address takes its place, 0.0.0.0 meaning both families", () => {
    expect(addresses([want(80)], { ...both, defaultAddress: '127.0.0.1' as Address })).toEqual(['127.0.0.1']);
    expect(addresses([want(80)], { ...both, defaultAddress: '::' as Address })).toEqual(['::']);
    expect(addresses([want(80)], { ...both, defaultAddress: '0.0.0.0' as Address })).toEqual(['0.0.0.0 ::']);
    expect(addresses([want(80, '0.0.0.0')], both)).toEqual(['0.0.0.0']);
  });

  test('bindings that differ only in the host address share a port; colliding ones do not', () => {
    expect(addresses([want(80, '127.0.0.1'), want(80, '192.0.2.1'), want(80, '::1')])).toEqual(['127.0.0.1 192.0.2.1 ::1']);
    expect(addresses([want(80), want(80)])).toEqual(['0.0.0.0 ::', '0.0.0.0 ::']);
    expect(addresses([want(80), want(80, '127.0.0.1')])).toEqual(['0.0.0.0 ::', '127.0.0.1']);
    expect(addresses([want(80, '127.0.0.1', 8080), want(80, '192.0.2.1', 8081)])).toEqual(['127.0.0.1', '192.0.2.1']);
  });

  test('exact ports are served before ranges and chosen ones, then by container port', () => {
    const order = groupPorts(
      [want(90), want(85, undefined, 8000, 8010), want(80), want(443, undefined, 443), want(22, undefined, 2222)],
      both,
    );
    expect(order.map((group) => group.port)).toEqual([22, 443, 80, 85, 90]);
  });
});
