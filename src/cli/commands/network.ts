/** `ls create inspect rm prune connect disconnect`: as `docker network …`, word for word. */

import type { Command } from 'commander';
import type { NetworkCreateAnswer, NetworkCreateJson, NetworkJson, PruneAnswer } from '../../base/index.ts';
import { filterQuery, segment } from '../client.ts';
import { type EndpointFlags, type IpamFlags, collect, endpointSettings, ipamConfig, keyValues } from '../flags.ts';
import type { CliContext } from '../context.ts';
import { naturalCompare, renderList, labelText } from '../render.ts';
import { inspectAll, removeAll } from './shared.ts';

const TABLE = {
  headings: {
    ID: 'NETWORK ID',
    Name: 'NAME',
    Driver: 'DRIVER',
    Scope: 'SCOPE',
    IPv4: 'IPV4',
    IPv6: 'IPV6',
    Internal: 'INTERNAL',
    Labels: 'LABELS',
    CreatedAt: 'CREATED AT',
  },
  columns: ['ID', 'Name', 'Driver', 'Scope'],
};

export function addNetworkCommands(program: Command, context: CliContext): void {
  program
    .command('ls')
    .alias('list')
    .description('List networks')
    .option('-f, --filter <filter>', 'only those that match, such as driver=bridge; may repeat', collect)
    .option('--format <format>', 'table, json, or a Go template')
    .option('--no-trunc', 'do not shorten ids')
    .option('-q, --quiet', 'print ids only')
    .action((options: ListFlags) => list(context, options));
  addCreate(program, context);
  program
    .command('inspect')
    .description('Show networks in detail')
    .argument('<network...>')
    .option('-f, --format <format>', 'json, or a Go template')
    .option('-v, --verbose', 'endpoints on all hosts, of a shared network')
    .action((names: string[], { format, verbose }: { format?: string; verbose?: boolean }) =>
      inspectAll(context, names, format, (name) =>
        context.client().get(`/networks/${segment(name)}${verbose === true ? '?verbose=true' : ''}`),
      ),
    );
  program
    .command('rm')
    .alias('remove')
    .description('Remove networks')
    .argument('<network...>')
    .option('-f, --force', 'a network that does not exist is no error')
    .action((names: string[], { force }: { force?: boolean }) =>
      removeAll(context, names, force === true, (name) => context.client().delete(`/networks/${segment(name)}`)),
    );
  program
    .command('prune')
    .description('Remove all networks that nothing is joined to')
    .option('-f, --force', 'do not ask')
    .option('--filter <filter>', 'only those that match, such as until=24h or label=key; may repeat', collect)
    .action((options: { force?: boolean; filter?: string[] }) => prune(context, options));
  addConnect(program, context);
}

interface ListFlags {
  filter?: string[];
  format?: string;
  trunc: boolean;
  quiet?: boolean;
}

async function list(context: CliContext, options: ListFlags): Promise<void> {
  const networks = await context.client().get<NetworkJson[]>(`/networks${filterQuery(options.filter ?? [])}`);
  networks.sort((a, b) => naturalCompare(a.Name, b.Name));
  const rows = networks.map((net) => ({
    ID: options.trunc ? net.Id.slice(0, 12) : net.Id,
    Name: net.Name,
    Driver: net.Driver,
    Scope: net.Scope,
    IPv4: String(net.EnableIPv4),
    IPv6: String(net.EnableIPv6),
    Internal: String(net.Internal),
    Labels: labelText(net.Labels),
    CreatedAt: goTime(net.Created),
    Label: (key: string) => net.Labels[key] ?? '',
  }));
  context.out(renderList(rows, TABLE, options));
}

/** Go's default form of a time. */
const goTime = (iso: string): string => iso.replace('T', ' ').replace(/\.?0*Z$/, ' +0000 UTC');

interface CreateFlags extends IpamFlags {
  driver: string;
  opt?: string[];
  label?: string[];
  internal?: boolean;
  ipv4?: boolean;
  ipv6?: boolean;
  attachable?: boolean;
  ingress?: boolean;
  scope?: string;
  configOnly?: boolean;
  configFrom?: string;
  ipamDriver: string;
  ipamOpt?: string[];
}

