/**
 * What is known of a table in a namespace. The kernel counts the changes of all rules of a namespace: what was read or written last is
 * right as long as the count is the same, and whoever keeps it saves the reading.
 */

import { type ConntrackMatch, deleteFlows, type Netns, readSysctl, type TableContents } from '../kernel/index.ts';
import { OwedFlows } from './owed.ts';
import type { Group } from './table.ts';

export interface Known {
  /** The kernel's count of changes at that time; undefined where it has no nf_tables. */
  readonly generation: number | undefined;
  /** Undefined: there is no such table. */
  readonly contents: TableContents | undefined;
  /** By chain: what it was laid for, as far as this process has laid it. */
  readonly groups: ReadonlyMap<string, Group>;
}

/** Of one table in one namespace at a time. Belongs to who asks for changes; only this room looks inside. */
export class TableMemory {
  #identity = '';
  #known: Known | undefined;
  /** Rules that were changed for what is to be deleted are not different the next time. */
  readonly #owed = new OwedFlows();

  /** Undefined: it has to be read. */
  recall({ identity }: Netns): Known | undefined {
    return identity === this.#identity ? this.#known : undefined;
  }

  keep({ identity }: Netns, known: Known): void {
    if (identity !== this.#identity) this.#owed.clear();
    this.#identity = identity;
    this.#known = known;
  }

  /** Undoes keep(). */
  forget(): void {
    this.#known = undefined;
  }

  /** Deletes these flows, and those that an earlier call could not, which are as `now` says meanwhile. Throws KernelError. */
  async settle(netns: Netns, flows: readonly ConntrackMatch[], now: () => readonly ConntrackMatch[]): Promise<void> {
    this.#owed.add(flows, now);
    const { matches } = this.#owed;
    if (matches.length > 0 && isTracking(netns)) await deleteFlows(netns, matches);
    this.#owed.clear();
  }
}

/** Whether the kernel tracks any connection of the namespace: of one without any there is nothing to walk through. */
export const isTracking = (netns: Netns): boolean => readSysctl(netns, 'net.netfilter.nf_conntrack_count') !== '0';
