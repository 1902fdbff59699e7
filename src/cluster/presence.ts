/** This host's presence in the cluster: a record that stays, and a sign of life on a lease, renewed after each loss. */

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Logger, messageOf, within } from '../base/index.ts';
import type { ClusterStore, Lease } from '../store/index.ts';
import { type NodeRecord, encodeNode, nodeKey, signKey } from './records.ts';

const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 2000;
/** For the farewell, milliseconds: without it the lease runs out by itself. */
const FAREWELL_MS = 2000;

export interface PresenceParts {
  readonly store: ClusterStore;
  readonly node: NodeRecord;
  /** After this long without a word others take the host for dead. */
  readonly ttlSeconds: number;
  readonly log: Logger;
}

export class Presence {
  readonly incarnation = randomBytes(8).toString('hex');
  readonly #parts: PresenceParts;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #lease: Lease | undefined;

  /** Begins at once, and goes on until close(). */
  constructor(parts: PresenceParts) {
    this.#parts = parts;
    this.#running = this.#run();
  }

  /**
   * The host leaves: its sign of life goes at once where the cluster answers, and with its lease where not; or always with that one,
   * where `lingers`.
   */
  async close(lingers = false): Promise<void> {
    this.#closing.abort();
    await this.#running;
    if (lingers) return;
    const farewell = this.#lease?.revoke().catch(() => {});
    if (farewell !== undefined) await within(FAREWELL_MS, farewell);
  }

  async #run(): Promise<void> {
    const { log, node } = this.#parts;
    const { signal } = this.#closing;
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      try {
        await this.#appear();
        if (pause > FIRST_PAUSE_MS) log.info({ node: node.name }, 'the cluster answers again');
        pause = FIRST_PAUSE_MS;
        await ended(this.#lease?.lost, signal);
        if (!signal.aborted) log.warn({ node: node.name }, "this host's lease in the cluster ran out: it asks for another");
      } catch (error) {
        if (pause === FIRST_PAUSE_MS) log.warn({ error: messageOf(error) }, 'this host cannot show itself in the cluster');
        await sleep(pause, undefined, { signal }).catch(() => {});
        pause = Math.min(2 * pause, LAST_PAUSE_MS);
      }
    }
  }

  async #appear(): Promise<void> {
    const { store, node, ttlSeconds } = this.#parts;
    const lease = await store.lease(ttlSeconds);
    try {
      await store.commit({
        put: [
          { key: nodeKey(node.id), value: encodeNode(node) },
          { key: signKey(node.id), value: { incarnation: this.incarnation }, lease: lease.id },
        ],
      });
    } catch (error) {
      await lease.revoke().catch(() => {});
      throw error;
    }
    this.#lease = lease;
  }
}

function ended(...signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  const any = AbortSignal.any(signals.filter((signal) => signal !== undefined));
  return new Promise((resolve) => {
    if (any.aborted) resolve();
    else any.addEventListener('abort', () => resolve(), { once: true });
  });
}
