/** Which hosts there are and which of them are alive, as the cluster last told. */

import { type Logger, messageOf } from '../base/index.ts';
import type { ClusterStore, Entry } from '../store/index.ts';
import { follow, type Followed } from './follow.ts';
import { NODES, decodeNode, decodeSign, partsOfKey, type NodeRecord, type Sign } from './records.ts';

export interface ClusterNode extends NodeRecord {
  readonly isAlive: boolean;
}

export interface RosterParts {
  readonly store: ClusterStore;
  /** This host, and which life of it. */
  readonly self: { readonly id: string; readonly incarnation: string };
  readonly log: Logger;
  /** Called after each change, with the hosts that are away since, or not away any more. */
  readonly changed: (nodes: ReadonlySet<string>) => void;
}

export class Roster {
  readonly #parts: RosterParts;
  readonly #nodes = new Map<string, NodeRecord>();
  readonly #signs = new Map<string, Sign>();
  readonly #closing = new AbortController();
  readonly #following: Promise<unknown>;
  #isFirst = true;

  /** Follows at once, until close(). */
  constructor(parts: RosterParts) {
    this.#parts = parts;
    this.#following = this.#follow();
  }

  /** By name, then id. */
  nodes(): readonly ClusterNode[] {
    const all = [...this.#nodes.values()].map((node) => ({ ...node, isAlive: this.#signs.has(node.id) }));
    return all.sort((a, b) => a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
  }

  /** The host was there, and gives no sign of life now. One that nobody has told of yet may be about to come. */
  isAway(id: string): boolean {
    return this.#nodes.has(id) && !this.#signs.has(id);
  }

  #away(): ReadonlySet<string> {
    return new Set([...this.#nodes.keys()].filter((id) => this.isAway(id)));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#following;
  }

  async #follow(): Promise<void> {
    const { store, log, changed } = this.#parts;
    try {
      const refused = (error: Error): void => log.error({ error: messageOf(error) }, 'the hosts of the cluster are not told');
      for await (const news of follow(store, NODES, this.#closing.signal, refused)) {
        const before = this.#away();
        this.#learn(news);
        this.#watchForTwin();
        changed(differing(before, this.#away()));
      }
    } catch (error) {
      log.error({ error: messageOf(error) }, 'the hosts of the cluster are not followed any more');
    }
  }

  #learn(news: Followed): void {
    if (news.kind === 'all') {
      this.#nodes.clear();
      this.#signs.clear();
      return news.entries.forEach((entry) => this.#take(entry));
    }
    for (const key of news.change.removed) {
      const { id, isSign } = partsOfKey(key);
      (isSign ? this.#signs : this.#nodes).delete(id);
    }
    news.change.put.forEach((entry) => this.#take(entry));
  }

  #take(entry: Entry): void {
    const { id, isSign } = partsOfKey(entry.key);
    try {
      if (isSign) this.#signs.set(id, decodeSign(entry));
      else this.#nodes.set(id, decodeNode(entry));
    } catch (error) {
      // One that a newer version wrote must not hide the others.
      (isSign ? this.#signs : this.#nodes).delete(id);
      this.#parts.log.error({ error: messageOf(error) }, 'a record of the cluster is passed over');
    }
  }

  /** A copy of this host's state directory runs elsewhere. */
  #watchForTwin(): void {
    const { self, log } = this.#parts;
    const sign = this.#signs.get(self.id);
    const isTwin = sign !== undefined && sign.incarnation !== self.incarnation;
    // The first sign that is seen may be that of an earlier life.
    if (isTwin && !this.#isFirst)
      log.error({ node: self.id }, 'another daemon shows itself under the identity of this host: is its state directory a copy?');
    if (sign?.incarnation === self.incarnation) this.#isFirst = false;
  }
}

const differing = (a: ReadonlySet<string>, b: ReadonlySet<string>): ReadonlySet<string> =>
  new Set([...[...a].filter((id) => !b.has(id)), ...[...b].filter((id) => !a.has(id))]);
