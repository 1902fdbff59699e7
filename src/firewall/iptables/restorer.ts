/**
 * A running iptables-restore of one family that takes change after change. It spares each change the start of a process, and
 * the end of one: the kernel holds a closing nfnetlink socket until what was deleted through it is out of use everywhere, 16 ms
 * and more. With -v the tool repeats comments, hence a comment behind a change tells that the change is committed.
 */

import { CnmError, KeyedLock, codeOf, type IpFamily } from '../../base/index.ts';
import { failureOf, program, restoreRules, startRestore, type ToolOptions } from './tool.ts';

/** Time for a change: the wait for others' xtables lock and the largest text, milliseconds. */
const CHANGE_MS = 30_000;
/** Time for a fresh process to show that its answers arrive one by one. */
const GREETING_MS = 3000;
/** An unused process is let go after this. */
const IDLE_MS = 10_000;
/** Time for one that was let go to end by itself. */
const END_MS = 2000;
/** What is kept of the tool's complaints, characters. */
const MAX_COMPLAINT = 64 * 1024;

/** How the process ended; `text` is what it said on stderr. */
interface End {
  readonly text: string;
  readonly error: unknown;
}

/** How a change went. */
type Outcome = 'done' | 'late' | End;

export class Restorer implements AsyncDisposable {
  readonly #options: ToolOptions;
  readonly #family: IpFamily;
  readonly #lock = new KeyedLock();
  #process: RestoreProcess | undefined;
  /** True where the tool's answers do not arrive one by one: each change then has a process of its own. */
  #isOneShot = false;
  #idle: NodeJS.Timeout | undefined;

  constructor(options: ToolOptions, family: IpFamily) {
    this.#options = options;
    this.#family = family;
  }

  /** Feeds one text; tables are committed one by one, all of them when it resolves. Throws firewall_failed, kernel_lacks. */
  restore(text: string): Promise<void> {
    return this.#lock.run('restore', async () => {
      clearTimeout(this.#idle);
      if (this.#process?.hasEnded === true) this.#process = undefined;
      if (!this.#isOneShot) this.#process ??= await this.#open();
      if (this.#process === undefined) return restoreRules(this.#options, this.#family, text);
      try {
        await this.#process.change(text, CHANGE_MS);
      } catch (error) {
        const failed = this.#process;
        this.#process = undefined;
        await failed.end();
        throw error;
      }
      this.#idle = setTimeout(() => void this.close(), IDLE_MS).unref();
    });
  }

  async #open(): Promise<RestoreProcess | undefined> {
    const fresh = new RestoreProcess(this.#options, this.#family);
    try {
      await fresh.change('', GREETING_MS);
      return fresh;
    } catch (error) {
      await fresh.end();
      const canAnswer = codeOf(error) === 'firewall_failed' && !fresh.wasLate;
      if (canAnswer) throw error;
      this.#isOneShot = true;
      return undefined;
    }
  }

  /** Lets the process go; the next change starts another. */
  close(): Promise<void> {
    return this.#lock.run('restore', async () => {
      clearTimeout(this.#idle);
      const going = this.#process;
      this.#process = undefined;
      await going?.end();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

class RestoreProcess {
  readonly #name: string;
  readonly #child: ReturnType<typeof startRestore>;
  readonly #ended: Promise<void>;
  #complaint = '';
  #unread = '';
  /** The change under way: the line that tells its end, and what is to be told. */
  #waiting: { readonly line: string; readonly settle: (outcome: Outcome) => void } | undefined;
  #count = 0;
  /** It did not answer in time. */
  wasLate = false;
  #end: End | undefined;
  /** Lines that it has read, for the numbers in its complaints. */
  #lines = 0;

  constructor(options: ToolOptions, family: IpFamily) {
    this.#name = program(family, 'restore');
    const child = startRestore(options, family);
    this.#child = child;
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => this.#read(chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      this.#complaint = `${this.#complaint}${chunk}`.slice(-MAX_COMPLAINT);
    });
    // A write to one that has ended is told by its end.
    child.stdin.on('error', () => {});
    this.#ended = child.then((result) => {
      this.#end = { text: this.#complaint, error: result };
      this.#waiting?.settle(this.#end);
    });
    this.#hold(false);
  }

  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  /** Resolves when all of the text is committed. */
  async change(text: string, limitMs: number): Promise<void> {
    const line = `# done ${++this.#count}`;
    this.#hold(true);
    let timer: NodeJS.Timeout | undefined;
    try {
      // No race with the promise of its end, which would keep something of every change for as long as the process lives.
      const end = await new Promise<Outcome>((settle) => {
        this.#waiting = { line, settle };
        timer = setTimeout(settle, limitMs, 'late');
        if (this.#end === undefined) this.#child.stdin.write(`${text}${line}\n`);
        else settle(this.#end);
      });
      this.wasLate = end === 'late';
      if (end === 'late') throw new CnmError('firewall_failed', `${this.#name} did not answer within ${limitMs / 1000} s`);
      if (end !== 'done') throw failureOf(this.#name, end.error, end.text, text, this.#lines);
      this.#lines += text.split('\n').length;
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
      this.#hold(false);
    }
  }

  #read(chunk: string): void {
    const lines = `${this.#unread}${chunk}`.split('\n');
    this.#unread = lines.pop() ?? '';
    if (this.#waiting !== undefined && lines.includes(this.#waiting.line)) this.#waiting.settle('done');
  }

  /** Ends it: by the end of its input, else by its pid. */
  async end(): Promise<void> {
    this.#hold(true);
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Only a change under way keeps this program running. */
  #hold(isHeld: boolean): void {
    const streams = [this.#child.stdin, this.#child.stdout, this.#child.stderr] as unknown as { ref(): void; unref(): void }[];
    for (const handle of [this.#child, ...streams]) {
      if (isHeld) handle.ref();
      else handle.unref();
    }
  }
}
