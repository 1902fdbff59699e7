/** The daemon's log: one JSON object a line on stderr; under journald each line carries its priority. */

import pino from 'pino';
import type { Logger } from '../base/index.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** syslog(3) priorities by pino level. */
const PRIORITY: Readonly<Record<number, number>> = { 20: 7, 30: 6, 40: 4, 50: 3, 60: 2 };

export function createLogger(level: LogLevel): Logger {
  const out = pino.destination({ dest: 2, sync: true });
  const journal = process.env['JOURNAL_STREAM'] !== undefined;
  const stream = journal ? { write: (line: string) => out.write(`<${PRIORITY[levelIn(line)] ?? 6}>${line}`) } : out;
  return pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, serializers: { err: pino.stdSerializers.err } },
    stream,
  );
}

const levelIn = (line: string): number => Number(/^\{"level":(\d+)/.exec(line)?.[1]);
