/** `sandbox create|ls|inspect|rm`, and `port`. */

import type { Command } from 'commander';
import {
  type HostPortJson,
  type PortsAnswer,
  type SandboxAnswer,
  type SandboxCreateAnswer,
  type SandboxCreateJson,
  splitPublish,
} from '../../base/index.ts';
import { UsageError, filterQuery, segment } from '../client.ts';
import { type EndpointFlags, collect, endpointSettings, keyValues, networkFlag } from '../flags.ts';
import type { CliContext } from '../context.ts';
import { naturalCompare, renderList, labelText } from '../render.ts';
import { inspectAll, removeAll } from './shared.ts';

const TABLE = {
  headings: {
    ID: 'SANDBOX ID',
    Name: 'NAME',
    Networks: 'NETWORKS',
    Ports: 'PORTS',
    State: 'STATE',
    Labels: 'LABELS',
    Netns: 'NETNS',
  },
  columns: ['ID', 'Name', 'Networks', 'Ports', 'State'],
};

export function addSandboxCommands(program: Command, context: CliContext): void {
  const sandbox = program.command('sandbox').description('Manage sandboxes');
  withSandboxOptions(
    sandbox.command('create').description('Create a sandbox without a process, joined to its networks').argument('<name>'),
  ).action(async (name: string, flags: SandboxFlags) => {
    context.out(`${await createSandbox(context, sandboxBody(name, flags))}\n`);
  });
  sandbox
    .command('ls')
    .alias('list')
    .description('List sandboxes')
    .option('-a, --all', 'also those that lead published ports of services on')
    .option('-f, --filter <filter>', 'only those that match: name, id, network, label; may repeat', collect)
    .option('--format <format>', 'table, json, or a Go template')
    .option('--no-trunc', 'do not shorten ids')
    .option('-q, --quiet', 'print ids only')
    .action((options: ListOptions) => list(context, options));
  sandbox
    .command('inspect')
    .description('Show sandboxes in detail')
    .argument('<sandbox...>')
    .option('-f, --format <format>', 'json, or a Go template')
    .action((names: string[], { format }: { format?: string }) =>
      inspectAll(context, names, format, (name) => context.client().get(`/sandboxes/${segment(name)}`)),
    );
  sandbox
    .command('rm')
    .alias('remove')
    .description('Remove sandboxes')
    .argument('<sandbox...>')
    .option('-f, --force', 'end a process that is still alive: SIGTERM, after 10 s SIGKILL')
    .action((names: string[], { force }: { force?: boolean }) =>
      removeAll(context, names, false, (name) =>
        context.client().delete(`/sandboxes/${segment(name)}${force === true ? '?force=1' : ''}`),
      ),
    );
  program
    .command('port')
    .description('Show where the published ports of a sandbox lead')
    .argument('<sandbox>')
    .argument('[port]', 'only this port of the sandbox, as PORT[/PROTO]')
    .action((name: string, port?: string) => showPorts(context, name, port));
}

export interface SandboxFlags extends Pick<EndpointFlags, 'ip' | 'ip6' | 'alias' | 'macAddress'> {
  network?: string[];
  publish?: string[];
  netns?: string;
  hostname?: string;
  dns?: string[];
  dnsSearch?: string[];
  dnsOption?: string[];
  addHost?: string[];
  label?: string[];
}

/** The options that `sandbox create` and `run` share. */
export function withSandboxOptions(command: Command): Command {
  return command
    .option(
      '--network <network>',
      'network to join, or name=NET,ip=…,ip6=…,alias=…,mac=…,gw-priority=N; may repeat; the network bridge by default',
      collect,
    )
    .option('--ip <address>', 'IPv4 address on the first network')
    .option('--ip6 <address>', 'IPv6 address on the first network')
    .option('--alias <name>', 'further name on the first network; may repeat', collect)
    .option('--mac-address <mac>', 'MAC address on the first network')
    .option('-p, --publish <ports>', '[hostIP:][hostPort[-end]:]port[-end][/tcp|udp]; may repeat', collect)
    .option('--netns <path>', 'use this network namespace instead of a new one')
    .option('--hostname <name>', 'hostname inside; 12 digits of the id by default')
    .option('--dns <address>', 'nameserver, asked from inside the sandbox; may repeat', collect)
    .option('--dns-search <domain>', 'search domain; may repeat', collect)
    .option('--dns-option <option>', 'option of resolv.conf; may repeat', collect)
    .option('--add-host <name:address>', 'line for /etc/hosts; may repeat', collect)
    .option('--label <key=value>', 'label; may repeat', collect);
}

