/** Prints the log of a detached process: the older file, then the newer one, then what is still to come. */

import { closeSync, createReadStream, fstatSync, openSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../base/index.ts';

/** Pause between looks at a log that is followed, milliseconds. */
const LOOK_MS = 200;

/** `isRunning` given: goes on until it says false and all is printed. */
export async function printLog(path: string, isRunning?: () => Promise<boolean>): Promise<void> {
  await printFrom(`${path}.1`, 0);
  let at = await printFrom(path, 0);
  while (isRunning !== undefined) {
    const goesOn = await isRunning();
    at = await printFrom(path, at);
    if (!goesOn) return;
    await sleep(LOOK_MS);
  }
}

/** Prints from `start` on (from the beginning when the file was turned over) and answers where it ended. */
async function printFrom(path: string, start: number): Promise<number> {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0;
    throw error;
  }
  const { size } = fstatSync(fd);
  const from = size < start ? 0 : start;
  if (size === from) {
    closeSync(fd);
    return size;
  }
  await pipeline(createReadStream('', { fd, start: from, end: size - 1 }), process.stdout, { end: false });
  return size;
}
