/** Bad input for a plugin, as tables. Words in braces stand for what is different in every run. */

/** The network, an endpoint that is not joined, and one that is, of the engine that asks; the networks' subnets. */
export const FIXED = {
  network: 'a1'.repeat(32),
  idle: 'b1'.repeat(32),
  joined: 'b2'.repeat(32),
  free: 'c1'.repeat(32),
  other: 'c2'.repeat(32),
} as const;

export interface Row {
  readonly title: string;
  readonly call: string;
  /** Octets, or what becomes JSON; absent: none are sent. */
  readonly body?: unknown;
  readonly verb?: string;
  /** Length that the header names, when it is not the body's. */
  readonly announces?: number;
  readonly status: number;
  readonly says: readonly RegExp[];
}

type Line = readonly [title: string, call: string, body: unknown, ...says: RegExp[]];

const refused = (lines: readonly Line[]): Row[] =>
  lines.map(([title, call, body, ...says]) => ({ title: `${call}: ${title}`, call, body, status: 200, says }));

const NETWORK = {
  NetworkID: FIXED.free,
  Options: {},
  IPv4Data: [{ AddressSpace: 'LocalDefault', Pool: '10.73.0.0/24', Gateway: '10.73.0.1/24' }],
  IPv6Data: [],
};
const data = (one: unknown) => ({ ...NETWORK, IPv4Data: [one] });
const option = (key: string, value: string) => ({ ...NETWORK, Options: { 'com.docker.network.generic': { [key]: value } } });
const ENDPOINT = { NetworkID: FIXED.network, EndpointID: FIXED.free };
const IDLE = { NetworkID: FIXED.network, EndpointID: FIXED.idle };
const JOINED = { NetworkID: FIXED.network, EndpointID: FIXED.joined };
const iface = (fields: unknown) => ({
  ...ENDPOINT,
  Interface: { Address: '', AddressIPv6: '', MacAddress: '', ...(fields as object) },
});
const port = (fields: unknown) => ({
  ...iface({ Address: '10.71.0.9/24' }),
  Options: { 'com.docker.network.portmap': [{ Proto: 6, IP: '', Port: 80, HostIP: '', HostPort: 0, ...(fields as object) }] },
});
const key = (SandboxKey: unknown) => ({ ...IDLE, SandboxKey, Options: {} });
const many = (text: string, count: number): string => text.repeat(count);

const json: Row[] = refused([
  ['a cut object', 'NetworkDriver.CreateNetwork', '{"NetworkID":"a', /JSON/],
  ['a cut object', 'IpamDriver.RequestPool', '{"AddressSpace":', /JSON/],
  ['two values', 'NetworkDriver.DeleteNetwork', '{}{}', /JSON/],
  ['a list', 'NetworkDriver.CreateEndpoint', '[]', /object/],
  ['a text', 'NetworkDriver.Join', '"a"', /object/],
  ['a number', 'IpamDriver.ReleasePool', '1', /object/],
  ['null', 'NetworkDriver.Leave', 'null', /object/],
  ['no UTF-8', 'NetworkDriver.DeleteNetwork', Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x7d]), /UTF-8/],
  ['UTF-16', 'NetworkDriver.DeleteNetwork', Buffer.from('{"NetworkID":"a"}', 'utf16le'), /JSON/],
  ['brackets 100,000 deep', 'NetworkDriver.CreateNetwork', many('[', 100_000), /nest/],
  ['objects 50,000 deep', 'IpamDriver.RequestAddress', `${many('{"a":', 50_000)}1${many('}', 50_000)}`, /nest/],
  ['a prototype', 'NetworkDriver.DeleteNetwork', '{"__proto__":{"NetworkID":"x"}}', /NetworkID/],
  ['a megabyte of nothing', 'NetworkDriver.CreateNetwork', `{"Other":"${many('a', 1024 * 1024)}"}`, /NetworkID/],
  ['a megabyte as an id', 'NetworkDriver.DeleteNetwork', { NetworkID: many('a', 1024 * 1024) }, /12 to 64/],
  ['no body', 'NetworkDriver.CreateEndpoint', undefined, /no body/],
  ['no body', 'IpamDriver.ReleaseAddress', undefined, /no body/],
]);

