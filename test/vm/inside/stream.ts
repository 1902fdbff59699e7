/** A stream of TCP between two sandboxes, by iperf3, and the longest time in which nothing of it came. */

import { expect } from 'vitest';
import { type Guest, addressOf } from '../../kernel/overlay-lab.ts';
import { eventually } from '../../kernel/keeper-lab.ts';

/** What a stream may miss, seconds. */
export const MOST_GAP_S = 1;

type Command = ReturnType<Guest['exec']>;

interface Report {
  readonly error?: string;
  readonly intervals: readonly { readonly sum: { readonly bytes: number; readonly seconds: number } }[];
}

/** Bits per second, little enough for emulated processors, in pieces of so many octets. */
const PACE = ['-b', '1M', '-l', '2K'];
const INTERVAL_S = 0.2;
/** Nobody waits for its end: it is told to end. */
const LONGEST_S = 3600;
/** For a program to begin, milliseconds. */
const BEGIN_MS = 60_000;

export class Stream {
  readonly #server: Command;
  readonly #client: Command;

  private constructor(server: Command, client: Command) {
    this.#server = server;
    this.#client = client;
  }

  /** Begins, from one sandbox to another, and is under way. */
  static async start(from: Guest, to: Guest): Promise<Stream> {
    const every = ['-i', String(INTERVAL_S)];
    const server = from.exec('iperf3', ['-s', '-1', '--forceflush', ...every], { reject: false });
    let said = '';
    server.stdout?.on('data', (data: Buffer) => (said += data.toString()));
    await eventually(() => (said.includes('listening') ? true : undefined), 'iperf3 listens', BEGIN_MS);
    // The receiver counts, and so it is the one that asks.
    const flags = ['-R', '-J', '-t', String(LONGEST_S), '--connect-timeout', '20000', ...PACE, ...every];
    const client = to.exec('iperf3', ['-c', addressOf(from, 4), ...flags], { reject: false });
    await eventually(() => (/ sec .*Bytes/.test(said) ? true : undefined), 'the stream flows', BEGIN_MS);
    return new Stream(server, client);
  }

  /**
   * Ends it. Answers the longest time, seconds, in which nothing came: looks that follow each other and saw no octet. A look counts as
   * much however late it was: where the whole machine stood still, as an emulated one may, nobody waited for octets either.
   */
  async end(): Promise<number> {
    this.#client.kill('SIGINT');
    const { stdout } = await this.#client;
    this.#server.kill('SIGKILL');
    await this.#server;
    const { error, intervals } = JSON.parse(stdout) as Report;
    expect(error).toBe('interrupt - the client has terminated');
    let [seconds, silent, longest] = [0, 0, 0];
    for (const { sum } of intervals) {
      silent = sum.bytes === 0 ? silent + 1 : 0;
      longest = Math.max(longest, silent);
      seconds += sum.seconds;
    }
    // With fewer looks it would have seen little.
    expect(intervals.length).toBeGreaterThan(seconds / INTERVAL_S / 2);
    return longest * INTERVAL_S;
  }
}
