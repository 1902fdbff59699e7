/** Files that others may write: whatever they make of them, reading takes neither for ever nor more than some memory. */

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/** Its bytes as far as it goes now, or undefined when they are more than `maxOctets`, or when it is no file but a pipe, say. Throws the system's error. */
export function readBounded(path: string, maxOctets: number): Buffer | undefined {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const found = fstatSync(fd);
    if (!found.isFile() || found.size > maxOctets) return undefined;
    const bytes = Buffer.alloc(found.size);
    let length = 0;
    for (let count = -1; count !== 0 && length < bytes.length; length += count)
      count = readSync(fd, bytes, length, bytes.length - length, null);
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}