const ids: Row[] = refused([
  ['no id', 'NetworkDriver.CreateNetwork', { ...NETWORK, NetworkID: undefined }, /NetworkID/],
  ['an empty id', 'NetworkDriver.CreateNetwork', { ...NETWORK, NetworkID: '' }, /NetworkID/, /12 to 64/],
  ['an id that is a number', 'NetworkDriver.CreateNetwork', { ...NETWORK, NetworkID: 7 }, /NetworkID/, /string/],
  ['an id that is a path', 'NetworkDriver.CreateNetwork', { ...NETWORK, NetworkID: '../../../etc/passwd' }, /12 to 64/],
  ['an id with a line feed', 'NetworkDriver.CreateNetwork', { ...NETWORK, NetworkID: `${many('a', 32)}\n-A X` }, /12 to 64/],
  [
    'an id with a shell command',
    'NetworkDriver.CreateNetwork',
    { ...NETWORK, NetworkID: `${many('a', 20)}$(reboot)` },
    /12 to 64/,
  ],
  ['an id with a NUL', 'NetworkDriver.CreateNetwork', { ...NETWORK, NetworkID: `${many('a', 20)}\u0000` }, /12 to 64/],
  ['an id of 65 digits', 'NetworkDriver.CreateNetwork', { ...NETWORK, NetworkID: many('a', 65) }, /12 to 64/],
  ['an endpoint id that is a path', 'NetworkDriver.CreateEndpoint', { ...ENDPOINT, EndpointID: '../../..' }, /EndpointID/],
  ['an endpoint id with spaces', 'NetworkDriver.CreateEndpoint', { ...ENDPOINT, EndpointID: many('a ', 20) }, /EndpointID/],
  ['no endpoint id', 'NetworkDriver.Join', { NetworkID: FIXED.network, SandboxKey: '{box}' }, /EndpointID/],
  ['an endpoint id that is a list', 'NetworkDriver.Leave', { NetworkID: FIXED.network, EndpointID: [] }, /EndpointID/],
  ['no id', 'NetworkDriver.DeleteNetwork', {}, /NetworkID/],
  ['no id', 'NetworkDriver.FreeNetwork', {}, /NetworkID/],
  ['an id that is a path', 'NetworkDriver.AllocateNetwork', { NetworkID: '../x' }, /NetworkID/],
  ['no ids', 'NetworkDriver.EndpointOperInfo', {}, /NetworkID/, /EndpointID/],
]);

const networks: Row[] = refused([
  ['a pool of words', 'NetworkDriver.CreateNetwork', data({ Pool: 'ten' }), /ten/],
  ['a pool that is a number', 'NetworkDriver.CreateNetwork', data({ Pool: 10 }), /Pool/, /string/],
  ['a pool of 33 bits', 'NetworkDriver.CreateNetwork', data({ Pool: '10.73.0.0/33' }), /10\.73\.0\.0\/33/],
  ['pools in a text', 'NetworkDriver.CreateNetwork', { ...NETWORK, IPv4Data: '10.73.0.0/24' }, /IPv4Data/],
  ['a gateway of words', 'NetworkDriver.CreateNetwork', data({ Pool: '10.73.0.0/24', Gateway: 'up' }), /up/],
  ['a gateway elsewhere', 'NetworkDriver.CreateNetwork', data({ Pool: '10.73.0.0/24', Gateway: '10.74.0.1/24' }), /10\.74\.0\.1/],
  [
    'two pools of one family',
    'NetworkDriver.CreateNetwork',
    { ...NETWORK, IPv4Data: [{ Pool: '10.73.0.0/24' }, { Pool: '10.74.0.0/24' }] },
    /subnet/,
  ],
  ['an IPv6 pool as IPv4', 'NetworkDriver.CreateNetwork', data({ Pool: 'fd73::/64' }), /fd73::\/64/],
  [
    'an IPv4 pool as IPv6',
    'NetworkDriver.CreateNetwork',
    { ...NETWORK, IPv6Data: [{ Pool: '10.75.0.0/24' }] },
    /10\.75\.0\.0\/24/,
  ],
  ['a pool that another network has', 'NetworkDriver.CreateNetwork', data({ Pool: '10.71.0.0/25' }), /10\.71\.0\.0/],
  ['a pool of a network of our own', 'NetworkDriver.CreateNetwork', data({ Pool: '10.9.0.0/16' }), /10\.9\.0\.0/],
  ['an MTU of words', 'NetworkDriver.CreateNetwork', option('com.docker.network.driver.mtu', 'big'), /big/, /mtu/],
  ['a bridge name with a slash', 'NetworkDriver.CreateNetwork', option('com.docker.network.bridge.name', '../x'), /\.\.\/x/],
  ['a bridge name of 16', 'NetworkDriver.CreateNetwork', option('com.docker.network.bridge.name', many('a', 16)), /aaaa/],
  ['a mode that is none', 'NetworkDriver.CreateNetwork', option('com.docker.network.bridge.gateway_mode_ipv4', 'odd'), /odd/],
  [
    'a prefix with a newline',
    'NetworkDriver.CreateNetwork',
    option('com.docker.network.container_iface_prefix', 'a\nb'),
    /iface_prefix|interface/,
  ],
  ['options in a list', 'NetworkDriver.CreateNetwork', { ...NETWORK, Options: [] }, /Options/],
  [
    'other settings under an id that is here',
    'NetworkDriver.CreateNetwork',
    { ...NETWORK, NetworkID: FIXED.network },
    /other settings/,
  ],
]);

