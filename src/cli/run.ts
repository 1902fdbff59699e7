/** The CLI: parse, run, exit code. Errors go to stderr with exit code 1; wrong usage is 125. */

import { CommanderError } from 'commander';
import { harmless, isCnmError, messageOf } from '../base/index.ts';
import { UsageError } from './client.ts';
import { COMPLETE_WORD, answerShell } from './commands/completion.ts';
import { rewriteBooleans } from './flags.ts';
import { BOOLEAN_FLAGS, clientOf, createProgram } from './program.ts';

const WRONG_USAGE = 125;

async function main(args: readonly string[]): Promise<number> {
  const typed = [...args, process.env['NETWORK_HOST'] ?? ''];
  const err = (text: string): void => void process.stderr.write(harmless(text, typed));
  try {
    if (args[0] === COMPLETE_WORD) {
      const silent = { out: () => {}, err: () => {}, no: new Set<string>(), exitCode: 0 };
      const program = createProgram(silent, process.env);
      const answer = await answerShell(program, () => clientOf(program, process.env), args.slice(1));
      // A daemon that keeps its connection open must not keep the shell waiting.
      return await new Promise(() => process.stdout.write(answer, () => process.exit(0)));
    }
    const { args: rewritten, no } = rewriteBooleans(args, BOOLEAN_FLAGS);
    const context = { out: (text: string) => void process.stdout.write(text), err, no, exitCode: 0 };
    await createProgram(context, process.env, rewritten).parseAsync(rewritten, { from: 'user' });
    return context.exitCode;
  } catch (error) {
    // commander has printed its own words already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : WRONG_USAGE;
    err(`${messageOf(error)}\n`);
    return error instanceof UsageError || (isCnmError(error) && error.kind === 'invalid') ? WRONG_USAGE : 1;
  }
}

/** Does what the command line says. The exit code is set at the end. */
export function runCli(): void {
  // A reader that went away (`network ls | head -1`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  void main(process.argv.slice(2)).then((code) => {
    process.exitCode = code;
  });
}
