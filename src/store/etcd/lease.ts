/** A lease that is kept alive until it is revoked, or lost. */

import type { ClientDuplexStream } from '@grpc/grpc-js';
import { CnmError } from '../../base/index.ts';
import type { Lease } from '../contract.ts';
import type { EtcdChannel } from './channel.ts';
import type { LeaseResponse } from './protocol.ts';

/** Signs of life in the time that a lease lives without one. */
const BEATS = 4;

type Stream = ClientDuplexStream<{ readonly ID: string }, LeaseResponse>;

export class EtcdLease implements Lease {
  readonly id: string;
  readonly #channel: EtcdChannel;
  readonly #ttlMs: number;
  readonly #lost = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #onEnd: () => void;
  #stream: Stream | undefined;
  #heardAt = performance.now();

  /** `ttlSeconds`: the cluster may give more. Throws store_unreachable. */
  static async grant(channel: EtcdChannel, ttlSeconds: number, onEnd: () => void): Promise<EtcdLease> {
    const { answer } = await channel.call<LeaseResponse>('Lease', 'LeaseGrant', { TTL: String(ttlSeconds), ID: '0' });
    if (answer.ID === '0') throw new CnmError('store_refused', 'the cluster gave no lease');
    return new EtcdLease(channel, answer.ID, Number(answer.TTL) * 1000, onEnd);
  }

  private constructor(channel: EtcdChannel, id: string, ttlMs: number, onEnd: () => void) {
    this.id = id;
    this.#channel = channel;
    this.#ttlMs = ttlMs;
    this.#onEnd = onEnd;
    this.#timer = setInterval(() => this.#beat(), ttlMs / BEATS);
    this.#timer.unref();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async revoke(): Promise<void> {
    this.#stop();
    await this.#channel.call('Lease', 'LeaseRevoke', { ID: this.id });
  }

  abandon(): void {
    this.#stop();
  }

  #beat(): void {
    if (performance.now() - this.#heardAt > this.#ttlMs) return this.#lose();
    try {
      this.#stream ??= this.#open();
      this.#stream.write({ ID: this.id });
    } catch {
      this.#stream = undefined;
    }
  }

  #open(): Stream {
    const stream: Stream = this.#channel.stream('Lease', 'LeaseKeepAlive');
    const forget = (): void => {
      if (this.#stream === stream) this.#stream = undefined;
    };
    stream.on('data', ({ TTL }: LeaseResponse) => {
      if (TTL === '0') this.#lose();
      else this.#heardAt = performance.now();
    });
    stream.on('error', forget);
    stream.on('end', forget);
    return stream;
  }

  #lose(): void {
    this.#stop();
    this.#lost.abort();
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#stream?.cancel();
    this.#stream = undefined;
    this.#onEnd();
  }
}
