/** `service create|ls|inspect|rm|add|remove|drain`: one name for many sandboxes. */

import type { Command } from 'commander';
import {
  type DrainAnswer,
  type DrainJson,
  type HealthCheckJson,
  NANOS_A_MS,
  type ServiceCreateAnswer,
  type ServiceCreateJson,
  type ServiceJson,
  parseDuration,
  splitPublish,
} from '../../base/index.ts';
import { UsageError, segment } from '../client.ts';
import type { CliContext } from '../context.ts';
import { collect, keyValues } from '../flags.ts';
import { naturalCompare, renderList, labelText } from '../render.ts';
import { inspectAll, removeAll } from './shared.ts';

const TABLE = {
  headings: {
    ID: 'SERVICE ID',
    Name: 'NAME',
    Network: 'NETWORK',
    Mode: 'MODE',
    VIP: 'VIP',
    Members: 'MEMBERS',
    Ports: 'PORTS',
    Labels: 'LABELS',
  },
  columns: ['ID', 'Name', 'Network', 'Mode', 'VIP', 'Members', 'Ports'],
};

export function addServiceCommands(program: Command, context: CliContext): void {
  const service = program.command('service').description('Manage services, each one name for many sandboxes of a network');
  addCreate(service, context);
  service
    .command('ls')
    .alias('list')
    .description('List services')
    .option('--format <format>', 'table, json, or a Go template')
    .option('--no-trunc', 'do not shorten ids')
    .option('-q, --quiet', 'print ids only')
    .action((options: ListFlags) => list(context, options));
  service
    .command('inspect')
    .description('Show services in detail, with their members on all hosts')
    .argument('<service...>')
    .option('-f, --format <format>', 'json, or a Go template')
    .action((names: string[], { format }: { format?: string }) =>
      inspectAll(context, names, format, (name) => context.client().get(pathOf(name))),
    );
  service
    .command('rm')
    .description('Remove services; their members stay as plain sandboxes')
    .argument('<service...>')
    .action((names: string[]) => removeAll(context, names, false, (name) => context.client().delete(pathOf(name))));
  service
    .command('add')
    .description('Make sandboxes of this host members; one that drains serves again')
    .argument('<service>')
    .argument('<sandbox...>')
    .action(async (name: string, sandboxes: string[]) => {
      for (const Sandbox of sandboxes) await context.client().post(`${pathOf(name)}/add`, { Sandbox });
    });
  addLeaving(service, context, 'drain', 'Give a member no new connections; it stays a member');
  addLeaving(service, context, 'remove', 'Drain a member, and take it out when it has no connections left');
}

const pathOf = (name: string): string => `/network-services/${segment(name)}`;

interface LeavingFlags {
  timeout?: string;
  wait?: boolean;
}

function addLeaving(service: Command, context: CliContext, verb: 'drain' | 'remove', description: string): void {
  service
    .command(verb)
    .description(description)
    .argument('<service>')
    .argument('<sandbox>')
    .option('--timeout <duration>', 'longest time for the connections that it has, such as 30s, the default')
    .option('--wait', 'until it has none left, or the time is over')
    .action(async (name: string, Sandbox: string, { timeout, wait }: LeavingFlags) => {
      const body: DrainJson = {
        Sandbox,
        ...(timeout !== undefined && { Timeout: nanos('timeout', timeout) }),
        ...(wait === true && { Wait: true }),
      };
      const { Connections } = await context.client().post<DrainAnswer>(`${pathOf(name)}/${verb}`, body);
      if (wait === true && Connections > 0) context.err(`${Connections} connections are left\n`);
    });
}

interface CreateFlags {
  network: string;
  mode?: string;
  publish?: string[];
  alias?: string[];
  label?: string[];
  healthCmd?: string;
  healthHttp?: string;
  healthTcp?: string;
  healthInterval?: string;
  healthTimeout?: string;
  healthRetries?: string;
  healthStartPeriod?: string;
}

