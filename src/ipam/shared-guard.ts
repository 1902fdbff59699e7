/**
 * When a new address of a shared subnet may be given: while the cluster knows the subnet, and not in the seconds after it had
 * lost records, in which hosts say again what they have.
 */

import { CnmError, type Prefix } from '../base/index.ts';
import type { ClusterStore, Expectation, Key } from '../store/index.ts';
import { ALL_HOSTS } from './shared-pools.ts';
import { POOLS_KEY, decodePools } from './shared-records.ts';

/** As long as a host may take to notice the loss, seconds. */
const HELD_BACK_S = 10;

const heldKey = (prefix: Prefix): Key => `ipam/held-back/${prefix.replace('/', '_')}`;

export class Guard {
  readonly #store: () => ClusterStore;
  #known: { readonly revision: number; readonly prefixes: ReadonlySet<string> } | undefined;

  constructor(store: () => ClusterStore) {
    this.#store = store;
  }

  /** What a commit that takes an address must expect. Throws store_unreachable when none may be taken now. */
  async expectations(prefix: Prefix): Promise<readonly Expectation[]> {
    if (this.#known?.prefixes.has(prefix) !== true) await this.look(prefix);
    return [
      { key: POOLS_KEY, revision: this.#known?.revision },
      { key: heldKey(prefix), revision: undefined },
    ];
  }

  /** After an expectation did not hold. Throws store_unreachable when none may be taken now. */
  async look(prefix: Prefix): Promise<void> {
    const entry = await this.#store().get(POOLS_KEY);
    const shared = Object.entries(decodePools(entry)).filter(([, holders]) => holders.some(({ node }) => node === ALL_HOSTS));
    this.#known = entry && { revision: entry.revision, prefixes: new Set(shared.map(([known]) => known)) };
    if (this.#known?.prefixes.has(prefix) !== true)
      throw new CnmError(
        'store_unreachable',
        `the cluster does not know subnet ${prefix} now: try again when its hosts have told it`,
      );
    if ((await this.#store().get(heldKey(prefix))) !== undefined) {
      throw new CnmError(
        'store_unreachable',
        `the cluster had lost records of subnet ${prefix}, and its hosts tell them again: try again in ${HELD_BACK_S} seconds`,
      );
    }
  }

  /** No new address for a while, from any host. */
  async holdBack(prefix: Prefix): Promise<void> {
    const lease = await this.#store().lease(HELD_BACK_S);
    try {
      await this.#store().commit({ put: [{ key: heldKey(prefix), value: null, lease: lease.id }] });
    } finally {
      lease.abandon();
    }
  }
}
