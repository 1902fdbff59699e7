/** A program of the lab from its begin to its end: whatever ends it, what it has made is taken away. */

/** Exit code of what a signal ended: 128 and its number. */
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

export const say = (text: string): void => void process.stdout.write(`${text}\n`);

const complain = (error: unknown): void =>
  void process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);

export class Running {
  /** What is to be closed at the end: told before anything of it is made. */
  made: { close(): Promise<void> } | undefined;
  /** SIGINT is for what runs there. */
  isShell = false;
  #ended: number | undefined;

  /** Whether a signal has come: all is about to go, and what fails now fails for that. */
  get isEnded(): boolean {
    return this.#ended !== undefined;
  }

  /** Ends the process with what `main` answers, or with 1 where it throws, or as by a signal. */
  async run(main: () => Promise<number>): Promise<void> {
    for (const [signal, code] of Object.entries(SIGNALS)) process.on(signal, () => void this.#end(signal, code));
    try {
      const code = await main();
      if (!this.isEnded) process.exit(code);
    } catch (error) {
      if (this.isEnded) return;
      complain(error);
      await this.made?.close();
      process.exit(1);
    }
  }

  async #end(signal: string, code: number): Promise<void> {
    if (this.isEnded || (this.isShell && signal === 'SIGINT')) return;
    this.#ended = code;
    process.stderr.write('\ntaking everything away\n');
    try {
      await this.made?.close();
      process.exit(code);
    } catch (error) {
      complain(error);
      process.exit(1);
    }
  }
}
