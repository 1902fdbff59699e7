/** Bad connections: addresses, MACs, aliases, interface names, sysctls; bad disconnects and removals. */

import { type Line, type Row, gets, many, posts } from './row.ts';

const settings = (EndpointConfig: unknown, Container: unknown = 'spare') => ({ Container, EndpointConfig });
const ip4 = (IPv4Address: unknown) => settings({ IPAMConfig: { IPv4Address } });
const ip6 = (IPv6Address: unknown) => settings({ IPAMConfig: { IPv6Address } });
const mac = (MacAddress: unknown) => settings({ MacAddress });
const alias = (...Aliases: unknown[]) => settings({ Aliases });
const ifname = (name: string) => settings({ DriverOpts: { 'com.docker.network.endpoint.ifname': name } });
const sysctl = (text: string) => settings({ DriverOpts: { 'com.docker.network.endpoint.sysctls': text } });

const connects: Line[] = [
  ['no sandbox', {}, 400, 'bad_request', /Container/, /string/],
  ['a sandbox that is a number', { Container: 7 }, 400, 'bad_request', /Container/, /string/],
  ['an empty sandbox', { Container: '' }, 400, 'bad_request', /Container/, /must name a sandbox/],
  ['a sandbox that is not there', { Container: 'ghost' }, 404, 'no_sandbox', /ghost/],
  ['a sandbox that is a path', { Container: '../box' }, 404, 'no_sandbox', /\.\.\/box/],
  ['a sandbox that is there already', { Container: 'box' }, 403, 'already_joined', /box already exists in network net/],
  ['settings that are a list', settings([]), 400, 'bad_request', /EndpointConfig/, /object/],
  ['an address that is a word', ip4('ten'), 400, 'bad_address', /ten/, /10\.9\.0\.0\/24|IPv4 address/],
  ['an address that is a number', ip4(10), 400, 'bad_request', /IPv4Address/, /string/],
  ['an address with a length', ip4('10.9.0.7/24'), 400, 'bad_address', /10\.9\.0\.7\/24/, /plain IPv4/],
  ['an address with leading zeros', ip4('10.9.0.007'), 400, 'bad_address', /007/, /plain IPv4/],
  ['an address in hexadecimal', ip4('0x0a090007'), 400, 'bad_address', /0x0a/, /plain IPv4/],
  ['an IPv6 address as IPv4', ip4('fd00::1'), 400, 'bad_address', /fd00::1/, /plain IPv4/],
  ['an IPv4 address as IPv6', ip6('10.9.0.7'), 400, 'bad_address', /10\.9\.0\.7/, /plain IPv6/],
  ['an IPv6 address with a zone', ip6('fe80::1%eth0'), 400, 'bad_address', /%eth0/, /plain IPv6/],
  ['an IPv4 address in IPv6', ip6('::ffff:10.9.0.7'), 400, 'bad_address', /::ffff/, /plain IPv6/],
  ['the unspecified address', ip4('0.0.0.0'), 400, 'bad_address', /0\.0\.0\.0/, /plain IPv4/],
  ['a multicast address', ip4('224.0.0.1'), 400, 'bad_address', /224\.0\.0\.1/, /plain IPv4/],
  ['an address outside', ip4('10.8.0.7'), 400, 'address_out_of_range', /10\.8\.0\.7/, /10\.9\.0\.0\/24/],
  ['an address of the other network', ip4('172.31.255.1'), 400, 'address_out_of_range', /172\.31\.255\.1/, /10\.9\.0\.0\/24/],
  ['the network address', ip4('10.9.0.0'), 403, 'address_in_use', /10\.9\.0\.0 is reserved in 10\.9\.0\.0\/24/],
  ['the broadcast address', ip4('10.9.0.255'), 403, 'address_in_use', /10\.9\.0\.255 is reserved in 10\.9\.0\.0\/24/],
  ['the gateway', ip4('10.9.0.1'), 403, 'address_in_use', /10\.9\.0\.1|already in use/],
  ['the address of another sandbox', ip4('10.9.0.5'), 403, 'address_in_use', /10\.9\.0\.5|already in use/],
  ['IPv6 on a network without it', ip6('fd00::7'), 400, 'address_out_of_range', /fd00::7/],
  ['a MAC that is a word', mac('mac'), 400, 'bad_mac', /"mac"/, /02:00/],
  ['a MAC of five pairs', mac('02:00:00:00:00'), 400, 'bad_mac', /02:00:00:00:00/, /six/],
  ['a MAC of eight pairs', mac('02:00:00:00:00:00:00:01'), 400, 'bad_mac', /six/],
  ['a multicast MAC', mac('01:00:5e:00:00:01'), 400, 'bad_mac', /01:00:5e/, /unicast/],
  ['the broadcast MAC', mac('ff:ff:ff:ff:ff:ff'), 400, 'bad_mac', /ff:ff/, /unicast/],
  ['a MAC of zeros', mac('00:00:00:00:00:00'), 400, 'bad_mac', /00:00/, /unicast/],
  ['a MAC with a line feed', mac('02:00:00:00:00:01\n'), 400, 'bad_mac', /\\n/, /six/],
  ['a MAC that is a number', mac(2), 400, 'bad_request', /MacAddress/, /string/],
  ['an alias with a space', alias('a b'), 400, 'bad_name', /"a b"/, /\[a-zA-Z0-9_\.-\]/],
  ['an alias with a line feed', alias('a\n10.0.0.1 evil'), 400, 'bad_name', /"a\\n10/, /\[a-zA-Z0-9_\.-\]/],
  ['an alias with a tab', alias('a\tb'), 400, 'bad_name', /"a\\tb"/, /\[a-zA-Z0-9_\.-\]/],
  ['an empty alias', alias(''), 400, 'bad_name', /""/, /\[a-zA-Z0-9_\.-\]/],
  ['an alias of 254 characters', alias(many('a', 254)), 400, 'bad_name', /aaaa/, /253/],
  ['an alias with a label of 64 characters', alias(many('a', 64)), 400, 'bad_name', /aaaa/, /63/],
  ['an alias of letters from elsewhere', alias('раураl'), 400, 'bad_name', /alias/, /\[a-zA-Z0-9_\.-\]/],
  ['an alias with two dots', alias('a..b'), 400, 'bad_name', /"a\.\.b"/, /63/],
  ['an alias that is a number', alias(1), 400, 'bad_request', /Aliases\.0/, /string/],
  ['a thousand aliases', alias(...Array.from({ length: 1000 }, (_, i) => `a${i}`)), 400, 'bad_name', /1000 aliases, up to 128/],
  ['aliases in a text', settings({ Aliases: 'a' }), 400, 'bad_request', /Aliases/, /array/],
  [
    'a link-local address that is none',
    settings({ IPAMConfig: { LinkLocalIPs: ['10.0.0.1'] } }),
    400,
    'bad_address',
    /10\.0\.0\.1/,
    /169\.254/,
  ],
  ['a link-local address that is a word', settings({ IPAMConfig: { LinkLocalIPs: ['x'] } }), 400, 'bad_address', /x/, /169\.254/],
  [
    'a link-local address twice',
    settings({ IPAMConfig: { LinkLocalIPs: ['169.254.3.3', '169.254.3.4', '169.254.3.3'] } }),
    400,
    'bad_address',
    /169\.254\.3\.3 is given twice/,
    /once/,
  ],
  [
    'a link-local address of IPv6 where there is none',
    settings({ IPAMConfig: { LinkLocalIPs: ['169.254.3.3', 'fe80::55'] } }),
    400,
    'bad_address',
    /fe80::55 needs a network with IPv6/,
    /leave it out/,
  ],
  ['links', settings({ Links: ['box:a'] }), 501, 'driver_lacks', /links are not supported/, /aliases/],
  ['an empty interface name', ifname(''), 400, 'bad_option', /""/, /1 to 15/],
  ['an interface name of 16', ifname(many('e', 16)), 400, 'bad_option', /eeee/, /1 to 15/],
  ['an interface name with a slash', ifname('../../x'), 400, 'bad_option', /\.\./, /1 to 15/],
  ['the interface name lo', ifname('lo'), 400, 'bad_option', /"lo"/, /1 to 15/],
  ['an interface name that is taken', ifname('eth0'), 400, 'bad_option', /eth0/],
  ['an interface name with a line feed', ifname('e\n0'), 400, 'bad_option', /"e\\n0"/, /1 to 15/],
  ['a sysctl of elsewhere', sysctl('kernel.core_pattern=|/bin/sh'), 400, 'bad_option', /core_pattern/, /net\.X\.Y\.IFNAME/],
  ['a sysctl of another interface', sysctl('net.ipv4.conf.all.forwarding=1'), 400, 'bad_option', /all\.forwarding/, /IFNAME/],
  ['a sysctl that climbs', sysctl('net.ipv4.conf.IFNAME.../../x=1'), 400, 'bad_option', /\.\./, /IFNAME/],
  ['a sysctl without value', sysctl('net.ipv4.conf.IFNAME.log_martians'), 400, 'bad_option', /log_martians/, /=V/],
  ['a sysctl that is not there', sysctl('net.ipv4.conf.IFNAME.nothing=1'), 400, 'bad_option', /nothing/],
  ['a sysctl with a value it does not take', sysctl('net.ipv4.conf.IFNAME.log_martians=x'), 400, 'bad_option', /log_martians/],
  ['a priority with a fraction', settings({ GwPriority: 1.5 }), 400, 'bad_request', /GwPriority/, /int/],
  ['a priority that is a text', settings({ GwPriority: '1' }), 400, 'bad_request', /GwPriority/, /number/],
  ['a priority beyond all', settings({ GwPriority: 1e30 }), 400, 'bad_request', /GwPriority/],
];

const elsewhere: Row[] = [
  ...posts('/networks/ghost/connect', [['a network that is not there', { Container: 'spare' }, 404, 'no_network', /ghost/]]),
  ...posts('/networks/host/connect', [
    ['the host network for a sandbox of its own', { Container: 'spare' }, 400, 'not_supported_here', /host/],
  ]),
  ...posts('/networks/conf/connect', [['a template', { Container: 'spare' }, 403, 'config_only', /conf/]]),
  ...posts('/networks/bridge/connect', [
    ['an address on the default network', { ...ip4('172.16.0.9'), Container: 'box' }, 400, 'not_supported_here', /user-defined/],
    ['an alias on the default network', { ...alias('a'), Container: 'box' }, 400, 'not_supported_here', /user-defined/],
  ]),
  ...posts('/networks/net/disconnect', [
    ['a sandbox that is not connected', { Container: 'spare' }, 500, 'not_connected', /spare|not connected to network net/],
    ['a sandbox that is not there to leave', { Container: 'ghost' }, 404, 'no_sandbox', /ghost/],
    ['force that is a text', { Container: 'box', Force: 'yes' }, 400, 'bad_request', /Force/, /boolean/],
  ]),
  ...gets(
    [
      ['a network that is in use', '/networks/net', 403, 'network_in_use', /net/, /box/],
      ['the default network', '/networks/bridge', 403, 'predefined_network', /bridge/],
      ['a network that is not there to delete', '/networks/ghost', 404, 'no_network', /ghost/],
      ['a network named by a path', '/networks/..%2f..%2fetc', 404, 'no_network', /\.\.\/\.\.\/etc/],
      ['a network named by a line feed', '/networks/a%0ab', 404, 'no_network', /a\\nb/],
      ['a sandbox that is not there to delete', '/sandboxes/ghost', 404, 'no_sandbox', /ghost/],
      ['force that is a word', '/sandboxes/spare?force=maybe', 400, 'bad_request', /force/, /"maybe"/, /true or false/],
    ],
    'DELETE',
  ),
];

export const endpointRows: Row[] = [...posts('/networks/net/connect', connects), ...elsewhere];
