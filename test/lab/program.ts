/** A program that stays, in a namespace of the lab: it ends with a signal only, and its words go to files. */

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';

/** Longest wait for a program to end after its signal, milliseconds. */
const END_MS = 20_000;

export interface ProgramSpec {
  readonly namespace: string;
  readonly command: readonly string[];
  /** What it writes to stdout and stderr, each appended. */
  readonly out: string;
  readonly log: string;
  readonly folder: string;
}

export class Program {
  readonly #child: ChildProcess;
  readonly #spec: ProgramSpec;

  /** In a session of its own: what interrupts the lab does not end it too. */
  constructor(spec: ProgramSpec) {
    this.#spec = spec;
    const [out, log] = [openSync(spec.out, 'a'), openSync(spec.log, 'a')];
    const args = [`--net=/run/netns/${spec.namespace}`, ...spec.command];
    this.#child = spawn('nsenter', args, { cwd: spec.folder, stdio: ['ignore', out, log], detached: true });
    this.#child.once('error', () => {});
    closeSync(out);
    closeSync(log);
  }

  get isRunning(): boolean {
    return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** What it said last. */
  words(): string {
    return existsSync(this.#spec.log) ? readFileSync(this.#spec.log, 'utf8').slice(-2000) : '';
  }

  signal(signal: NodeJS.Signals): void {
    if (this.isRunning) this.#child.kill(signal);
  }

  /** Answers the exit code, null when the signal ended it. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (!this.isRunning) return this.#child.exitCode;
    return await new Promise<number | null>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.#spec.command[0]} does not end after ${signal}`)), END_MS);
      this.#child.once('exit', (code) => (clearTimeout(timer), resolve(code)));
      this.#child.kill(signal);
    });
  }
}
