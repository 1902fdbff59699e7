/** Programs that the lab runs and waits for. When it closes, those that run are ended, and no new ones start. */

import { setMaxListeners } from 'node:events';
import { type Options, execa } from 'execa';

export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** Longest life of a program that is waited for, milliseconds. */
const COMMAND_MS = 120_000;

export class Commands {
  readonly #abort = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  constructor() {
    // One a program that runs.
    setMaxListeners(0, this.#abort.signal);
  }

  /** Aborted when the lab closes. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Never rejects for what the program does; throws when the lab is closing. */
  async run(command: string, args: readonly string[], options: Options = {}): Promise<Outcome> {
    this.signal.throwIfAborted();
    const wish = { reject: false, stdin: 'ignore', timeout: COMMAND_MS, killSignal: 'SIGKILL', ...options } as const;
    const running = execa(command, args, { ...wish, cancelSignal: this.signal });
    this.#running.add(running);
    try {
      const { stdout, stderr, exitCode } = await running;
      this.signal.throwIfAborted();
      return { stdout: String(stdout ?? ''), stderr: String(stderr ?? ''), exitCode: exitCode ?? -1 };
    } finally {
      this.#running.delete(running);
    }
  }

  /** Answers stdout; throws when the program fails. */
  async ok(command: string, args: readonly string[], options: Options = {}): Promise<string> {
    const { stdout, stderr, exitCode } = await this.run(command, args, options);
    if (exitCode !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${exitCode}: ${stderr.trim() || stdout.trim()}`);
    return stdout;
  }

  /** Waits until none runs. Repeatable. */
  async close(): Promise<void> {
    this.#abort.abort(new Error('the lab is closing'));
    await Promise.allSettled(this.#running);
  }
}