const endpoints: Row[] = refused([
  ['a network that is not there', 'NetworkDriver.CreateEndpoint', { ...iface({}), NetworkID: FIXED.other }, /not created here/],
  ['an address of words', 'NetworkDriver.CreateEndpoint', iface({ Address: 'ten' }), /ten/],
  ['an address without length', 'NetworkDriver.CreateEndpoint', iface({ Address: '10.71.0.9' }), /10\.71\.0\.9/],
  ['an address that is a number', 'NetworkDriver.CreateEndpoint', iface({ Address: 10 }), /Address/, /string/],
  [
    'an address elsewhere',
    'NetworkDriver.CreateEndpoint',
    iface({ Address: '10.99.0.9/24' }),
    /10\.99\.0\.9/,
    /10\.71\.0\.0\/24/,
  ],
  ['the address of the gateway', 'NetworkDriver.CreateEndpoint', iface({ Address: '10.71.0.1/24' }), /10\.71\.0\.1/, /gateway/],
  ['an IPv6 address as IPv4', 'NetworkDriver.CreateEndpoint', iface({ Address: 'fd71::9/64' }), /fd71::9/],
  ['a MAC of words', 'NetworkDriver.CreateEndpoint', iface({ MacAddress: 'mac' }), /mac/, /six/],
  ['a multicast MAC', 'NetworkDriver.CreateEndpoint', iface({ MacAddress: '01:00:5e:00:00:01' }), /unicast/],
  ['a MAC of five pairs', 'NetworkDriver.CreateEndpoint', iface({ MacAddress: '02:00:00:00:00' }), /six/],
  ['an interface in a text', 'NetworkDriver.CreateEndpoint', { ...ENDPOINT, Interface: 'eth0' }, /Interface/],
  ['a port above all', 'NetworkDriver.CreateEndpoint', port({ Port: 65_536 }), /Port/, /65535/],
  ['port 0', 'NetworkDriver.CreateEndpoint', port({ Port: 0 }), /Port/],
  ['a port that is a text', 'NetworkDriver.CreateEndpoint', port({ Port: '80' }), /Port/],
  ['a host port below all', 'NetworkDriver.CreateEndpoint', port({ HostPort: -1 }), /HostPort/],
  ['half a port', 'NetworkDriver.CreateEndpoint', port({ HostPort: 80.5 }), /HostPort/],
  ['a protocol that is not published', 'NetworkDriver.CreateEndpoint', port({ Proto: 132 }), /132/, /tcp or udp/],
  ['a host address of words', 'NetworkDriver.CreateEndpoint', port({ HostIP: 'all' }), /all/],
  [
    'ports in a text',
    'NetworkDriver.CreateEndpoint',
    { ...iface({}), Options: { 'com.docker.network.portmap': '80' } },
    /portmap/,
  ],
  [
    'other settings under an id that is here',
    'NetworkDriver.CreateEndpoint',
    { ...IDLE, Interface: { Address: '10.71.0.77/24' } },
    /other settings/,
  ],
  ['an endpoint of another network', 'NetworkDriver.Join', { ...key('{box}'), NetworkID: FIXED.other }, /not created here/],
  ['an endpoint that is not there', 'NetworkDriver.Join', { ...key('{box}'), EndpointID: FIXED.other }, /not created here/],
  [
    'an endpoint that is not there',
    'NetworkDriver.ProgramExternalConnectivity',
    { ...ENDPOINT, Options: {} },
    /not created here/,
  ],
  [
    'a host port that another has',
    'NetworkDriver.ProgramExternalConnectivity',
    { ...IDLE, Options: port({ HostPort: 18_090, HostPortEnd: 18_090 }).Options },
    /18090/,
  ],
  [
    'a port that is none',
    'NetworkDriver.ProgramExternalConnectivity',
    { ...JOINED, Options: port({ Port: 70_000 }).Options },
    /Port/,
  ],
]);

