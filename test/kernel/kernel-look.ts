/**
 * What is in the kernel of a host and of its sandboxes, by the usual tools, in a form that compares. One shell runs them all: tests look
 * after each of hundreds of calls, and to start a program from here costs more than most of the programs.
 */

import type { TestHost } from './support.ts';

/** Lines by table. */
type Tables = Readonly<Record<string, readonly string[]>>;

export interface KernelLook {
  /** By namespace: `host`, or the path of its pin. */
  readonly places: Record<string, Tables>;
  /** Of both families, without comments and counters. */
  readonly rules: readonly (readonly string[])[];
}

/** Settings that a network may change: of each link, and of all. */
const SYSCTLS = `cd /proc/sys/net; for s in ipv4/ip_forward ipv4/conf/*/route_localnet ipv4/conf/*/forwarding ipv4/conf/*/proxy_arp \
  ipv6/conf/*/accept_ra ipv6/conf/*/disable_ipv6 ipv6/conf/*/forwarding; do v=; read -r v <$s || :; echo "$s $v"; done`;

/** One process for what `ip` knows of a place: an array of JSON for each line. Routes of all tables are of both families. */
const IP = `ip -j -b - <<'END'
addr
route show table all
neigh show nud all
END`;

const OF_HOST = { ip: IP, rules: 'iptables-save', rules6: 'ip6tables-save', sysctls: SYSCTLS };
// On the host iptables has tables of its own.
const OF_SANDBOX = { ip: `nsenter --net="$pin" ${IP}`, tables: 'nsenter --net="$pin" nft list tables' };

/** What each command prints, after its name. */
const script = (commands: Readonly<Record<string, string>>): string =>
  Object.entries(commands)
    .map(([name, command]) => `echo '@ ${name}'; ${command}`)
    .join('\n');

/** The pins are given by arguments. */
const LOOK = `${script(OF_HOST)}
for pin; do echo "@@ $pin"
${script(OF_SANDBOX)}
done`;

/** Looks at a host and at the namespaces of these pins. Throws when any of the tools fails. */
export async function lookAt(host: TestHost, pins: readonly string[]): Promise<KernelLook> {
  const { stdout } = await host.exec('sh', ['-ec', LOOK, 'look', ...pins]);
  const [own = '', ...others] = `${stdout}\n`.split(/^@@ /m);
  const printed = sectionsOf(own);
  const places: KernelLook['places'] = { host: { ...tablesOf(printed), sysctls: [...printed('sysctls')].sort(), tables: [] } };
  for (const other of others) {
    const end = other.indexOf('\n');
    const inside = sectionsOf(other.slice(end + 1));
    // What a sandbox has learned of its neighbours is its own.
    places[other.slice(0, end)] = { ...tablesOf(inside), neighbours: [], sysctls: [], tables: [...inside('tables')].sort() };
  }
  return { places, rules: [rulesOf(printed('rules')), rulesOf(printed('rules6'))] };
}

/** The lines that the command of a name printed; throws where it did not run. */
type Sections = (name: string) => readonly string[];

function sectionsOf(text: string): Sections {
  const sections = new Map(
    text
      .split(/^@ /m)
      .slice(1)
      .map((section) => section.split('\n'))
      .map(([name = '', ...lines]) => [name, lines.filter((line) => line !== '')]),
  );
  return (name) => {
    const lines = sections.get(name);
    if (lines === undefined) throw new Error(`nobody looked at ${name}`);
    return lines;
  };
}

type Fields = Readonly<Record<string, unknown>>;

/** What `ip -j` printed of links with their addresses, of routes, and of neighbours. */
function tablesOf(printed: Sections): Tables {
  const [links = [], routes = [], neighbours = []] = printed('ip').map((line) => JSON.parse(line) as readonly Fields[]);
  // The host side of a pair has a MAC that nobody ever sees.
  const mac = (link: Fields): string => (String(link['ifname']).startsWith('veth') ? '' : String(link['address']));
  const addresses = links.flatMap((link) =>
    (link['addr_info'] as readonly Fields[]).map(
      ({ broadcast: _derived, ...rest }) => `${String(link['ifname'])} ${JSON.stringify(rest)}`,
    ),
  );
  return {
    links: links.map((l) => [l['ifname'], mac(l), l['mtu'], l['master'] ?? ''].join(' ')).sort(),
    addresses: addresses.filter(steady).sort(),
    routes: routes
      .map((route) => JSON.stringify(route).replaceAll(/"linkdown",?/g, ''))
      .filter(steady)
      .sort(),
    neighbours: neighbours.map(neighbour).filter(isMade).sort(),
  };
}

/** States through which an entry goes by itself. */
const PASSING = new Set(['STALE', 'REACHABLE', 'DELAY', 'PROBE']);

const neighbour = ({ dst, dev, lladdr, state }: Fields): string =>
  [
    dst,
    'dev',
    dev,
    ...(lladdr === undefined ? [] : ['lladdr', lladdr]),
    ...(state as string[]).filter((one) => !PASSING.has(one)),
  ].join(' ');

const isMade = (line: string): boolean => !/wire0|NOARP|^fe80:/.test(line);

/** Link-local and multicast lines come and go with the state of links. */
const steady = (line: string): boolean => !/fe80:|ff00::|multicast/.test(line);

function rulesOf(saved: readonly string[]): string[] {
  const lines = saved.filter((l) => !l.startsWith('#')).map((l) => l.replace(/\[\d+:\d+\]/, ''));
  // Jumps by disjoint ranges of ports: their order says nothing.
  const isJump = (line: string): boolean => / --dport \d+:\d+ -j /.test(line);
  return [...lines.filter((l) => !isJump(l)), ...lines.filter(isJump).sort()];
}
