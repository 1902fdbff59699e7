/** `completion`, and the answer to the shells that its scripts ask for. */

import { Argument, type Command } from 'commander';
import type { Client } from '../client.ts';
import type { CliContext } from '../context.ts';
import type { Shell } from '../completion/shells.ts';

/** First word of a shell's question. No command of the table: people have no use for it. */
export const COMPLETE_WORD = '__complete';

/** A daemon that has not answered by then is not waited for: a shell stands still meanwhile. */
const ANSWER_MS = 2000;

export function addCompletionCommand(program: Command, context: CliContext): void {
  program
    .command('completion')
    .description('Print the completion script of a shell')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: Shell) => {
      const { completionScript } = await import('../completion/shells.ts');
      context.out(completionScript(shell));
    });
}

/** Candidates with their descriptions, one a line. */
export async function answerShell(program: Command, client: () => Client, words: readonly string[]): Promise<string> {
  const { complete } = await import('../completion/complete.ts');
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<[]>((resolve) => (timer = setTimeout(() => resolve([]), ANSWER_MS)));
  const found = await Promise.race([complete({ program, client }, words), late]);
  clearTimeout(timer);
  if (typeof found === 'string') return `${found}\n`;
  return found.map(({ value, help }) => `${value}\t${help}\n`).join('');
}