const sandboxes: Row[] = refused([
  ['no sandbox', 'NetworkDriver.Join', key(undefined), /SandboxKey/],
  ['an empty sandbox', 'NetworkDriver.Join', key(''), /SandboxKey/],
  ['a sandbox that is a number', 'NetworkDriver.Join', key(7), /SandboxKey/],
  ['a relative path', 'NetworkDriver.Join', key('run/netns/x'), /SandboxKey/],
  ['a path that climbs', 'NetworkDriver.Join', key('/run/docker/netns/../../../etc/passwd'), /plain absolute path/],
  ['a path with a line feed', 'NetworkDriver.Join', key('/run/netns/a\nb'), /plain absolute path/, /a\\nb/],
  ['a path with a NUL', 'NetworkDriver.Join', key('/run/netns/a\u0000b'), /plain absolute path/],
  ['a path without end', 'NetworkDriver.Join', key(`/${many('a', 5000)}`), /plain absolute path/],
  ['the first process of the machine', 'NetworkDriver.Join', key('/proc/1/ns/net'), /namespace of the host|no network namespace/],
  ['the namespace of the host', 'NetworkDriver.Join', key('{host}'), /namespace of the host/],
  ['a namespace of another kind', 'NetworkDriver.Join', key('/proc/1/ns/mnt'), /no network namespace|not a network namespace/],
  ['a file with words in it', 'NetworkDriver.Join', key('/etc/passwd'), /no network namespace/],
  ['a folder', 'NetworkDriver.Join', key('/tmp'), /no network namespace/],
  ['a device', 'NetworkDriver.Join', key('/dev/zero'), /no network namespace/],
  ['a sandbox of our own', 'NetworkDriver.Join', key('{own}'), /sandbox box/],
  [
    'another sandbox for an endpoint that is joined',
    'NetworkDriver.Join',
    { ...key('/run/netns/elsewhere'), EndpointID: FIXED.joined },
    /joined in/,
  ],
]);

const POOL = { AddressSpace: 'LocalDefault', Pool: '10.76.0.0/24', SubPool: '', Options: {}, V6: false };

