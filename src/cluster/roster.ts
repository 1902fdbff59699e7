/** Which hosts there are and which of them are alive, as the cluster last told. */

import { type Logger, messageOf } from '../base/index.ts';
import type { ClusterStore, Entry, Key } from '../store/index.ts';
import { follow } from './follow.ts';
import { NODES, SIGNS, decodeNode, decodeSign, type NodeRecord, type Sign } from './records.ts';

export interface ClusterNode extends NodeRecord {
  readonly isAlive: boolean;
}

export interface RosterParts {
  readonly store: ClusterStore;
  /** This host, and which life of it. */
  readonly self: { readonly id: string; readonly incarnation: string };
  readonly log: Logger;
}

export class Roster {
  readonly #log: Logger;
  readonly #self: RosterParts['self'];
  readonly #nodes = new Map<string, NodeRecord>();
  readonly #signs = new Map<string, Sign>();
  readonly #closing = new AbortController();
  readonly #following: Promise<unknown>;
  #isFirst = true;

  /** Follows at once, until close(). */
  constructor({ store, self, log }: RosterParts) {
    this.#log = log;
    this.#self = self;
    this.#following = Promise.all([
      this.#follow(store, NODES, this.#nodes, decodeNode),
      this.#follow(store, SIGNS, this.#signs, decodeSign),
    ]);
  }

  /** By name, then id. */
  nodes(): readonly ClusterNode[] {
    const all = [...this.#nodes.values()].map((node) => ({ ...node, isAlive: this.#signs.has(node.id) }));
    return all.sort((a, b) => a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#following;
  }

  async #follow<T>(store: ClusterStore, prefix: Key, table: Map<string, T>, decode: (entry: Entry) => T): Promise<void> {
    const take = (entry: Entry): void => {
      const id = entry.key.slice(prefix.length);
      try {
        table.set(id, decode(entry));
      } catch (error) {
        // One that a newer version wrote must not hide the others.
        table.delete(id);
        this.#log.error({ error: messageOf(error) }, 'a record of the cluster is passed over');
      }
    };
    try {
      for await (const news of follow(store, prefix, this.#closing.signal)) {
        if (news.kind === 'all') {
          const ids = new Set(news.entries.map(({ key }) => key.slice(prefix.length)));
          for (const id of table.keys()) if (!ids.has(id)) table.delete(id);
          news.entries.forEach(take);
        } else {
          news.change.put.forEach(take);
          for (const key of news.change.removed) table.delete(key.slice(prefix.length));
        }
        this.#watchForTwin();
      }
    } catch (error) {
      this.#log.error({ error: messageOf(error), prefix }, 'the hosts of the cluster are not followed any more');
    }
  }

  /** A copy of this host's state directory runs elsewhere. */
  #watchForTwin(): void {
    const sign = this.#signs.get(this.#self.id);
    const isTwin = sign !== undefined && sign.incarnation !== this.#self.incarnation;
    // The first sign that is seen may be that of an earlier life.
    if (isTwin && !this.#isFirst)
      this.#log.error(
        { node: this.#self.id },
        'another daemon shows itself under the identity of this host: is its state directory a copy?',
      );
    if (sign?.incarnation === this.#self.incarnation) this.#isFirst = false;
  }
}
