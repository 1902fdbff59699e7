/** What is handed in instead of being global: time, randomness, the log. */

export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

export interface Env {
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Milliseconds since some moment, by a clock that nobody sets. Default: the process's own. */
  steady?(): number;
}

export const silentLogger: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** For periods within the process: the time of day may be set, by hours, while they last. */
export const steadyOf =
  (env: Env): (() => number) =>
  () =>
    env.steady?.() ?? performance.now();
