/** A process in the background; what it writes goes to a bounded log. */

import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { libc } from '../kernel/index.ts';
import { type Place, declareAndBegin, spawnInSandbox } from './view.ts';

/** Octets of one log file; there are two, the older one with `.1`. */
const LOG_OCTETS = 8 * 1024 * 1024;

// Ends with the last writer. A real pipe, not a socket pair: /dev/stdout must open in the process.
const LOGGER = `
while :; do
  stdbuf -o0 head -c "$2" >"$1" || exit
  [ "$(stat -c %s "$1")" -lt "$2" ] && exit
  mv "$1" "$1.1"
done`;

/** Starts the command in a session of its own and tells its pid to `declare`; ends it again when that fails. */
export async function runDetached(
  place: Place,
  command: readonly string[],
  declare: (pid: number) => Promise<void>,
): Promise<void> {
  const pipe = libc.pipe();
  try {
    const logger = spawn('sh', ['-c', LOGGER, 'sh', place.outputLog, String(LOG_OCTETS)], {
      stdio: [pipe.read, 'ignore', 'ignore'],
      detached: true,
    });
    const held = spawnInSandbox(place, command, { stdio: ['ignore', pipe.write, pipe.write], detached: true });
    const { child } = held;
    const failed = new Promise<never>((_, reject) => {
      child.once('error', reject);
      logger.once('error', reject);
    });
    if (child.pid === undefined) return await failed;
    await Promise.race([declareAndBegin(held, declare), failed]);
    child.unref();
    logger.unref();
  } finally {
    closeSync(pipe.read);
    closeSync(pipe.write);
  }
}
