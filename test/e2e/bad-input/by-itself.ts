/**
 * Bad endpoints by themselves. There are `idle`, joined to nothing, and `wed`, joined to the sandbox `home`; the endpoint of the
 * sandbox `box` was made by a connect.
 */

import { type Line, type Row, gets, many, posts } from './row.ts';

const settings = (EndpointConfig: unknown) => ({ Network: 'net', Name: 'bad', EndpointConfig });
const named = (Name: unknown) => ({ Network: 'net', Name });
const ip4 = (IPv4Address: unknown) => settings({ IPAMConfig: { IPv4Address } });
const mac = (MacAddress: unknown) => settings({ MacAddress });
const option = (key: string, value: unknown) => settings({ DriverOpts: { [key]: value } });

const creates: Line[] = [
  ['no network', { Name: 'bad' }, 400, 'bad_request', /Network/, /string/],
  ['a network that is a number', { Network: 7 }, 400, 'bad_request', /Network/, /string/],
  ['a network that is a list', { Network: ['net'] }, 400, 'bad_request', /Network/, /string/],
  ['an empty network', { Network: '' }, 404, 'no_network', /network  not found|""/],
  ['a network that is not there', { Network: 'ghost' }, 404, 'no_network', /ghost/],
  ['a network that is a path', { Network: '../net' }, 404, 'no_network', /\.\.\/net/],
  ['a template as network', { Network: 'conf' }, 403, 'config_only', /conf/],
  ['the host network', { Network: 'host' }, 400, 'not_supported_here', /host/, /create the sandbox in it/],
  ['the null network', { Network: 'none' }, 400, 'not_supported_here', /none/, /create the sandbox in it/],
  ['a field that nobody knows', { Network: 'net', Colour: 'red' }, 400, 'bad_request', /"Colour"/, /use Network, Name/],
  ['a setting that nobody knows', settings({ Colour: 'red' }), 400, 'bad_request', /EndpointConfig/, /"Colour"/, /IPAMConfig/],
  [
    'an address field that is misspelled',
    settings({ IPAMConfig: { IPv4Adress: '10.9.0.7' } }),
    400,
    'bad_request',
    /"IPv4Adress"/,
    /IPv4Address/,
  ],
  ['a field with a control character', { Network: 'net', 'a\nb': 1 }, 400, 'bad_request', /"a\\nb"/, /use Network, Name/],
  ['a name that is a number', named(7), 400, 'bad_request', /Name/, /string/],
  ['a name with a space', named('a b'), 400, 'bad_name', /"a b"/, /\[a-zA-Z0-9_\.-\]/],
  ['a name that is a path', named('../x'), 400, 'bad_name', /"\.\.\/x"/, /\[a-zA-Z0-9_\.-\]/],
  ['a name with a line feed', named('a\n10.0.0.1 evil'), 400, 'bad_name', /"a\\n10/, /\[a-zA-Z0-9_\.-\]/],
  ['a name that begins with a dash', named('-x'), 400, 'bad_name', /"-x"/, /\[a-zA-Z0-9_\.-\]/],
  ['a name of letters from elsewhere', named('раураl'), 400, 'bad_name', /endpoint name/, /\[a-zA-Z0-9_\.-\]/],
  ['a name of 300 characters', named(many('n', 300)), 400, 'bad_name', /nnnn/, /253/],
  ['a name with a label of 64 characters', named(many('n', 64)), 400, 'bad_name', /nnnn/, /63/],
  ['a name with two dots', named('a..b'), 400, 'bad_name', /"a\.\.b"/, /63/],
  ['a name that an endpoint has', named('idle'), 409, 'name_taken', /idle already exists in network net/],
  ['the name of a sandbox there', named('box'), 409, 'name_taken', /box already exists in network net/],
  ['settings that are a list', settings([]), 400, 'bad_request', /EndpointConfig/, /object/],
  ['an address that is a word', ip4('ten'), 400, 'bad_address', /ten/, /plain IPv4/],
  ['an address with a length', ip4('10.9.0.7/24'), 400, 'bad_address', /10\.9\.0\.7\/24/, /plain IPv4/],
  ['an address that is a number', ip4(10), 400, 'bad_request', /IPv4Address/, /string/],
  ['an address outside', ip4('10.8.0.7'), 400, 'address_out_of_range', /10\.8\.0\.7/, /10\.9\.0\.0\/24/],
  ['the network address', ip4('10.9.0.0'), 403, 'address_in_use', /10\.9\.0\.0 is reserved in 10\.9\.0\.0\/24/],
  ['the gateway', ip4('10.9.0.1'), 403, 'address_in_use', /10\.9\.0\.1|already in use/],
  ['the address of an endpoint', ip4('10.9.0.20'), 403, 'address_in_use', /10\.9\.0\.20|already in use/],
  ['the address of a sandbox', ip4('10.9.0.5'), 403, 'address_in_use', /10\.9\.0\.5|already in use/],
  ['IPv6 without IPv6', settings({ IPAMConfig: { IPv6Address: 'fd00::7' } }), 400, 'address_out_of_range', /fd00::7/],
  [
    'link-local that is none',
    settings({ IPAMConfig: { LinkLocalIPs: ['10.0.0.1'] } }),
    400,
    'bad_address',
    /10\.0\.0\.1/,
    /169\.254/,
  ],
  [
    'link-local of IPv6 where there is none',
    settings({ IPAMConfig: { LinkLocalIPs: ['fe80::55'] } }),
    400,
    'bad_address',
    /fe80::55 needs a network with IPv6/,
    /leave it out/,
  ],
  ['a MAC that is a word', mac('mac'), 400, 'bad_mac', /"mac"/, /02:00/],
  ['a multicast MAC', mac('01:00:5e:00:00:01'), 400, 'bad_mac', /01:00:5e/, /unicast/],
  ['a MAC that is a number', mac(2), 400, 'bad_request', /MacAddress/, /string/],
  ['an alias with a space', settings({ Aliases: ['a b'] }), 400, 'bad_name', /"a b"/, /\[a-zA-Z0-9_\.-\]/],
  ['aliases in a text', settings({ Aliases: 'a' }), 400, 'bad_request', /Aliases/, /array/],
  ['links', settings({ Links: ['box:a'] }), 501, 'driver_lacks', /links are not supported/, /aliases/],
  ['an interface name of 16', option('com.docker.network.endpoint.ifname', many('e', 16)), 400, 'bad_option', /eeee/, /1 to 15/],
  ['an option that is a number', option('a', 1), 400, 'bad_request', /DriverOpts\.a/, /string/],
  [
    'a sysctl of elsewhere',
    option('com.docker.network.endpoint.sysctls', 'kernel.core_pattern=|/bin/sh'),
    400,
    'bad_option',
    /core_pattern/,
    /net\.X\.Y\.IFNAME/,
  ],
  ['a priority that is a text', settings({ GwPriority: '1' }), 400, 'bad_request', /GwPriority/, /number/],
  ['a body that is a list', [], 400, 'bad_json', /one object/],
];

const joins: Row[] = [
  ...posts('/endpoints/idle/join', [
    ['no sandbox to join', {}, 400, 'bad_request', /Sandbox/, /string/],
    ['a sandbox to join that is a number', { Sandbox: 7 }, 400, 'bad_request', /Sandbox/, /string/],
    ['an empty sandbox to join', { Sandbox: '' }, 404, 'no_sandbox', /No such sandbox/],
    ['a sandbox to join that is not there', { Sandbox: 'ghost' }, 404, 'no_sandbox', /ghost/],
    ['a container to join', { Container: 'spare' }, 400, 'bad_request', /"Container"/, /use Sandbox/],
    [
      'a sandbox that is in the network',
      { Sandbox: 'box' },
      403,
      'already_joined',
      /box already exists in network net: sandbox box is in it/,
      /first/,
    ],
    ['a sandbox of the host network', { Sandbox: 'bare' }, 400, 'not_supported_here', /host/],
  ]),
  ...posts('/endpoints/wed/join', [
    ['the sandbox that it is in', { Sandbox: 'home' }, 403, 'already_joined', /wed/],
    ['a second sandbox', { Sandbox: 'spare' }, 403, 'already_joined', /wed/, /home/, /leave first/],
  ]),
  ...posts('/endpoints/box/join', [
    ['another sandbox for an endpoint of a connect', { Sandbox: 'spare' }, 403, 'already_joined', /made by a connect/],
  ]),
  ...posts('/endpoints/ghost/join', [['an endpoint that is not there', { Sandbox: 'spare' }, 404, 'no_endpoint', /ghost/]]),
  ...gets(
    [
      ['a join without a body', '/endpoints/idle/join', 400, 'bad_request', /Sandbox/, /string/],
      ['a leave of one that is not joined', '/endpoints/idle/leave', 500, 'not_connected', /idle is not joined/],
      ['a leave of one made by a connect', '/endpoints/box/leave', 400, 'not_supported_here', /disconnect the sandbox/],
      ['a leave of one that is not there', '/endpoints/ghost/leave', 404, 'no_endpoint', /ghost/],
      ['a leave of one named by a path', '/endpoints/..%2f..%2fetc/leave', 404, 'no_network', /network \.\.\/\.\. not found/],
    ],
    'POST',
  ),
];

const others: Row[] = [
  ...gets([
    ['a look at one that is not there', '/endpoints/ghost', 404, 'no_endpoint', /ghost/],
    ['a look at one named by a line feed', '/endpoints/a%0ab', 404, 'no_endpoint', /a\\nb/],
    [
      'a list by what is not there',
      `/endpoints?filters=${encodeURIComponent('{"colour":["red"]}')}`,
      400,
      'bad_filter',
      /'colour'/,
      /name/,
    ],
  ]),
  ...gets(
    [
      ['one that is joined', '/endpoints/wed', 403, 'endpoint_active', /wed/, /home/, /leave first, or force/],
      ['one of a connect', '/endpoints/box', 403, 'endpoint_active', /box/, /leave first|disconnect/],
      ['one that is not there', '/endpoints/ghost', 404, 'no_endpoint', /ghost/],
      ['force that is a word', '/endpoints/wed?force=maybe', 400, 'bad_request', /force/, /"maybe"/, /true or false/],
    ],
    'DELETE',
  ),
];

export const byItselfRows: Row[] = [...posts('/endpoints/create', creates), ...joins, ...others];
