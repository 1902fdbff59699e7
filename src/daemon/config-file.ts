/** The text of the configuration file, or words about why there is none. */

import { CnmError, errnoOf, messageOf, readBounded } from '../base/index.ts';

/** Larger than any that somebody has written, octets. */
const MAX_SIZE = 1024 * 1024;
/** Time for a pipe to come to its end, milliseconds. */
const PIPE_MS = 10_000;

/**
 * Undefined where it is not there. A pipe, as a shell puts it in the place of a file, is read to its end, `pipeMs` at most. Throws
 * bad_config: a device would be waited for, or read without end.
 */
export function readConfigFile(path: string, pipeMs = PIPE_MS): string | undefined {
  const bad = (why: string): CnmError => new CnmError('bad_config', `configuration file ${path}: ${why}`);
  let found: ReturnType<typeof readBounded>;
  try {
    found = readBounded(path, MAX_SIZE, pipeMs);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw bad(messageOf(error));
  }
  if (found === 'no file') throw bad('it is not a file: use one with a JSON object');
  if (found === 'too large') throw bad('it is larger than 1 MiB');
  if (found === 'no end')
    throw bad(`it is a pipe, and its end did not come within ${pipeMs / 1000} s: close it after what is written, or use a file`);
  return found.toString('utf8');
}
