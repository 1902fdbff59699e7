import { describe, expect, test } from 'vitest';
import type { Address } from '../../src/base/index.ts';
import {
  buildResolvConf,
  parseResolvConf,
  resolvConfHash,
  upstreamFileFor,
  type ResolvConfOverrides,
  type ResolvConfRequest,
} from '../../src/dns/resolvconf.ts';

const HOST = `# made by hand
nameserver 10.0.0.53
nameserver 127.0.0.1
nameserver fd00::53
nameserver 10.0.0.54 # second
nameserver not-an-address
domain first.example
search corp.example lab.example
options edns0
options timeout:2 ndots:x
; old style comment
sortlist 10.0.0.0/8
`;

const build = (mode: ResolvConfRequest['mode'], text = HOST, overrides: ResolvConfOverrides = {}, ipv6 = false) =>
  buildResolvConf({ mode, path: '/etc/resolv.conf', text, overrides, ipv6 });

const HEAD = `# Written by Patchbay.
# You may edit this file: once its content differs, Patchbay leaves it
# alone.

`;

test('parsing keeps servers, the last search or domain, all options and unknown lines', () => {
  expect(parseResolvConf(HOST)).toEqual({
    nameservers: ['10.0.0.53', '127.0.0.1', 'fd00::53', '10.0.0.54'],
    invalid: ['not-an-address'],
    search: ['corp.example', 'lab.example'],
    options: ['edns0', 'timeout:2', 'ndots:x'],
    other: ['sortlist 10.0.0.0/8'],
  });
  expect(parseResolvConf('search a b\ndomain c d\r\n').search).toEqual(['c']);
  expect(parseResolvConf('search .')).toMatchObject({ search: [], nameservers: [] });
  expect(parseResolvConf('nameserver\nnameserver FD00:0::1')).toMatchObject({ invalid: [''], nameservers: ['fd00::1'] });
});

describe('golden files', () => {
  const cases: [string, ReturnType<typeof build>, string, unknown][] = [
    [
      'internal: only our address, the old servers become upstreams asked from the host, a malformed ndots goes',
      build('internal'),
      `nameserver 127.0.0.11
search corp.example lab.example
options edns0 timeout:2 ndots:0
sortlist 10.0.0.0/8

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: [host(10.0.0.53) host(127.0.0.1) host(fd00::53) host(10.0.0.54)]
# Invalid nameservers: [not-an-address]
# Overrides: []
# Option ndots from: internal
`,
      [
        { address: '10.0.0.53', at: 'host' },
        { address: '127.0.0.1', at: 'host' },
        { address: 'fd00::53', at: 'host' },
        { address: '10.0.0.54', at: 'host' },
      ],
    ],
    [
      'internal: --dns servers are asked from the sandbox, without our own address; ndots of the user stays',
      build('internal', HOST, {
        nameservers: ['9.9.9.9', '127.0.0.11', '::ffff:127.0.0.11'] as Address[],
        search: ['.'],
        options: ['ndots:2', 'rotate'],
      }),
      `nameserver 127.0.0.11
options ndots:2 rotate
sortlist 10.0.0.0/8

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: [9.9.9.9]
# Overrides: [nameservers search options]
# Option ndots from: override
`,
      [{ address: '9.9.9.9', at: 'sandbox' }],
    ],
    [
      'internal: 127.0.0.11 of the host is somebody else; ndots of the host stays',
      build('internal', 'nameserver 127.0.0.11\noptions ndots:3\n'),
      `nameserver 127.0.0.11
options ndots:3

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: [host(127.0.0.11)]
# Overrides: []
# Option ndots from: host
`,
      [{ address: '127.0.0.11', at: 'host' }],
    ],
    [
      'internal without any server: no upstream and no public fallback',
      build('internal', ''),
      `nameserver 127.0.0.11
options ndots:0

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: []
# Overrides: []
# Option ndots from: internal
`,
      [],
    ],
    [
      'legacy without IPv6: loopback and IPv6 servers go',
      build('legacy'),
      `nameserver 10.0.0.53
nameserver 10.0.0.54
search corp.example lab.example
options edns0 timeout:2 ndots:x
sortlist 10.0.0.0/8

# Based on host file: '/etc/resolv.conf' (legacy)
# Invalid nameservers: [not-an-address]
# Overrides: []
# Option ndots from: host
`,
      [],
    ],
    [
      'legacy with nothing usable: public servers and a warning',
      build('legacy', 'nameserver 127.0.0.53\nnameserver ::1\nnameserver fd00::53\n'),
      `nameserver 8.8.8.8
nameserver 8.8.4.4

# Based on host file: '/etc/resolv.conf' (legacy)
# No usable name server in the host file: public servers are used.
# Overrides: []
`,
      [],
    ],
    [
      'legacy with IPv6 and nothing usable: public servers of both families',
      build('legacy', '', {}, true),
      `nameserver 8.8.8.8
nameserver 8.8.4.4
nameserver 2001:4860:4860::8888
nameserver 2001:4860:4860::8844

# Based on host file: '/etc/resolv.conf' (legacy)
# No usable name server in the host file: public servers are used.
# Overrides: []
`,
      [],
    ],
    [
      'legacy with --dns: taken as they are, also loopback',
      build('legacy', HOST, { nameservers: ['127.0.0.1'] as Address[], options: ['rotate'] }),
      `nameserver 127.0.0.1
search corp.example lab.example
options rotate
sortlist 10.0.0.0/8

# Based on host file: '/etc/resolv.conf' (legacy)
# Overrides: [nameservers options]
`,
      [],
    ],
    [
      'host: a copy with overrides',
      build('host', HOST, { search: ['only.example'] }),
      `nameserver 10.0.0.53
nameserver 127.0.0.1
nameserver fd00::53
nameserver 10.0.0.54
search only.example
options edns0 timeout:2 ndots:x
sortlist 10.0.0.0/8

# Based on host file: '/etc/resolv.conf'
# Invalid nameservers: [not-an-address]
# Overrides: [search]
# Option ndots from: host
`,
      [],
    ],
  ];
  test.each(cases)('%s', (_, { text, upstreams }, body, asked) => {
    expect(text).toBe(HEAD + body);
    expect(upstreams).toEqual(asked);
  });

  test('what was built is read back with the same servers', () => {
    expect(parseResolvConf(build('legacy').text).nameservers).toEqual(['10.0.0.53', '10.0.0.54']);
  });
});

test('empty override lists leave what the host has', () => {
  expect(build('legacy', HOST, { nameservers: [], search: [], options: [] }).text).toBe(build('legacy').text);
});

test.each(['two words', 'a\nnameserver 6.6.6.6', ''])('an override that is not one word is refused: %j', (word) => {
  expect(() => build('internal', HOST, { search: [word] })).toThrow(expect.objectContaining({ code: 'bad_option' }));
  expect(() => build('internal', HOST, { options: [word] })).toThrow(expect.objectContaining({ code: 'bad_option' }));
});

test.each([
  ['nameserver 127.0.0.53\noptions edns0\n', '/run/systemd/resolve/resolv.conf'],
  ['nameserver 127.0.0.53\nnameserver 10.0.0.1\n', '/etc/resolv.conf'],
  ['nameserver 10.0.0.1\n', '/etc/resolv.conf'],
  ['', '/etc/resolv.conf'],
])('the host file %j is replaced by %s', (text, path) => {
  expect(upstreamFileFor(text)).toBe(path);
});

test('the hash tells another content', () => {
  expect(resolvConfHash('a')).toBe('sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb');
  expect(resolvConfHash('b')).not.toBe(resolvConfHash('a'));
});
