/** What `inspect` and `rm` of networks and sandboxes have in common. */

import { DaemonError } from '../client.ts';
import type { CliContext } from '../context.ts';
import { executeTemplate } from '../template.ts';

/** Prints what was found, then the errors of what was not; any error makes the exit code 1. */
export async function inspectAll(
  context: CliContext,
  names: readonly string[],
  format: string | undefined,
  get: (name: string) => Promise<unknown>,
): Promise<void> {
  const found: unknown[] = [];
  const errors: string[] = [];
  for (const name of names) {
    try {
      found.push(await get(name));
    } catch (error) {
      if (!(error instanceof DaemonError)) throw error;
      errors.push(error.message);
    }
  }
  if (format === undefined || format === '') context.out(`${JSON.stringify(found, null, 4)}\n`);
  else if (format === 'json') context.out(`${JSON.stringify(found)}\n`);
  else
    for (const item of found)
      context.out(`${executeTemplate(format.replaceAll('\\t', '\t').replaceAll('\\n', '\n'), withGoName(item))}\n`);
  for (const error of errors) context.err(`${error}\n`);
  if (errors.length > 0) context.exitCode = 1;
}

/** Templates of the reference name the field `Id` of the JSON as its Go name is too. */
function withGoName(item: unknown): unknown {
  if (typeof item !== 'object' || item === null || !('Id' in item) || 'ID' in item) return item;
  return Object.defineProperty({ ...item }, 'ID', { value: item.Id, enumerable: false });
}

/** Removes one after the other, prints each name, goes on after an error. */
export async function removeAll(
  context: CliContext,
  names: readonly string[],
  missingIsFine: boolean,
  remove: (name: string) => Promise<unknown>,
): Promise<void> {
  for (const name of names) {
    try {
      await remove(name);
      context.out(`${name}\n`);
    } catch (error) {
      if (!(error instanceof DaemonError)) throw error;
      if (missingIsFine && error.status === 404) continue;
      context.err(`${error.message}\n`);
      context.exitCode = 1;
    }
  }
}
