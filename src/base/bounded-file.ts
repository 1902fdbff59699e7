/** Files that others may write: whatever they make of them, reading takes neither for ever nor more than some memory. */

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { errnoOf } from './errors.ts';

/** Why there are no bytes: neither a file nor a pipe that may be one; more of them than allowed; a pipe whose end did not come in time. */
export type Unread = 'no file' | 'too large' | 'no end';

/** Octets that are read of a pipe at once, and time between two looks at it, milliseconds. */
const PIPE_PART = 64 * 1024;
const LOOK_MS = 10;

/**
 * The bytes of a file as far as it goes now. `pipeMs`: a pipe, as a shell puts it in the place of a file, is read to its end within this time;
 * without it a pipe is no file. Throws the system's error, ENOENT where nothing is there.
 */
export function readBounded(path: string, maxOctets: number, pipeMs?: number): Buffer | Unread {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const found = fstatSync(fd);
    if (found.isFIFO() && pipeMs !== undefined) return readPipe(fd, maxOctets, pipeMs);
    if (!found.isFile()) return 'no file';
    return found.size > maxOctets ? 'too large' : readFile(fd, found.size);
  } finally {
    closeSync(fd);
  }
}

function readFile(fd: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  let length = 0;
  for (let count = -1; count !== 0 && length < size; length += count) count = readSync(fd, bytes, length, size - length, null);
  return bytes.subarray(0, length);
}

function readPipe(fd: number, maxOctets: number, pipeMs: number): Buffer | Unread {
  const deadline = performance.now() + pipeMs;
  const parts: Buffer[] = [];
  let size = 0;
  for (;;) {
    const part = Buffer.alloc(PIPE_PART);
    const count = readNow(fd, part);
    // Without an octet it may be one that nobody has begun to write.
    if (count === 0 && size > 0) return Buffer.concat(parts);
    size += count ?? 0;
    if (size > maxOctets) return 'too large';
    if (count) parts.push(part.subarray(0, count));
    else if (performance.now() < deadline) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_MS);
    else return 'no end';
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
