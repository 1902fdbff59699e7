/** The command table: every verb with its flags. Help comes from it. */

import { Command } from 'commander';
import { addEndpointCommands } from './commands/endpoint.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { addEventCommands } from './commands/events.ts';
import { addGuestCommands } from './commands/guest.ts';
import { addNetworkCommands } from './commands/network.ts';
import { addNodeCommands } from './commands/node.ts';
import { addRunCommands } from './commands/run.ts';
import { addSandboxCommands } from './commands/sandbox.ts';
import { addServiceCommands } from './commands/service.ts';
import { addSystemCommands } from './commands/system.ts';
import { Client } from './client.ts';
import type { CliContext } from './context.ts';
import { tlsPaths } from './place.ts';

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
  'wait',
  'all',
];

interface Group {
  /** First words of its commands, aliases too. */
  readonly words: readonly string[];
  readonly add: (program: Command, context: CliContext) => void;
}

export const GROUPS: readonly Group[] = [
  {
    words: ['create', 'ls', 'list', 'inspect', 'rm', 'remove', 'prune', 'connect', 'disconnect'],
    add: addNetworkCommands,
  },
  { words: ['sandbox', 'port'], add: addSandboxCommands },
  { words: ['endpoint'], add: addEndpointCommands },
  { words: ['guest'], add: addGuestCommands },
  { words: ['service'], add: addServiceCommands },
  { words: ['node'], add: addNodeCommands },
  { words: ['run', 'exec', 'logs'], add: addRunCommands },
  { words: ['events'], add: addEventCommands },
  { words: ['version'], add: addSystemCommands },
  { words: ['completion'], add: addCompletionCommand },
];

/** The command that is asked for, after the program's own options, all of which take a value. Undefined: none, or help is wanted. */
function firstWord(program: Command, args: readonly string[]): string | undefined {
  for (let i = 0; i < args.length; i++) {
    const word = args[i] as string;
    if (!word.startsWith('-')) return word;
    if (!program.options.some(({ long }) => long === word.split('=', 1)[0])) return undefined;
    if (!word.includes('=')) i++;
  }
  return undefined;
}

/** `args`: what will be parsed; commands that these cannot mean are left out, since to make them all takes as long as what most of them do. */
export function createProgram(
  context: Omit<CliContext, 'client'>,
  environment: NodeJS.ProcessEnv,
  args: readonly string[] = [],
): Command {
  const program = new Command('network')
    .description('Manage networks, sandboxes and published ports of a Patchbay daemon')
    .option(
      '--host <url>',
      'unix:///PATH or tcp://ADDRESS:PORT of the daemon; NETWORK_HOST sets another default',
      environment['NETWORK_HOST'] || DEFAULT_HOST,
    )
    .option('--tlscacert <file>', 'authority that signed the certificate of a daemon at tcp://')
    .option('--tlscert <file>', 'own certificate')
    .option('--tlskey <file>', 'own key')
    .enablePositionalOptions()
    .addHelpText('after', "\n'network help COMMAND' tells more about a command.")
    .configureHelp({ showGlobalOptions: false })
    .exitOverride()
    .configureOutput({ writeOut: context.out, writeErr: context.err });
  const full: CliContext = Object.assign(context, {
    client: () => clientOf(program, environment),
  });
  const word = firstWord(program, args);
  const meant = GROUPS.filter(({ words }) => word !== undefined && words.includes(word));
  for (const { add } of meant.length > 0 ? meant : GROUPS) add(program, full);
  for (const command of allCommands(program))
    command.exitOverride().configureOutput({ writeOut: context.out, writeErr: context.err }).allowExcessArguments(false);
  for (const command of [program, ...allCommands(program)])
    command.showHelpAfterError(`Run '${pathOf(command)} --help' to see what it takes.`);
  return program;
}

interface GlobalFlags {
  readonly host: string;
  readonly tlscacert?: string;
  readonly tlscert?: string;
  readonly tlskey?: string;
}

/** A client as the program's own options and the environment want it. */
export function clientOf(program: Command, environment: NodeJS.ProcessEnv): Client {
  const flags = program.opts<GlobalFlags>();
  return new Client(flags.host, tlsPaths(flags, environment['NETWORK_CERT_PATH']));
}

/** As it is typed. */
const pathOf = (command: Command): string => (command.parent === null ? '' : `${pathOf(command.parent)} `) + command.name();

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...allCommands(child)]);
}
