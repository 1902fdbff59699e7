/** The keeper's log: lines of JSON on its standard error, which is its bounded log file. */

import { fstatSync, ftruncateSync, writeSync } from 'node:fs';
import type { LogFields, Logger } from '../base/index.ts';

/** The file starts anew beyond this size, octets. */
const MAX_LOG_OCTETS = 1024 * 1024;
const STDERR = 2;

function write(level: string, fields: LogFields, message: string): void {
  try {
    const stat = fstatSync(STDERR);
    // Opened for appending by the supervisor: its writers go on at the new end.
    if (stat.isFile() && stat.size > MAX_LOG_OCTETS) ftruncateSync(STDERR, 0);
    writeSync(STDERR, `${JSON.stringify({ time: new Date().toISOString(), level, ...fields, message })}\n`);
  } catch {
    // A full disk must not end the resolver.
  }
}

export const keeperLog: Logger = {
  debug: () => {},
  info: (fields, message) => write('info', fields, message),
  warn: (fields, message) => write('warn', fields, message),
  error: (fields, message) => write('error', fields, message),
};