function addCreate(service: Command, context: CliContext): void {
  service
    .command('create')
    .description('Create a service')
    .argument('<name>')
    .requiredOption('--network <network>', 'network that its members are in')
    .option('--mode <mode>', 'vip: one address that clients balance; dnsrr: the addresses of all members; vip by default')
    .option('-p, --publish <ports>', 'port:port[/tcp|udp] that leads to members from every host; may repeat', collect)
    .option('--alias <name>', 'further name; may repeat', collect)
    .option('--label <key=value>', 'label; may repeat', collect)
    .option(
      '--health-cmd <command>',
      'shell command that ends with 0 in the network namespace of a member that is well; for root',
    )
    .option('--health-http <path>', '[:PORT]/PATH that a member answers with 2xx or 3xx when it is well')
    .option('--health-tcp <port>', 'port that a member that is well listens at')
    .option('--health-interval <duration>', 'time between two looks; 30s by default')
    .option('--health-timeout <duration>', 'longest time of a look; 30s by default')
    .option('--health-retries <number>', 'failures in a row that make a member unhealthy; 3 by default')
    .option('--health-start-period <duration>', 'time in which failures of a new member do not count; 0s by default')
    .action(async (name: string, flags: CreateFlags) => {
      const health = healthOf(flags);
      const body: ServiceCreateJson = {
        Name: name,
        Network: flags.network,
        ...(flags.mode !== undefined && { Mode: flags.mode }),
        Aliases: flags.alias ?? [],
        Ports: portsOf(flags.publish ?? []),
        ...(health && { HealthCheck: health }),
        Labels: keyValues(flags.label),
      };
      context.out(`${(await context.client().post<ServiceCreateAnswer>('/network-services/create', body)).Id}\n`);
    });
}

function portsOf(texts: readonly string[]): NonNullable<ServiceCreateJson['Ports']> {
  return Object.entries(splitPublish(texts)).flatMap(([key, hosts]) =>
    hosts.map(({ HostIp, HostPort }) => {
      const [target, protocol = 'tcp'] = key.split('/');
      if (HostIp !== '') throw new UsageError(`--publish ${HostIp}: a service's port is published on all addresses of all hosts`);
      if (!/^\d+$/.test(HostPort)) throw new UsageError('--publish: name the port that all hosts publish, such as 8080:80');
      return { Protocol: protocol, PublishedPort: Number(HostPort), TargetPort: Number(target) };
    }),
  );
}

function healthOf(flags: CreateFlags): HealthCheckJson | undefined {
  const { healthCmd, healthHttp, healthTcp, healthInterval, healthTimeout, healthRetries, healthStartPeriod } = flags;
  const times = {
    ...(healthInterval !== undefined && { Interval: nanos('health-interval', healthInterval) }),
    ...(healthTimeout !== undefined && { Timeout: nanos('health-timeout', healthTimeout) }),
    ...(healthRetries !== undefined && { Retries: whole('health-retries', healthRetries) }),
    ...(healthStartPeriod !== undefined && { StartPeriod: nanos('health-start-period', healthStartPeriod) }),
  };
  const health = {
    ...(healthCmd !== undefined && { Command: healthCmd }),
    ...(healthHttp !== undefined && { Http: healthHttp }),
    ...(healthTcp !== undefined && { Tcp: whole('health-tcp', healthTcp) }),
  };
  if (Object.keys(health).length === 0) {
    if (Object.keys(times).length > 0) throw new UsageError('there is no check: use --health-cmd, --health-http or --health-tcp');
    return undefined;
  }
  return { ...health, ...times };
}

/** Nanoseconds. */
function nanos(flag: string, text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined) return Math.round(ms * NANOS_A_MS);
  throw new UsageError(`invalid argument ${JSON.stringify(text)} for "--${flag}" flag: use a duration such as 30s`);
}

function whole(flag: string, text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new UsageError(`invalid argument ${JSON.stringify(text)} for "--${flag}" flag: use a whole number`);
}

interface ListFlags {
  format?: string;
  trunc: boolean;
  quiet?: boolean;
}

async function list(context: CliContext, options: ListFlags): Promise<void> {
  const services = await context.client().get<ServiceJson[]>('/network-services');
  services.sort((a, b) => naturalCompare(a.Network.Name, b.Network.Name) || naturalCompare(a.Name, b.Name));
  const rows = services.map(({ Id, Name, Network, Mode, VirtualIPs, Members, Ports, Labels }) => ({
    ID: options.trunc ? Id.slice(0, 12) : Id,
    Name,
    Network: Network.Name,
    Mode,
    VIP: VirtualIPs.join(','),
    Members: `${Members.filter(({ State }) => State === 'healthy').length}/${Members.length}`,
    Ports: Ports.map(({ PublishedPort, TargetPort, Protocol }) => `*:${PublishedPort}->${TargetPort}/${Protocol}`).join(', '),
    Labels: labelText(Labels),
  }));
  context.out(renderList(rows, TABLE, options));
}
