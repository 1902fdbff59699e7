/** The text of the configuration file, or words about why there is none. */

import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { CnmError, errnoOf, messageOf } from '../base/index.ts';

/** Larger than any that somebody has written, octets. */
const MAX_SIZE = 1024 * 1024;

/** Undefined where it is not there. Throws bad_config: a pipe or a device would be waited for, or read without end. */
export function readConfigFile(path: string): string | undefined {
  const bad = (why: string): CnmError => new CnmError('bad_config', `configuration file ${path}: ${why}`);
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw bad(messageOf(error));
  }
  try {
    const found = fstatSync(fd);
    if (!found.isFile()) throw bad('it is not a file: use one with a JSON object');
    if (found.size > MAX_SIZE) throw bad('it is larger than 1 MiB');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}
