/** The text of the configuration file, or words about why there is none. */

import { closeSync, constants, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { CnmError, errnoOf, messageOf } from '../base/index.ts';

/** Larger than any that somebody has written, octets. */
const MAX_SIZE = 1024 * 1024;
/** Time for a pipe to come to its end, and between two looks at it, milliseconds. */
const PIPE_MS = 10_000;
const LOOK_MS = 10;

/**
 * Undefined where it is not there. A pipe, as a shell puts it in the place of a file, is read to its end, `pipeMs` at most. Throws
 * bad_config: a device would be waited for, or read without end.
 */
export function readConfigFile(path: string, pipeMs = PIPE_MS): string | undefined {
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
    if (found.isFIFO()) return readPipe(fd, pipeMs, bad);
    if (!found.isFile()) throw bad('it is not a file: use one with a JSON object');
    if (found.size > MAX_SIZE) throw bad('it is larger than 1 MiB');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

function readPipe(fd: number, pipeMs: number, bad: (why: string) => CnmError): string {
  const deadline = performance.now() + pipeMs;
  const parts: Buffer[] = [];
  let size = 0;
  for (;;) {
    const part = Buffer.alloc(MAX_SIZE / 16);
    const count = readNow(fd, part);
    // Without an octet it may be one that nobody has begun to write.
    if (count === 0 && size > 0) return Buffer.concat(parts).toString('utf8');
    size += count ?? 0;
    if (size > MAX_SIZE) throw bad('it is larger than 1 MiB');
    if (count) parts.push(part.subarray(0, count));
    else if (performance.now() < deadline) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_MS);
    else
      throw bad(
        `it is a pipe, and its end did not come within ${pipeMs / 1000} s: close it after what is written, or use a file`,
      );
  }
}

/** How many octets came; undefined: none yet, and somebody may still write. */
function readNow(fd: number, into: Buffer): number | undefined {
  try {
    return readSync(fd, into);
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return undefined;
    throw error;
  }
}
