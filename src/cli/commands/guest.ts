/** `guest ls|inspect`: networks of foreign engines, which the daemon serves as their plugin. */

import type { Command } from 'commander';
import type { GuestJson } from '../../base/index.ts';
import { segment } from '../client.ts';
import type { CliContext } from '../context.ts';
import { renderList } from '../render.ts';
import { inspectAll } from './shared.ts';

const TABLE = {
  headings: {
    ID: 'NETWORK ID',
    Driver: 'DRIVER',
    Subnets: 'SUBNETS',
    Endpoints: 'ENDPOINTS',
    Joined: 'JOINED',
    Engine: 'ENGINE',
    State: 'STATE',
  },
  columns: ['ID', 'Driver', 'Subnets', 'Endpoints', 'Joined', 'State'],
};

interface ListFlags {
  format?: string;
  trunc: boolean;
  quiet?: boolean;
}

export function addGuestCommands(program: Command, context: CliContext): void {
  const guest = program.command('guest').description("Look at networks of engines that use the daemon's plugins");
  guest
    .command('ls')
    .alias('list')
    .description('List networks of engines')
    .option('--format <format>', 'table, json, or a Go template')
    .option('--no-trunc', 'do not shorten ids')
    .option('-q, --quiet', 'print ids only')
    .action((options: ListFlags) => list(context, options));
  guest
    .command('inspect')
    .description('Show networks of engines in detail, with their endpoints')
    .argument('<guest...>')
    .option('-f, --format <format>', 'json, or a Go template')
    .action((names: string[], { format }: { format?: string }) =>
      inspectAll(context, names, format, (name) => context.client().get(`/guests/${segment(name)}`)),
    );
}

async function list(context: CliContext, options: ListFlags): Promise<void> {
  const guests = await context.client().get<GuestJson[]>('/guests');
  guests.sort((a, b) => a.Created.localeCompare(b.Created));
  const rows = guests.map((net) => {
    const endpoints = Object.values(net.Endpoints);
    return {
      ID: options.trunc ? net.Id.slice(0, 12) : net.Id,
      Driver: net.Driver,
      Subnets: net.Pools.map(({ Subnet }) => Subnet).join(', '),
      Endpoints: endpoints.length,
      Joined: endpoints.filter(({ State }) => State === 'joined').length,
      Engine: net.Engine,
      State: net.State,
    };
  });
  context.out(renderList(rows, TABLE, options));
}
