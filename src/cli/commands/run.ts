/** `run`, `exec`, `logs`: a process in a sandbox. What starts it is loaded only here. */

import type { Command } from 'commander';
import type { SandboxAnswer } from '../../base/index.ts';
import { type Client, DaemonError, UsageError, segment } from '../client.ts';
import type { CliContext } from '../context.ts';
import { type SandboxFlags, createSandbox, sandboxBody, withSandboxOptions } from './sandbox.ts';

interface RunFlags extends SandboxFlags {
  name?: string;
  detach?: boolean;
  rm?: boolean;
}

export function addRunCommands(program: Command, context: CliContext): void {
  withSandboxOptions(
    program
      .command('run')
      .description('Create a sandbox and run a process in it')
      .usage('[options] --name <name> -- <command...>')
      .argument('<command...>')
      .option('--name <name>', 'name of the sandbox; required')
      .option('-d, --detach', 'run in the background, print the id')
      .option('--rm', 'remove the sandbox when the process ends'),
  )
    .passThroughOptions()
    .action((words: string[], flags: RunFlags) => run(context, commandOf(words), flags));
  program
    .command('exec')
    .description('Run a further process in a sandbox')
    .usage('<sandbox> -- <command...>')
    .argument('<sandbox>')
    .argument('<command...>')
    .passThroughOptions()
    .action(async (name: string, words: string[]) => {
      const command = commandOf(words);
      requireRoot('exec');
      const sandbox = await localClient(context, 'exec').get<SandboxAnswer>(`/sandboxes/${segment(name)}`);
      const { execInSandbox } = await import('../../launch/index.ts');
      context.exitCode = await execInSandbox(placeOf(sandbox), command);
    });
  program
    .command('logs')
    .description('Show what a process started by run -d has written')
    .argument('<sandbox>')
    .option('-f, --follow', 'go on until the process ends')
    .action(async (name: string, { follow }: { follow?: boolean }) => {
      const path = `/sandboxes/${segment(name)}`;
      const { Files } = await localClient(context, 'logs').get<SandboxAnswer>(path);
      const { printLog } = await import('../../launch/index.ts');
      const isRunning = async (): Promise<boolean> => {
        try {
          return (await context.client().get<SandboxAnswer>(path)).State === 'running';
        } catch (error) {
          if (error instanceof DaemonError) return false;
          throw error;
        }
      };
      await printLog(Files.OutputLog, follow === true ? isRunning : undefined);
    });
}

/** Options end at the first argument, so a `--` before the command arrives with it. */
function commandOf(words: readonly string[]): readonly string[] {
  const command = words[0] === '--' ? words.slice(1) : words;
  if (command.length === 0) throw new UsageError('the command is missing');
  return command;
}

/** The process is started by this program: the sandbox must be on the same machine. */
function localClient(context: CliContext, command: string): Client {
  const client = context.client();
  if (!client.isLocal) throw new UsageError(`${command} needs the daemon of this machine: use its unix socket as --host`);
  return client;
}

const placeOf = (sandbox: SandboxAnswer) => ({
  netns: sandbox.Netns,
  hostname: sandbox.Hostname,
  hosts: sandbox.Files.Hosts,
  resolvConf: sandbox.Files.ResolvConf,
  hostnameFile: sandbox.Files.Hostname,
  outputLog: sandbox.Files.OutputLog,
});

function requireRoot(verb: string): void {
  if (process.getuid?.() !== 0)
    throw new Error(`${verb} needs root: it starts the process inside the network namespace of the sandbox`);
}

async function run(context: CliContext, command: readonly string[], flags: RunFlags): Promise<void> {
  if (flags.name === undefined) throw new UsageError('--name is needed: the sandbox is known by it');
  requireRoot('run');
  const client = localClient(context, 'run');
  const launch = await import('../../launch/index.ts');
  const id = await createSandbox(context, sandboxBody(flags.name, flags, flags.rm ?? false));
  try {
    const sandbox = await client.get<SandboxAnswer>(`/sandboxes/${id}`);
    const declare = (pid: number): Promise<void> => client.post(`/sandboxes/${id}/process`, { Pid: pid });
    if (flags.detach === true) {
      await launch.runDetached(placeOf(sandbox), command, declare);
      context.out(`${id}\n`);
      return;
    }
    context.exitCode = await launch.runForeground(placeOf(sandbox), command, declare);
  } catch (error) {
    // Nothing runs in it: a sandbox that could not be used is not left behind.
    await removeQuietly(context, id);
    throw error;
  }
  if (flags.rm === true) await removeQuietly(context, id);
}

async function removeQuietly(context: CliContext, id: string): Promise<void> {
  try {
    await context.client().delete(`/sandboxes/${id}?force=1`);
  } catch (error) {
    // The daemon may have removed it already, or be down: then it does so when it is back.
    if (error instanceof DaemonError && error.status !== 404) throw error;
  }
}
