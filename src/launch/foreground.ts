/** A process on this terminal: signals are forwarded, its exit code is ours. */

import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { type Place, declareAndBegin, spawnInSandbox } from './view.ts';

/** Passed on as they come. */
const FORWARDED = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;
/** The terminal sends these to the whole foreground group, the process included; passed on only without a terminal. */
const FROM_TERMINAL = ['SIGINT', 'SIGQUIT', 'SIGTSTP'] as const;

/** Runs the command, tells its pid to `declare`, answers its exit code: its own, or 128 + n by signal n. */
export async function runForeground(
  place: Place,
  command: readonly string[],
  declare: (pid: number) => Promise<void>,
): Promise<number> {
  const held = spawnInSandbox(place, command, { stdio: ['inherit', 'inherit', 'inherit'], detached: false });
  const { child } = held;
  const ended = exitCode(child);
  const stopForwarding = forwardSignals(child);
  try {
    if (child.pid !== undefined) await declareAndBegin(held, declare);
    return await ended;
  } finally {
    stopForwarding();
  }
}

/** Runs the command without declaring it as the sandbox's process. */
export const execInSandbox = (place: Place, command: readonly string[]): Promise<number> =>
  runForeground(place, command, async () => {});

function exitCode(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

function forwardSignals(child: ChildProcess): () => void {
  // Not process.stdin: a look at it makes a pipe non-blocking, also for the process that inherits it.
  const isTerminal = isatty(0);
  const handlers = [...FORWARDED, ...FROM_TERMINAL].map((signal) => {
    const reaches = (FROM_TERMINAL as readonly string[]).includes(signal) && isTerminal;
    const handler = (): void => void (reaches || child.kill(signal));
    process.on(signal, handler);
    return [signal, handler] as const;
  });
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}
