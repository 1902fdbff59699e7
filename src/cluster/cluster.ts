/** This host's part in a cluster: opened as soon as the cluster answers, which need not be at the start. */

import { setTimeout as sleep } from 'node:timers/promises';
import { type Address, CnmError, type Logger, isCnmError, messageOf, shown, within } from '../base/index.ts';
import type { ClusterStore } from '../store/index.ts';
import { Presence } from './presence.ts';
import { type NodeRecord, nodeKey, signKey } from './records.ts';
import { type ClusterNode, Roster } from './roster.ts';

const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 2000;

/** Longest wait for the cluster at the start and at the end, milliseconds. */
const PATIENCE_MS = 2000;

export interface ClusterParts {
  /** Asked again and again until it succeeds. Throws store_unreachable while the cluster is away. */
  readonly open: () => Promise<ClusterStore>;
  readonly node: Omit<NodeRecord, 'address'>;
  /** Where other hosts reach this one; asked until it is known, for names and routes may come late. Never rejects. */
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
  #arrive: (store: ClusterStore | undefined) => void = () => {};
  /** Resolves when the cluster has answered; undefined: this host leaves before. */
  readonly arrived = new Promise<ClusterStore | undefined>((resolve) => (this.#arrive = resolve));
  #joined: Joined | undefined;
  #address: Address | undefined;
  /** Called after each change of the hosts that there are, with those that are away since, or not away any more. */
  onNodes: ((nodes: ReadonlySet<string>) => void) | undefined;
  /** Called before a host is forgotten: gives back what it had. */
  onForget: ((node: string) => Promise<void>) | undefined;
  /** At the end, this host is alive for others until its lease runs out: a daemon that is back by then was never away. */
  lingers = false;

  /** Joins in the background. */
  constructor(parts: ClusterParts) {
    this.#parts = parts;
    this.#opening = this.#open();
  }

  /** Id of this host. */
  get self(): string {
    return this.#parts.node.id;
  }

  /** Where other hosts reach this one; undefined until it is known. */
  get address(): Address | undefined {
    return this.#address;
  }

  /** The cluster has answered once. */
  get isJoined(): boolean {
    return this.#joined !== undefined;
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

  /** The host gives no sign of life. False for one that is not known. */
  isAway(id: string): boolean {
    return this.#joined?.roster.isAway(id) ?? false;
  }

  /** What a host is called, or its id where nobody knows. */
  nameOf(id: string): string {
    return this.#joined?.roster.nodes().find((node) => node.id === id)?.name ?? id;
  }

  /** Forgets a host that will not come back. Throws node_alive, no_node, ambiguous_name, store_unreachable. */
  async removeNode(term: string): Promise<ClusterNode> {
    const node = this.node(term);
    const alive = new CnmError('node_alive', `host ${shown(node.name)} is alive: stop its daemon first`);
    // What the roster says may be a moment old, and what a living host has is not to be given back.
    if (node.isAlive || (await this.store.get(signKey(node.id))) !== undefined) throw alive;
    await this.onForget?.(node.id);
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
    await within(PATIENCE_MS, this.#opening);
  }

  /** Leaves: other hosts see it at once, unless it lingers. A cluster that hangs does not hold it up. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#arrive(undefined);
    const joined = this.#joined;
    await within(PATIENCE_MS, Promise.all([this.#opening, joined?.roster.close(), joined?.presence.close(this.lingers)]));
    await joined?.store.close();
  }

  #connected(): Joined {
    if (this.#joined !== undefined) return this.#joined;
    throw new CnmError('store_unreachable', 'the cluster has not answered since the daemon started');
  }

  async #open(): Promise<void> {
    const { open, ttlSeconds, log } = this.#parts;
    const { signal } = this.#closing;
    for (let pause = FIRST_PAUSE_MS; !signal.aborted; pause = Math.min(2 * pause, LAST_PAUSE_MS)) {
      try {
        // Before the cluster answers, which may be long: tunnels that are there need it.
        this.#address ??= await this.#parts.address();
        const store = await open();
        if (signal.aborted) return await store.close();
        this.#address ??= await this.#parts.address();
        if (this.#address === undefined)
          log.warn({}, 'no address towards the cluster was found for other hosts to reach this one: see --advertise');
        this.#join(store, ttlSeconds);
        return;
      } catch (error) {
        if (pause === FIRST_PAUSE_MS) log.warn({ error: messageOf(error) }, 'the cluster does not answer: it is asked again');
        await sleep(pause, undefined, { signal }).catch(() => {});
      }
    }
  }

  #join(store: ClusterStore, ttlSeconds: number): void {
    const { log } = this.#parts;
    const node = { ...this.#parts.node, ...(this.#address !== undefined && { address: this.#address }) };
    const presence = new Presence({ store, node, ttlSeconds, log });
    const self = { id: node.id, incarnation: presence.incarnation };
    const roster = new Roster({ store, self, log, changed: (nodes) => this.onNodes?.(nodes) });
    this.#joined = { store, presence, roster };
    this.#arrive(store);
    log.info({ node: node.name, cluster: store.clusterId }, 'this host is in the cluster');
  }
}