function addCreate(program: Command, context: CliContext): void {
  program
    .command('create')
    .description('Create a network')
    .argument('<network>')
    .option('-d, --driver <driver>', 'driver of the network', 'bridge')
    .option('-o, --opt <key=value>', 'driver option; may repeat', collect)
    .option('--label <key=value>', 'label; may repeat', collect)
    .option('--internal', 'no way to the outside')
    .option('--ipv4', 'IPv4 addresses; on by default, --ipv4=false for a network without')
    .option('--ipv6', 'IPv6 addresses')
    .option('--attachable', 'stored and shown; without a cluster it has no effect')
    .option('--ingress', 'refused: there is no cluster')
    .option('--scope <scope>', 'scope of the network; local is the only one that works')
    .option('--config-only', 'a configuration for others, not a network')
    .option('--config-from <network>', 'take the configuration of another network')
    .option('--ipam-driver <driver>', 'who gives addresses: default, dhcp, or null', 'default')
    .option('--ipam-opt <key=value>', 'option of the IPAM driver; may repeat', collect)
    .option('--subnet <cidr>', 'subnet; one for IPv4, one for IPv6; without it one is chosen', collect)
    .option('--ip-range <cidr>', 'part of a subnet that is handed out', collect)
    .option('--gateway <address>', 'gateway of a subnet; its first address by default', collect)
    .option('--aux-address <name=address>', 'address that is not handed out; may repeat', collect)
    .action((name: string, flags: CreateFlags) => create(context, name, flags));
}

async function create(context: CliContext, name: string, flags: CreateFlags): Promise<void> {
  const family = (flag: 'ipv4' | 'ipv6'): boolean | undefined => (context.no.has(flag) ? false : flags[flag]);
  const [v4, v6] = [family('ipv4'), family('ipv6')];
  const body: NetworkCreateJson = {
    Name: name,
    Driver: flags.driver,
    ...(v4 !== undefined && { EnableIPv4: v4 }),
    ...(v6 !== undefined && { EnableIPv6: v6 }),
    ...(flags.scope !== undefined && { Scope: flags.scope }),
    IPAM: { Driver: flags.ipamDriver, Options: keyValues(flags.ipamOpt), Config: ipamConfig(flags) },
    Internal: flags.internal ?? false,
    Attachable: flags.attachable ?? false,
    Ingress: flags.ingress ?? false,
    ConfigOnly: flags.configOnly ?? false,
    ...(flags.configFrom !== undefined && { ConfigFrom: { Network: flags.configFrom } }),
    Options: keyValues(flags.opt),
    Labels: keyValues(flags.label),
  };
  const answer = await context.client().post<NetworkCreateAnswer>('/networks/create', body);
  if (answer.Warning !== '') context.err(`WARNING: ${answer.Warning}\n`);
  context.out(`${answer.Id}\n`);
}

const PRUNE_WARNING =
  'WARNING! This will remove all custom networks not used by at least one sandbox.\nAre you sure you want to continue? [y/N] ';

async function prune(context: CliContext, { force, filter }: { force?: boolean; filter?: string[] }): Promise<void> {
  const query = filterQuery(filter ?? []);
  if (force !== true && !(await confirmed(context))) return;
  const answer = await context.client().post<PruneAnswer>(`/networks/prune${query}`);
  if (answer.NetworksDeleted !== null)
    context.out(`Deleted Networks:\n${answer.NetworksDeleted.map((n) => `${n}\n`).join('')}\n`);
}

async function confirmed(context: CliContext): Promise<boolean> {
  // Loaded here: every other command starts without it.
  const { createInterface } = await import('node:readline');
  context.out(PRUNE_WARNING);
  const lines = createInterface({ input: process.stdin });
  try {
    for await (const line of lines) return /^y(es)?$/i.test(line.trim());
    return false;
  } finally {
    lines.close();
  }
}

function addConnect(program: Command, context: CliContext): void {
  program
    .command('connect')
    .description('Connect a sandbox to a network')
    .argument('<network>')
    .argument('<sandbox>')
    .option('--ip <address>', 'IPv4 address, of a network whose subnet holds it')
    .option('--ip6 <address>', 'IPv6 address')
    .option('--alias <name>', 'further name on this network; may repeat', collect)
    .option('--link <sandbox:alias>', 'refused: use --alias on the other sandbox', collect)
    .option('--link-local-ip <address>', 'further address, link-local; may repeat', collect)
    .option('--driver-opt <key=value>', 'option of the endpoint; may repeat', collect)
    .option('--gw-priority <number>', 'the highest one gives the default gateway; 0 by default')
    .action(async (network: string, sandbox: string, flags: EndpointFlags) => {
      await context
        .client()
        .post(`/networks/${segment(network)}/connect`, { Container: sandbox, EndpointConfig: endpointSettings(flags) });
    });
  program
    .command('disconnect')
    .description('Disconnect a sandbox from a network')
    .argument('<network>')
    .argument('<sandbox>')
    .option('-f, --force', 'also an endpoint whose sandbox is gone')
    .action(async (network: string, sandbox: string, { force }: { force?: boolean }) => {
      await context.client().post(`/networks/${segment(network)}/disconnect`, { Container: sandbox, Force: force ?? false });
    });
}
