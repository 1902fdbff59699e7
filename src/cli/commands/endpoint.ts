/** `endpoint create|ls|inspect|join|leave|rm`: endpoints that exist by themselves. */

import type { Command } from 'commander';
import type { EndpointCreateAnswer, EndpointCreateJson, EndpointJson } from '../../base/index.ts';
import { filterQuery, segment } from '../client.ts';
import type { CliContext } from '../context.ts';
import { type EndpointFlags, collect, endpointSettings } from '../flags.ts';
import { naturalCompare, renderList } from '../render.ts';
import { inspectAll, removeAll } from './shared.ts';

const TABLE = {
  headings: {
    ID: 'ENDPOINT ID',
    Name: 'NAME',
    Network: 'NETWORK',
    Sandbox: 'SANDBOX',
    IPv4: 'IPV4',
    IPv6: 'IPV6',
    MAC: 'MAC',
    Interface: 'INTERFACE',
    State: 'STATE',
  },
  columns: ['ID', 'Name', 'Network', 'IPv4', 'Sandbox', 'State'],
};

export function addEndpointCommands(program: Command, context: CliContext): void {
  const endpoint = program.command('endpoint').description('Manage endpoints, which keep their addresses without a sandbox');
  addCreate(endpoint, context);
  endpoint
    .command('ls')
    .alias('list')
    .description('List endpoints, also those made by a connect')
    .option('-f, --filter <filter>', 'only those that match: name, id, network, sandbox, state; may repeat', collect)
    .option('--format <format>', 'table, json, or a Go template')
    .option('--no-trunc', 'do not shorten ids')
    .option('-q, --quiet', 'print ids only')
    .action((options: ListFlags) => list(context, options));
  endpoint
    .command('inspect')
    .description('Show endpoints in detail')
    .argument('<endpoint...>')
    .option('-f, --format <format>', 'json, or a Go template')
    .action((names: string[], { format }: { format?: string }) =>
      inspectAll(context, names, format, (name) => context.client().get(`/endpoints/${segment(name)}`)),
    );
  endpoint
    .command('join')
    .description('Join an endpoint to a sandbox')
    .argument('<endpoint>')
    .argument('<sandbox>')
    .action(async (name: string, sandbox: string) => {
      await context.client().post(`/endpoints/${segment(name)}/join`, { Sandbox: sandbox });
    });
  endpoint
    .command('leave')
    .description('Take an endpoint out of its sandbox; it keeps its addresses')
    .argument('<endpoint>')
    .action(async (name: string) => {
      await context.client().post(`/endpoints/${segment(name)}/leave`);
    });
  endpoint
    .command('rm')
    .alias('remove')
    .description('Remove endpoints')
    .argument('<endpoint...>')
    .option('-f, --force', 'also an endpoint that is joined')
    .action((names: string[], { force }: { force?: boolean }) =>
      removeAll(context, names, false, (name) =>
        context.client().delete(`/endpoints/${segment(name)}${force === true ? '?force=1' : ''}`),
      ),
    );
}

function addCreate(endpoint: Command, context: CliContext): void {
  endpoint
    .command('create')
    .description('Create an endpoint that is joined to no sandbox yet')
    .argument('<network>')
    .argument('[name]', 'name on this network; the beginning of the id by default')
    .option('--ip <address>', 'IPv4 address')
    .option('--ip6 <address>', 'IPv6 address')
    .option('--mac-address <mac>', 'MAC address')
    .option('--alias <name>', 'further name on this network; may repeat', collect)
    .option('--link-local-ip <address>', 'further address, link-local; may repeat', collect)
    .option('--driver-opt <key=value>', 'option of the endpoint; may repeat', collect)
    .option('--gw-priority <number>', 'the highest one gives the default gateway; 0 by default')
    .action(async (network: string, name: string | undefined, flags: EndpointFlags) => {
      const body: EndpointCreateJson = {
        Network: network,
        ...(name !== undefined && { Name: name }),
        EndpointConfig: endpointSettings(flags),
      };
      context.out(`${(await context.client().post<EndpointCreateAnswer>('/endpoints/create', body)).Id}\n`);
    });
}

interface ListFlags {
  filter?: string[];
  format?: string;
  trunc: boolean;
  quiet?: boolean;
}

const withLength = (address: string, length: number): string => (address === '' ? '' : `${address}/${length}`);

async function list(context: CliContext, options: ListFlags): Promise<void> {
  const endpoints = await context.client().get<EndpointJson[]>(`/endpoints${filterQuery(options.filter ?? [])}`);
  endpoints.sort((a, b) => naturalCompare(a.Network.Name, b.Network.Name) || naturalCompare(a.Name, b.Name));
  const rows = endpoints.map((ep) => ({
    ID: options.trunc ? ep.Id.slice(0, 12) : ep.Id,
    Name: ep.Name,
    Network: ep.Network.Name,
    Sandbox: ep.Sandbox?.Name ?? '',
    IPv4: withLength(ep.IPAddress, ep.IPPrefixLen),
    IPv6: withLength(ep.GlobalIPv6Address, ep.GlobalIPv6PrefixLen),
    MAC: ep.MacAddress,
    Interface: ep.Interface,
    State: ep.State,
  }));
  context.out(renderList(rows, TABLE, options));
}
