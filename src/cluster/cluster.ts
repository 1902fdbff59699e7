/** This host's part in a cluster: opened as soon as the cluster answers, which need not be at the start. */

import { setTimeout as sleep } from 'node:timers/promises';
import { type Address, CnmError, type Logger, isCnmError, messageOf, shown } from '../base/index.ts';
import type { ClusterStore } from '../store/index.ts';
import { Presence } from './presence.ts';
import { type NodeRecord, nodeKey, signKey } from './records.ts';
import { type ClusterNode, Roster } from './roster.ts';

const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 2000;

/** Longest wait for the cluster at the start and at the end, milliseconds. */
const PATIENCE_MS = 2000;
const soon = (work: Promise<unknown>): Promise<unknown> => Promise.race([work, sleep(PATIENCE_MS, undefined, { ref: false })]);

export interface ClusterParts {
  /** Asked again and again until it succeeds. Throws store_unreachable while the cluster is away. */
  readonly open: () => Promise<ClusterStore>;
  readonly node: Omit<NodeRecord, 'address'>;
  /** Where other hosts reach this one; asked once the cluster has answered, when names and routes are there. Never rejects. */
  readonly address: () => Promise<Address | undefined>;
  /** After this long without a word others take the host for dead. */
  readonly ttlSeconds: number;
  readonly log: Logger;
}

interface Joined {
  readonly store: ClusterStore;
  readonly presence: Presence;
  readonly roster: Roster;
}

export class Cluster {
  readonly #parts: ClusterParts;
  readonly #closing = new AbortController();
  readonly #opening: Promise<void>;
  #joined: Joined | undefined;

  /** Joins in the background. */
  constructor(parts: ClusterParts) {
    this.#parts = parts;
    this.#opening = this.#open();
  }

  /** Id of this host. */
  get self(): string {
    return this.#parts.node.id;
  }

  /** Throws store_unreachable before the cluster has answered once. */
  get store(): ClusterStore {
    return this.#connected().store;
  }

  /** All hosts that ever joined and were not removed, with this one. Throws store_unreachable before the cluster has answered once. */
  nodes(): readonly ClusterNode[] {
    return this.#connected().roster.nodes();
  }

  /** By id, name, or the beginning of an id. Throws no_node, ambiguous_name, store_unreachable. */
  node(term: string): ClusterNode {
    const all = this.nodes();
    const exact = all.filter(({ id, name }) => id === term || name === term);
    const found = exact.length > 0 ? exact : all.filter(({ id }) => term !== '' && id.startsWith(term));
    const [first] = found;
    if (first === undefined) throw new CnmError('no_node', `host ${shown(term)} not found in the cluster`);
    if (found.length > 1)
      throw new CnmError('ambiguous_name', `${shown(term)} is ${found.length} hosts of the cluster: give more of the id`);
    return first;
  }

  /** Forgets a host that will not come back. Throws node_alive, no_node, ambiguous_name, store_unreachable. */
  async removeNode(term: string): Promise<ClusterNode> {
    const node = this.node(term);
    const alive = new CnmError('node_alive', `host ${shown(node.name)} is alive: stop its daemon first`);
    if (node.isAlive) throw alive;
    try {
      await this.#connected().store.commit({
        expect: [{ key: signKey(node.id), revision: undefined }],
        remove: [nodeKey(node.id)],
      });
    } catch (error) {
      throw isCnmError(error) && error.code === 'stale_revision' ? alive : error;
    }
    return node;
  }

  /** Waits for the first answer, but not for long: what follows finds the cluster there where it is well. */
  async settled(): Promise<void> {
    await soon(this.#opening);
  }

  /** Leaves: other hosts see it at once. A cluster that hangs does not hold it up. */
  async close(): Promise<void> {
    this.#closing.abort();
    const joined = this.#joined;
    await soon(Promise.all([this.#opening, joined?.roster.close(), joined?.presence.close()]));
    await joined?.store.close();
  }

  #connected(): Joined {
    if (this.#joined !== undefined) return this.#joined;
    throw new CnmError('store_unreachable', 'the cluster has not answered since the daemon started');
  }

  async #open(): Promise<void> {
    const { open, address, ttlSeconds, log } = this.#parts;
    const { signal } = this.#closing;
    for (let pause = FIRST_PAUSE_MS; !signal.aborted; pause = Math.min(2 * pause, LAST_PAUSE_MS)) {
      try {
        const store = await open();
        if (signal.aborted) return await store.close();
        const own = await address();
        const node = { ...this.#parts.node, ...(own !== undefined && { address: own }) };
        const presence = new Presence({ store, node, ttlSeconds, log });
        const roster = new Roster({ store, self: { id: node.id, incarnation: presence.incarnation }, log });
        this.#joined = { store, presence, roster };
        log.info({ node: node.name, cluster: store.clusterId }, 'this host is in the cluster');
        return;
      } catch (error) {
        if (pause === FIRST_PAUSE_MS) log.warn({ error: messageOf(error) }, 'the cluster does not answer: it is asked again');
        await sleep(pause, undefined, { signal }).catch(() => {});
      }
    }
  }
}
