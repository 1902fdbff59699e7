/** `version`. */

import type { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { executeTemplate } from '../template.ts';

const CLI_VERSION = '0.1.0';

interface VersionAnswer {
  readonly Version: string;
  readonly ApiVersion: string;
  readonly MinAPIVersion: string;
  readonly KernelVersion: string;
  readonly NodeVersion: string;
  readonly Os: string;
  readonly Arch: string;
}

export function addSystemCommands(program: Command, context: CliContext): void {
  program
    .command('version')
    .description('Show the versions of this program and of the daemon')
    .option('-f, --format <format>', 'json, or a Go template')
    .action(async ({ format }: { format?: string }) => {
      const client = { Version: CLI_VERSION, NodeVersion: process.version };
      let server: VersionAnswer | undefined;
      let failure: unknown;
      try {
        server = await context.client().get<VersionAnswer>('/version');
      } catch (error) {
        failure = error;
      }
      if (format === 'json') context.out(`${JSON.stringify({ Client: client, Server: server ?? null })}\n`);
      else if (format !== undefined && format !== '')
        context.out(`${executeTemplate(format, { Client: client, Server: server })}\n`);
      else context.out(versionText(client, server));
      if (failure !== undefined) throw failure;
    });
}

function versionText(client: { Version: string; NodeVersion: string }, server: VersionAnswer | undefined): string {
  const block = (title: string, rows: readonly (readonly [string, string])[]): string =>
    `${title}:\n${rows.map(([key, value]) => ` ${`${key}:`.padEnd(18)}${value}\n`).join('')}`;
  const ours = block('Client', [
    ['Version', client.Version],
    ['Node', client.NodeVersion],
  ]);
  if (server === undefined) return ours;
  return `${ours}\n${block('Server', [
    ['Version', server.Version],
    ['API version', `${server.ApiVersion} (minimum version ${server.MinAPIVersion})`],
    ['Node', server.NodeVersion],
    ['OS/Arch', `${server.Os}/${server.Arch}`],
    ['Kernel', server.KernelVersion],
  ])}`;
}
