/** The lab's end of the socket of a sandbox's prober, `prober.mjs`. */

import { type Socket, connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** Longest wait for a prober to listen, and for an answer beyond what was given to the question, milliseconds. */
const LISTEN_MS = 20_000;
const ANSWER_MS = 20_000;

/** What a watch has seen since it began or was read last. */
export interface Seen {
  readonly sent: number;
  readonly answered: number;
  /** Who answered, and how often. */
  readonly names: Readonly<Record<string, number>>;
  readonly longestGapMs: number;
  readonly sinceLastMs: number;
}

export class Prober {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, (answer: unknown) => void>();
  #last = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => {});
    createInterface({ input: socket }).on('line', (line) => {
      const { id, answer } = JSON.parse(line) as { id: number; answer: unknown };
      this.#waiting.get(id)?.(answer);
      this.#waiting.delete(id);
    });
  }

  /** Waits until the prober listens. */
  static async connect(path: string): Promise<Prober> {
    for (const end = performance.now() + LISTEN_MS; ; await sleep(20)) {
      const socket = connect(path);
      const error = await new Promise<Error | undefined>((resolve) => {
        socket.once('connect', () => resolve(undefined));
        socket.once('error', resolve);
      });
      if (error === undefined) return new Prober(socket);
      if (performance.now() > end) throw error;
    }
  }

  /** Name of who answers at an address; null when nobody does within `ms`. */
  async ask(address: string, ms = 2000): Promise<string | null> {
    return (await this.#call('ask', { address, ms })) as string | null;
  }

  /** Addresses of a name; null when the resolver fails or does not answer. */
  async resolve(name: string, family: 4 | 6 = 4, ms = 2000): Promise<string[] | null> {
    return (await this.#call('resolve', { name, family, ms })) as string[] | null;
  }

  /** Asks an address every 20 ms from now on. */
  async watch(key: string, address: string): Promise<void> {
    await this.#call('watch', { key, address });
  }

  async seen(key: string): Promise<Seen> {
    return (await this.#call('seen', { key })) as Seen;
  }

  async unwatch(key: string): Promise<void> {
    await this.#call('unwatch', { key });
  }

  close(): void {
    this.#socket.destroy();
  }

  #call(verb: string, wish: { readonly ms?: number; readonly [key: string]: unknown }): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = ++this.#last;
      const timer = setTimeout(
        () => {
          this.#waiting.delete(id);
          reject(new Error(`the prober does not answer ${verb} ${JSON.stringify(wish)}`));
        },
        (wish.ms ?? 0) + ANSWER_MS,
      );
      this.#waiting.set(id, (answer) => (clearTimeout(timer), resolve(answer)));
      this.#socket.write(`${JSON.stringify({ id, verb, ...wish })}\n`);
    });
  }
}