const addresses: Row[] = refused([
  ['no address space', 'IpamDriver.RequestPool', { ...POOL, AddressSpace: undefined }, /AddressSpace/],
  ['an address space that is none', 'IpamDriver.RequestPool', { ...POOL, AddressSpace: 'Nowhere' }, /Nowhere/],
  ['a pool of words', 'IpamDriver.RequestPool', { ...POOL, Pool: 'ten' }, /ten/],
  ['a pool of one address too many', 'IpamDriver.RequestPool', { ...POOL, Pool: '10.76.0.0/40' }, /10\.76\.0\.0\/40/],
  ['a range elsewhere', 'IpamDriver.RequestPool', { ...POOL, SubPool: '10.77.0.0/25' }, /10\.77\.0\.0\/25/],
  ['a range without a pool', 'IpamDriver.RequestPool', { ...POOL, Pool: '', SubPool: '10.77.0.0/25' }, /range|pool/i],
  ['a pool that is leased', 'IpamDriver.RequestPool', { ...POOL, Pool: '10.72.0.0/24' }, /overlap/],
  ['a pool that overlaps', 'IpamDriver.RequestPool', { ...POOL, Pool: '10.72.0.128/25' }, /overlap/],
  ['a pool around one that is leased', 'IpamDriver.RequestPool', { ...POOL, Pool: '10.72.0.0/16' }, /overlap/],
  ['options in a list', 'IpamDriver.RequestPool', { ...POOL, Options: [] }, /Options/],
  ['a family that is a text', 'IpamDriver.RequestPool', { ...POOL, V6: 'yes' }, /V6/],
  ['a pool that is not there', 'IpamDriver.RequestAddress', { PoolID: 'none', Address: '', Options: {} }, /none/],
  ['a pool with a line feed', 'IpamDriver.RequestAddress', { PoolID: 'a\nb', Address: '', Options: {} }, /not leased/],
  ['no pool', 'IpamDriver.RequestAddress', { Address: '' }, /PoolID/],
  ['an address of words', 'IpamDriver.RequestAddress', { PoolID: '{pool}', Address: 'ten' }, /ten/],
  ['an address elsewhere', 'IpamDriver.RequestAddress', { PoolID: '{pool}', Address: '10.78.0.1' }, /10\.78\.0\.1/],
  ['an address that is leased', 'IpamDriver.RequestAddress', { PoolID: '{pool}', Address: '10.72.0.7' }, /10\.72\.0\.7/],
  ['the broadcast address', 'IpamDriver.RequestAddress', { PoolID: '{pool}', Address: '10.72.0.255' }, /10\.72\.0\.255/],
  ['an address of the other family', 'IpamDriver.RequestAddress', { PoolID: '{pool}', Address: 'fd72::1' }, /fd72::1/],
  ['an address of words', 'IpamDriver.ReleaseAddress', { PoolID: '{pool}', Address: 'ten' }, /ten/],
  ['no address', 'IpamDriver.ReleaseAddress', { PoolID: '{pool}' }, /Address/],
]);

const other = (title: string, call: string, status: number, verb: string, ...says: RegExp[]): Row => ({
  title,
  call,
  verb,
  status,
  says,
  ...(verb === 'POST' && { body: '{}' }),
});

const transport: Row[] = [
  other('a method that is none', 'NetworkDriver.Explode', 404, 'POST', /Explode/, /not implemented/),
  other('a method of the address driver that is none', 'IpamDriver.Explode', 404, 'POST', /not implemented/),
  other('a method in lower case', 'networkdriver.join', 404, 'POST', /not implemented/),
  other('a method of every object', 'constructor', 404, 'POST', /not implemented/),
  other('a path below a method', 'NetworkDriver.Join/x', 404, 'POST', /not served/),
  other('a path that climbs', 'NetworkDriver.Join/../../etc/passwd', 404, 'POST', /not served|not implemented/),
  other('no path', '', 404, 'POST', /not served|not implemented/),
  other('a broken escape', '%zz', 400, 'POST', /%zz/),
  other('a question', 'Plugin.Activate', 404, 'GET', /not served/, /POST/),
  other('a removal', 'NetworkDriver.DeleteNetwork', 404, 'DELETE', /not served/),
  other('a method in words of the protocol before', 'NetworkDriver.Join?x=1', 404, 'POST', /not implemented/),
  {
    title: 'a body of five megabytes',
    call: 'NetworkDriver.CreateNetwork',
    body: '{"NetworkID":"',
    announces: 5 * 1024 * 1024,
    status: 413,
    says: [/4 MiB/],
  },
];

export const TABLES: Readonly<Record<string, readonly Row[]>> = {
  JSON: json,
  ids,
  networks,
  endpoints,
  sandboxes,
  addresses,
  transport,
};
