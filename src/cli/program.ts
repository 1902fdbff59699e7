/** The command table: every verb with its flags. Help comes from it. */

import { Command } from 'commander';
import { addEndpointCommands } from './commands/endpoint.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { addNetworkCommands } from './commands/network.ts';
import { addRunCommands } from './commands/run.ts';
import { addSandboxCommands } from './commands/sandbox.ts';
import { addSystemCommands } from './commands/system.ts';
import { Client } from './client.ts';
import type { CliContext } from './context.ts';

export const DEFAULT_HOST = 'unix:///run/patchbay/patchbay.sock';

/** Long boolean flags of all commands; `=true` and `=false` are taken for each. */
export const BOOLEAN_FLAGS = [
  'internal',
  'ipv4',
  'ipv6',
  'attachable',
  'ingress',
  'config-only',
  'force',
  'quiet',
  'no-trunc',
  'verbose',
  'detach',
  'rm',
  'follow',
];

export function createProgram(context: Omit<CliContext, 'client'>, environment: NodeJS.ProcessEnv): Command {
  const program = new Command('network')
    .description('Networks, sandboxes and published ports')
    .option('--host <url>', 'socket of the daemon', environment['NETWORK_HOST'] || DEFAULT_HOST)
    .enablePositionalOptions()
    .configureHelp({ showGlobalOptions: false })
    .exitOverride()
    .configureOutput({ writeOut: context.out, writeErr: context.err });
  const full: CliContext = Object.assign(context, { client: () => new Client(program.opts<{ host: string }>().host) });
  addNetworkCommands(program, full);
  addSandboxCommands(program, full);
  addEndpointCommands(program, full);
  addRunCommands(program, full);
  addSystemCommands(program, full);
  addCompletionCommand(program, full);
  for (const command of allCommands(program))
    command.exitOverride().configureOutput({ writeOut: context.out, writeErr: context.err }).allowExcessArguments(false);
  return program;
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...allCommands(child)]);
}
