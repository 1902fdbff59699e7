/** Bad sandboxes: names, hostnames, namespaces, ports, nameservers, hosts lines, labels, processes. */

import { type Line, type Row, many, posts } from './row.ts';

const N = 'bad';
const port = (key: string, ...bindings: unknown[]) => ({ Name: N, Networks: { net: {} }, PortBindings: { [key]: bindings } });
const hostPort = (HostPort: unknown, HostIp?: unknown) => port('80/tcp', { HostPort, ...(HostIp !== undefined && { HostIp }) });

const names: Line[] = [
  ['no name', {}, 400, 'bad_request', /Name/, /string/],
  ['an empty name', { Name: '' }, 400, 'bad_name', /""/, /\[a-zA-Z0-9\]/],
  ['a name with a slash', { Name: '../../etc' }, 400, 'bad_name', /\.\./, /\[a-zA-Z0-9\]/],
  ['a name of two dots', { Name: '..' }, 400, 'bad_name', /"\.\."/, /\[a-zA-Z0-9\]/],
  ['a name with a line feed', { Name: 'a\n' }, 400, 'bad_name', /"a\\n"/, /\[a-zA-Z0-9\]/],
  ['a name with a NUL', { Name: 'a\0' }, 400, 'bad_name', /\\u\{0\}/, /\[a-zA-Z0-9\]/],
  ['a name that is a shell command', { Name: 'a;reboot' }, 400, 'bad_name', /a;reboot/, /\[a-zA-Z0-9\]/],
  ['a name that is a flag', { Name: '--help' }, 400, 'bad_name', /--help/, /\[a-zA-Z0-9\]/],
  ['a name of letters from elsewhere', { Name: 'bоx' }, 400, 'bad_name', /only \[a-zA-Z0-9\]/],
  ['a name of 256 characters', { Name: many('a', 256) }, 400, 'bad_name', /aaaa/, /255/],
  ['a name that is taken', { Name: 'box' }, 409, 'name_taken', /"box"/, /in use by sandbox/],
  ['a hostname with a line feed', { Name: N, Hostname: 'a\n1.2.3.4 evil' }, 400, 'bad_name', /"a\\n1/, /letters/],
  ['a hostname with a space', { Name: N, Hostname: 'a b' }, 400, 'bad_name', /"a b"/, /letters/],
  ['a hostname with a label of 64', { Name: N, Hostname: many('a', 64) }, 400, 'bad_name', /aaaa/, /63/],
  ['a hostname of 254', { Name: N, Hostname: many('a.', 127) }, 400, 'bad_name', /a\.a/, /253/],
  ['a hostname that is a shell command', { Name: N, Hostname: '$(id)' }, 400, 'bad_name', /\$\(id\)/, /letters/],
  ['a hostname that begins with a dash', { Name: N, Hostname: '-a' }, 400, 'bad_name', /"-a"/, /letters/],
  ['a hostname that is a number', { Name: N, Hostname: 5 }, 400, 'bad_request', /Hostname/, /string/],
];

const misspelt: Line[] = [
  ['a field that is none', { Name: N, Network: 'net' }, 400, 'bad_request', /unknown field "Network"/, /use Name/],
  [
    'a setting of a network that is none',
    { Name: N, Networks: { net: { Alias: ['a'] } } },
    400,
    'bad_request',
    /"Alias"/,
    /Aliases/,
  ],
  [
    'an address of a kind that is none',
    { Name: N, Networks: { net: { IPAMConfig: { IPv4: '10.0.0.9' } } } },
    400,
    'bad_request',
    /unknown field "IPv4"/,
    /IPv4Address/,
  ],
];

const namespaces: Line[] = [
  ['a namespace that is not there', { Name: N, Netns: '/run/netns/pbt-nothing' }, 400, 'bad_netns', /pbt-nothing/],
  ['a namespace by a relative path', { Name: N, Netns: 'net' }, 400, 'bad_netns', /"net"/, /absolute/],
  ['a namespace that is a file', { Name: N, Netns: '/etc/passwd' }, 400, 'bad_netns', /\/etc\/passwd/],
  ['a namespace that is a folder', { Name: N, Netns: '/etc' }, 400, 'bad_netns', /"\/etc"/],
  ['a namespace that is a device', { Name: N, Netns: '/dev/zero' }, 400, 'bad_netns', /\/dev\/zero/],
  ['a namespace of another kind', { Name: N, Netns: '/proc/self/ns/mnt' }, 400, 'bad_netns', /mnt/, /network namespace/],
  ["the daemon's own", { Name: N, Netns: '/proc/self/ns/net' }, 400, 'bad_netns', /self\/ns\/net/, /host/],
  ["the first process's own", { Name: N, Netns: '/proc/1/ns/net' }, 400, 'bad_netns', /1\/ns\/net/, /host's own|cannot open/],
  ['a namespace with a NUL', { Name: N, Netns: '/run/a\0b' }, 400, 'bad_netns', /\\u0000/],
  ['a namespace by a path beyond all', { Name: N, Netns: `/${many('a/', 4000)}` }, 400, 'bad_netns', /a\/a/],
  ['a namespace on the host network', { Name: N, Netns: '/run/x', Networks: { host: {} } }, 400, 'bad_netns', /host network/],
];

const networks: Line[] = [
  ['a network that is not there', { Name: N, Networks: { ghost: {} } }, 404, 'no_network', /ghost/],
  ['an empty network', { Name: N, Networks: { '': {} } }, 404, 'no_network', /network/],
  ['networks in a list', { Name: N, Networks: ['net'] }, 400, 'bad_request', /Networks/],
  ['host and another', { Name: N, Networks: { net: {}, host: {} } }, 400, 'not_supported_here', /host cannot be combined/],
  ['none and another', { Name: N, Networks: { net: {}, none: {} } }, 400, 'not_supported_here', /none cannot be combined/],
  ['a network twice', { Name: N, Networks: { net: {}, NETID: {} } }, 404, 'no_network', /NETID/],
  [
    'a taken address',
    { Name: N, Networks: { net: { IPAMConfig: { IPv4Address: '10.9.0.5' } } } },
    403,
    'address_in_use',
    /already in use|10\.9\.0\.5/,
  ],
  ['a bad second network', { Name: N, Networks: { bridge: {}, net: { MacAddress: 'x' } } }, 400, 'bad_mac', /"x"/, /six/],
  ['a template', { Name: N, Networks: { conf: {} } }, 403, 'config_only', /conf/],
];

const ports: Line[] = [
  ['a port that is a word', port('http'), 400, 'bad_port', /http/, /1 to 65535/],
  ['port 0', port('0/tcp'), 400, 'bad_port', /0/, /1 to 65535/],
  ['port 65536', port('65536/tcp'), 400, 'bad_port', /65536/, /1 to 65535/],
  ['a port below zero', port('-1/tcp'), 400, 'bad_port', /-1/, /1 to 65535/],
  ['an empty port', port('/tcp'), 400, 'bad_port', /1 to 65535/],
  ['a port of a protocol that is none', port('80/icmp'), 400, 'bad_port', /icmp/, /tcp or udp/],
  ['a port of sctp', port('80/sctp'), 400, 'bad_port', /sctp/, /tcp or udp/],
  ['a port with two protocols', port('80/tcp/udp'), 400, 'bad_port', /tcp\/udp/, /tcp or udp/],
  ['a range that goes backwards', port('90-80/tcp'), 400, 'bad_port', /90-80/, /1 to 65535/],
  ['a host port that is a word', hostPort('http'), 400, 'bad_port', /http/, /1 to 65535/],
  ['a host port of 70000', hostPort('70000'), 400, 'bad_port', /70000/, /1 to 65535/],
  ['a host port that is a huge number', hostPort(1e21), 400, 'bad_port', /1e\+21/, /1 to 65535/],
  ['a host port with a fraction', hostPort(80.5), 400, 'bad_port', /80\.5/, /1 to 65535/],
  ['a host port in hexadecimal', hostPort('0x50'), 400, 'bad_port', /0x50/, /1 to 65535/],
  ['a host port with a line feed', hostPort('80\n'), 400, 'bad_port', /80\\n/, /1 to 65535/],
  ['a host range that goes backwards', hostPort('90-80'), 400, 'bad_port', /90-80/, /1 to 65535/],
  ['a host port that is a list', hostPort(['80']), 400, 'bad_request', /HostPort/],
  ['a host address that is a name', hostPort('18080', 'localhost'), 400, 'bad_port', /localhost/, /IP address/],
  ['a host address with a zone', hostPort('18080', 'fe80::1%eth0'), 400, 'bad_port', /%eth0/, /IP address/],
  ['a host address with a length', hostPort('18080', '10.0.0.1/8'), 400, 'bad_port', /10\.0\.0\.1\/8/, /IP address/],
  ['a host port that is true', hostPort(true), 400, 'bad_request', /HostPort/, /text or a number/],
  [
    'a binding with a misspelled port',
    port('80/tcp', { HostPrt: '18080' }),
    400,
    'bad_request',
    /"HostPrt"/,
    /use HostIp, HostPort/,
  ],
  ['a host address in brackets', hostPort('18080', '[::1]'), 400, 'bad_port', /\[::1\]/, /such as 127\.0\.0\.1 or ::1/],
  ['a host address that is a number', hostPort('18080', 1), 400, 'bad_request', /HostIp/, /string/],
  ['a host port that another sandbox has', hostPort('18081'), 500, 'port_taken', /18081/, /box/],
  [
    'an address that this host does not have',
    hostPort('18082', '192.0.2.1'),
    400,
    'bad_address',
    /192\.0\.2\.1/,
    /not an address of this host/,
  ],
  ...['198.51.100.255', '127.255.255.255'].map((address): Line => [
    `the broadcast address of a network of this host, ${address}`,
    hostPort('18082', address),
    400,
    'bad_address',
    new RegExp(address.replaceAll('.', '\\.')),
    /not an address of this host/,
  ]),
  ['bindings in a text', { Name: N, PortBindings: { '80/tcp': '8080' } }, 400, 'bad_request', /PortBindings/, /array/],
  ['bindings in a list', { Name: N, PortBindings: ['8080:80'] }, 400, 'bad_request', /PortBindings/],
];

const files: Line[] = [
  ['a nameserver that is a name', { Name: N, Dns: ['dns.example'] }, 400, 'bad_address', /dns\.example/, /IP address/],
  ['a nameserver with a port', { Name: N, Dns: ['1.1.1.1:53'] }, 400, 'bad_address', /1\.1\.1\.1:53/, /IP address/],
  ['a nameserver with a line feed', { Name: N, Dns: ['1.1.1.1\nsearch evil'] }, 400, 'bad_address', /\\nsearch/, /IP address/],
  ['a nameserver that is the resolver itself', { Name: N, Dns: ['127.0.0.11'] }, 400, 'bad_address', /127\.0\.0\.11/, /resolver/],
  ['a nameserver that is a group', { Name: N, Dns: ['224.0.0.1'] }, 400, 'bad_address', /224\.0\.0\.1/, /one server/],
  ['a nameserver that is everybody', { Name: N, Dns: ['255.255.255.255'] }, 400, 'bad_address', /255/, /one server/],
  ['a nameserver that is no address', { Name: N, Dns: ['::'] }, 400, 'bad_address', /::/, /one server/],
  ['ndots that are a word', { Name: N, DnsOptions: ['ndots:many'] }, 400, 'bad_option', /"ndots:many"/, /ndots:1/],
  ['ndots below zero', { Name: N, DnsOptions: ['ndots:-1'] }, 400, 'bad_option', /"ndots:-1"/, /ndots:1/],
  ['a timeout without a number', { Name: N, DnsOptions: ['timeout'] }, 400, 'bad_option', /"timeout"/, /timeout:1/],
  ['nameservers in a text', { Name: N, Dns: '1.1.1.1' }, 400, 'bad_request', /Dns/, /array/],
  [
    'a search domain with a line feed',
    { Name: N, DnsSearch: ['a\nnameserver 6.6.6.6'] },
    400,
    'bad_option',
    /\\nnameserver/,
    /253/,
  ],
  ['a search domain with a space', { Name: N, DnsSearch: ['a b'] }, 400, 'bad_option', /"a b"/, /253/],
  ['an empty search domain', { Name: N, DnsSearch: [''] }, 400, 'bad_option', /""/, /253/],
  ['a search domain of 254', { Name: N, DnsSearch: [many('a', 254)] }, 400, 'bad_option', /aaaa/, /253/],
  [
    'a resolver option with a line feed',
    { Name: N, DnsOptions: ['ndots:1\nnameserver 6.6.6.6'] },
    400,
    'bad_option',
    /ndots/,
    /253/,
  ],
  ['a resolver option with a hash', { Name: N, DnsOptions: ['#x'] }, 400, 'bad_option', /#x/, /253/],
  [
    'sixty-five nameservers',
    { Name: N, Dns: Array.from({ length: 65 }, (_, i) => `192.0.2.${i}`), Networks: { net: {} } },
    400,
    'bad_address',
    /65 nameservers/,
    /64/,
  ],
  ['a hosts line without address', { Name: N, ExtraHosts: ['a'] }, 400, 'bad_address', /"a"/, /name:address/],
  ['a hosts line with a name for an address', { Name: N, ExtraHosts: ['a:b'] }, 400, 'bad_address', /"a:b"/, /name:address/],
  [
    'a hosts line with a second line',
    { Name: N, ExtraHosts: ['a:1.1.1.1\n2.2.2.2 b'] },
    400,
    'bad_address',
    /\\n2/,
    /name:address/,
  ],
  ['a hosts line with two names', { Name: N, ExtraHosts: ['a b:1.1.1.1'] }, 400, 'bad_address', /a b/, /name:address/],
  ['a hosts line with a comment', { Name: N, ExtraHosts: ['#:1.1.1.1'] }, 400, 'bad_name', /"#"/, /letters/],
  ['a hosts line with no name', { Name: N, ExtraHosts: [':1.1.1.1'] }, 400, 'bad_address', /":1\.1\.1\.1"/, /name:address/],
  ['a hosts line that is a number', { Name: N, ExtraHosts: [1] }, 400, 'bad_request', /ExtraHosts\.0/, /string/],
  ['labels in a list', { Name: N, Labels: ['a'] }, 400, 'bad_request', /Labels/],
  ['removal that is a text', { Name: N, AutoRemove: 'yes' }, 400, 'bad_request', /AutoRemove/, /boolean/],
];

const processes: Row[] = [
  ...posts('/sandboxes/spare/process', [
    ['a field that is none', { Pid: 1, Signal: 9 }, 400, 'bad_request', /unknown field "Signal"/, /use Pid/],
    ['no pid', {}, 400, 'bad_request', /Pid/, /number/],
    ['a pid that is a text', { Pid: '1' }, 400, 'bad_request', /Pid/, /number/],
    ['pid 0', { Pid: 0 }, 400, 'bad_request', /Pid/],
    ['a pid below zero', { Pid: -1 }, 400, 'bad_request', /Pid/],
    ['a pid with a fraction', { Pid: 1.5 }, 400, 'bad_request', /Pid/],
    ['a pid beyond all', { Pid: 2 ** 40 }, 400, 'bad_process', /1099511627776/, /not alive/],
    ['a process that lives elsewhere', { Pid: process.pid }, 400, 'bad_process', /does not live in sandbox spare/],
    ['the first process', { Pid: 1 }, 400, 'bad_process', /1 does not live in sandbox spare/],
  ]),
  ...posts('/sandboxes/ghost/process', [['a process of a sandbox that is not there', { Pid: 1 }, 404, 'no_sandbox', /ghost/]]),
];

export const sandboxRows: Row[] = [
  ...posts('/sandboxes/create', [...names, ...misspelt, ...namespaces, ...networks, ...ports, ...files]),
  ...processes,
];
