/** Bad command lines of the tool and of the daemon, and bad configuration files. */

/** Words of the command line, exit code, what is said. */
export type CommandRow = readonly [args: readonly string[], exitCode: number, says: readonly RegExp[]];

/** Of `network`. */
export const toolRows: readonly CommandRow[] = [
  [['frobnicate'], 125, [/frobnicate/]],
  [['create'], 125, [/network|argument/]],
  [['create', 'a', 'b'], 125, [/argument/]],
  [['create', '--nonsense', 'a'], 125, [/--nonsense/]],
  [['create', '--subnet', '10.0.0.0/33', 'a'], 125, [/10\.0\.0\.0\/33/]],
  [['create', '--subnet', '10.1.0.0/16', '--subnet', '10.1.2.0/24', 'a'], 125, [/overlapping/]],
  [['create', '--gateway', '10.1.0.1', 'a'], 125, [/corresponding subnet/]],
  [['create', '--subnet', '10.1.0.0/24', '--gateway', '10.2.0.1', 'a'], 125, [/10\.2\.0\.1/]],
  [['create', '--subnet', '10.1.0.0/24', '--ip-range', 'x', 'a'], 125, [/x/]],
  [['create', '--subnet', '10.1.0.0/24', '--aux-address', 'a=10.9.9.9', 'a'], 125, [/10\.9\.9\.9/]],
  [['create', '--ipv6=maybe', 'a'], 125, [/"maybe"/, /true or false/]],
  [['create', 'a\nb'], 1, [/"a\\nb"/, /control characters/]],
  [['create', '--driver', 'nope', 'a'], 1, [/"nope"/]],
  [['connect', 'net'], 125, [/argument|sandbox/]],
  [['connect', '--ip', 'fd00::1', 'net', 'spare'], 125, [/"fd00::1"/, /IPv4/]],
  [['connect', '--ip6', '10.0.0.1', 'net', 'spare'], 125, [/"10\.0\.0\.1"/, /IPv6/]],
  [['connect', '--gw-priority', 'high', 'net', 'spare'], 125, [/"high"/, /whole number/]],
  [['connect', '--link', 'box:a', 'net', 'spare'], 1, [/links are not supported/, /aliases/]],
  [['connect', 'ghost', 'spare'], 1, [/ghost not found/]],
  [['disconnect', 'net', 'spare'], 1, [/not connected/]],
  [['ls', '--filter', 'name'], 125, [/"name"/, /key=value/]],
  [['ls', '--filter', 'colour=red'], 1, [/'colour'/, /dangling/]],
  [['ls', '--format', '{{.Nothing'], 125, [/\{\{|template|unclosed/]],
  [['inspect', 'ghost'], 1, [/ghost not found/]],
  [['rm', 'net'], 1, [/net/, /box/]],
  [['sandbox', 'create'], 125, [/argument|name/]],
  [['sandbox', 'create', '-p', 'http', 'bad'], 125, [/http/, /1 to 65535/]],
  [['sandbox', 'create', '-p', '1-3:80-81', 'bad'], 125, [/ranges/]],
  [['sandbox', 'create', '-p', '80/icmp', 'bad'], 125, [/icmp/, /tcp or udp/]],
  [['sandbox', 'create', '-p', 'localhost:80:80', 'bad'], 125, [/localhost/, /IP address/]],
  [['sandbox', 'create', '--network', 'name=net,colour=red', 'bad'], 125, [/colour=red/, /gw-priority/]],
  [['sandbox', 'create', '--network', 'ip=10.9.0.8', 'bad'], 125, [/name is missing/]],
  [['sandbox', 'create', '--netns', 'relative', 'bad'], 1, [/"relative"/, /absolute path/]],
  [['sandbox', 'create', '--hostname', 'a b', 'bad'], 1, [/"a b"/, /letters/]],
  [['sandbox', 'create', '--add-host', 'far', 'bad'], 1, [/"far"/, /name:address/]],
  [['sandbox', 'create', '--dns', 'dns.example', 'bad'], 1, [/dns\.example/, /IP/]],
  [['sandbox', 'rm', 'ghost'], 1, [/ghost/]],
  [['run', '--', 'true'], 125, [/--name/]],
  [['run', '--name', 'bad'], 125, [/command|argument/]],
  [['exec', 'ghost', '--', 'true'], 1, [/ghost/]],
  [['logs', 'ghost'], 1, [/ghost/]],
  [['port', 'ghost'], 1, [/ghost/]],
  [['--host', 'nothing', 'ls'], 125, [/"nothing"/, /unix:\/\/\/PATH/]],
  [['--host', 'unix:///nothing.sock', 'ls'], 1, [/nothing\.sock/, /patchbayd running/]],
  [['--host', 'tcp://127.0.0.1:1', 'ls'], 125, [/--tlscacert/]],
];

/** Of `patchbayd`; it never comes to serve. */
export const daemonRows: readonly CommandRow[] = [
  [['--nonsense'], 125, [/--nonsense/]],
  [['word'], 125, [/argument/]],
  [['--host', 'tcp://0.0.0.0:2375'], 125, [/plain TCP is refused/, /--tlskey/]],
  [['--host', 'fd://'], 125, [/fd:/, /unix:\/\/\/PATH/]],
  [['--host', `unix:///${'a'.repeat(120)}`], 1, [/aaaa/, /107 octets/]],
  [['--group', 'no-such-group'], 1, [/no-such-group/, /no such group/]],
  [['--firewall', 'pf'], 125, [/pf/, /iptables/]],
  [['--log-level', 'loud'], 125, [/loud/, /debug/]],
  [['--dns', 'x'], 125, [/"x"/, /IPv4 or IPv6/]],
  [['--bridge', 'a/b'], 125, [/a\/b/, /name of a bridge/]],
  [['--default-address-pool', 'base=10.0.0.0/8'], 1, [/base=10\.0\.0\.0\/8/, /size/]],
  [['--default-address-pool', 'base=10.0.0.0/24,size=8'], 1, [/size/]],
  [['--plugin-dir', 'relative'], 125, [/relative/, /absolute/]],
  [['--config', '/nothing.json'], 125, [/\/nothing\.json/]],
];

/** Text of a configuration file, and what is said about it; the exit code is 125. */
export const fileRows: readonly (readonly [text: string, says: readonly RegExp[]])[] = [
  ['', [/not JSON/]],
  ['{', [/not JSON/]],
  ['[]', [/object/]],
  ['{"colour":"red"}', [/colour/]],
  ['{"dns":"1.1.1.1"}', [/dns/, /array/]],
  ['{"log-level":7}', [/log-level/, /string/]],
  ['{"host":[7]}', [/host/]],
  ['{"host":"tcp://10.0.0.1:2376"}', [/plain TCP is refused/]],
  ['{"firewall":"pf"}', [/pf/]],
];