/** The request for a sandbox. Throws UsageError. */
export function sandboxBody(name: string, flags: SandboxFlags, autoRemove = false): SandboxCreateJson {
  const networks = (flags.network ?? []).map(networkFlag);
  const given = endpointSettings(flags);
  const named = new Set<string>();
  for (const network of networks) {
    if (named.has(network.name)) throw new UsageError(`network ${network.name} is named twice`);
    named.add(network.name);
  }
  const [first, ...rest] = networks.length > 0 ? networks : single(flags) ? [{ name: 'bridge', settings: {} }] : [];
  return {
    Name: name,
    ...(flags.hostname !== undefined && { Hostname: flags.hostname }),
    ...(flags.netns !== undefined && { Netns: flags.netns }),
    Networks: Object.fromEntries([
      ...(first === undefined ? [] : [[first.name, merged(first.settings, given)]]),
      ...rest.map((network) => [network.name, network.settings]),
    ]),
    PortBindings: splitPublish(flags.publish ?? []),
    Dns: flags.dns ?? [],
    DnsSearch: flags.dnsSearch ?? [],
    DnsOptions: flags.dnsOption ?? [],
    ExtraHosts: flags.addHost ?? [],
    Labels: keyValues(flags.label),
    AutoRemove: autoRemove,
  };
}

const single = (flags: SandboxFlags): boolean => (flags.ip ?? flags.ip6 ?? flags.macAddress ?? flags.alias) !== undefined;

/** Single flags complete the first network's long form. */
function merged(
  settings: ReturnType<typeof endpointSettings>,
  given: ReturnType<typeof endpointSettings>,
): ReturnType<typeof endpointSettings> {
  return { ...settings, ...given, IPAMConfig: { ...settings.IPAMConfig, ...given.IPAMConfig } };
}

/** Creates the sandbox, prints warnings, answers its id. */
export async function createSandbox(context: CliContext, body: SandboxCreateJson): Promise<string> {
  const answer = await context.client().post<SandboxCreateAnswer>('/sandboxes/create', body);
  for (const warning of answer.Warnings) context.err(`WARNING: ${warning}\n`);
  return answer.Id;
}

interface ListOptions {
  all?: boolean;
  filter?: string[];
  format?: string;
  trunc: boolean;
  quiet?: boolean;
}

async function list(context: CliContext, options: ListOptions): Promise<void> {
  const filters = filterQuery(options.filter ?? []);
  const all = options.all === true ? `${filters === '' ? '?' : '&'}all=1` : '';
  const sandboxes = await context.client().get<SandboxAnswer[]>(`/sandboxes${filters}${all}`);
  sandboxes.sort((a, b) => naturalCompare(a.Name, b.Name));
  const rows = sandboxes.map((s) => ({
    ID: options.trunc ? s.Id.slice(0, 12) : s.Id,
    Name: s.Name,
    Networks: Object.keys(s.Networks).join(','),
    Ports: portLines(s.Ports).join(', '),
    State: s.State,
    Labels: labelText(s.Labels),
    Netns: s.Netns,
    Label: (key: string) => s.Labels[key] ?? '',
  }));
  context.out(renderList(rows, TABLE, options));
}

const hostSide = ({ HostIp, HostPort }: { HostIp: string; HostPort: string }): string =>
  `${HostIp.includes(':') ? `[${HostIp}]` : HostIp}:${HostPort}`;

function portLines(ports: PortsAnswer): string[] {
  const number = (key: string): number => Number(key.split('/')[0]);
  return Object.entries(ports)
    .sort(([a], [b]) => number(a) - number(b) || (a < b ? -1 : 1))
    .flatMap(([key, hosts]) =>
      (hosts ?? []).map((host) => `${hostSide(host)}->${key}${host.Conflict === undefined ? '' : ' (conflict)'}`),
    );
}

/** On stderr: scripts read where the port leads, and it still does. */
function warnOf(context: CliContext, hosts: readonly HostPortJson[]): void {
  for (const { Conflict } of hosts) if (Conflict !== undefined) context.err(`WARNING: ${Conflict}\n`);
}

async function showPorts(context: CliContext, name: string, port: string | undefined): Promise<void> {
  const { Ports } = await context.client().get<SandboxAnswer>(`/sandboxes/${segment(name)}`);
  if (port === undefined) {
    for (const [key, hosts] of Object.entries(Ports))
      for (const host of hosts ?? []) context.out(`${key} -> ${hostSide(host)}\n`);
    warnOf(
      context,
      Object.values(Ports).flatMap((hosts) => hosts ?? []),
    );
    return;
  }
  const match = /^(\d{1,5})(?:\/(tcp|udp))?$/i.exec(port);
  if (match === null) throw new UsageError(`invalid port ${JSON.stringify(port)}: use PORT[/PROTO]`);
  const key = `${match[1]}/${(match[2] ?? 'tcp').toLowerCase()}`;
  const hosts = Ports[key] ?? [];
  if (hosts.length === 0) throw new Error(`Error: No public port '${key}' published for ${name}`);
  for (const host of hosts) context.out(`${hostSide(host)}\n`);
  warnOf(context, hosts);
}
