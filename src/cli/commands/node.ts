/** `node ls|inspect|rm`: the hosts of the cluster. */

import type { Command } from 'commander';
import type { KeysJson, NodeJson } from '../../base/index.ts';
import { segment } from '../client.ts';
import type { CliContext } from '../context.ts';
import { renderList } from '../render.ts';
import { inspectAll, removeAll } from './shared.ts';

const TABLE = {
  headings: { ID: 'NODE ID', Name: 'NAME', Address: 'ADDRESS', State: 'STATE', Self: 'SELF', Version: 'VERSION' },
  columns: ['ID', 'Name', 'Address', 'State', 'Self'],
};

interface ListFlags {
  format?: string;
  trunc: boolean;
  quiet?: boolean;
}

export function addNodeCommands(program: Command, context: CliContext): void {
  const node = program.command('node').description('Look at the hosts of the cluster');
  node
    .command('ls')
    .alias('list')
    .description('List hosts of the cluster')
    .option('--format <format>', 'table, json, or a Go template')
    .option('--no-trunc', 'do not shorten ids')
    .option('-q, --quiet', 'print ids only')
    .action((options: ListFlags) => list(context, options));
  node
    .command('inspect')
    .description('Show hosts of the cluster in detail')
    .argument('<node...>')
    .option('-f, --format <format>', 'json, or a Go template')
    .action((names: string[], { format }: { format?: string }) =>
      inspectAll(context, names, format, (name) => context.client().get(`/cluster/nodes/${segment(name)}`)),
    );
  node
    .command('rm')
    .alias('remove')
    .description('Forget hosts that will not come back')
    .argument('<node...>')
    .action((names: string[]) =>
      removeAll(context, names, false, (name) => context.client().delete(`/cluster/nodes/${segment(name)}`)),
    );
  node
    .command('rotate-keys')
    .description('Change the keys of encrypted networks on all hosts')
    .action(async () => {
      const { Keys } = await context.client().post<KeysJson>('/cluster/keys/rotate');
      context.out(`changed: ${Keys} keys are known, the next one is in use\n`);
    });
}

async function list(context: CliContext, options: ListFlags): Promise<void> {
  const nodes = await context.client().get<NodeJson[]>('/cluster/nodes');
  const rows = nodes.map(({ Id, Self, ...rest }) => ({
    ID: options.trunc ? Id.slice(0, 12) : Id,
    ...rest,
    Self: Self ? '*' : '',
  }));
  context.out(renderList(rows, TABLE, options));
}
