/** A part of the cluster's records as it is and as it changes, over lost connections, compactions and data made anew. */

import { setTimeout as sleep } from 'node:timers/promises';
import { type CnmError, isCnmError } from '../base/index.ts';
import { type Change, type ClusterStore, type Entry, type Key, type Revision, HistoryGone } from '../store/index.ts';

export type Followed =
  /** The whole part. Comes first, and again whenever changes may have been missed: what it lacks is gone. */
  | { readonly kind: 'all'; readonly entries: readonly Entry[]; readonly revision: Revision }
  | { readonly kind: 'change'; readonly change: Change };

const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 2000;

/**
 * Ends with the signal. While the cluster is away nothing comes, and what was told last stays the best that is known. The same while
 * it does not let us in, of which `refused` is told at its beginning: whoever mends that need not start the daemon again.
 */
export async function* follow(
  store: ClusterStore,
  prefix: Key,
  signal: AbortSignal,
  refused: (error: CnmError) => void,
): AsyncGenerator<Followed> {
  let pause = FIRST_PAUSE_MS;
  let isRefused = false;
  while (!signal.aborted) {
    try {
      const { entries, revision } = await store.list(prefix);
      // Whoever may list need not be let watch.
      if (!isRefused) pause = FIRST_PAUSE_MS;
      yield { kind: 'all', entries, revision };
      for await (const change of store.watch(prefix, revision, signal)) {
        isRefused = false;
        yield { kind: 'change', change };
      }
    } catch (error) {
      if (error instanceof HistoryGone) continue;
      if (!isCnmError(error) || !['store_unreachable', 'store_refused'].includes(error.code)) throw error;
      if (error.code === 'store_refused' && !isRefused) {
        isRefused = true;
        refused(error);
      }
      await sleep(pause, undefined, { signal }).catch(() => {});
      pause = Math.min(2 * pause, LAST_PAUSE_MS);
    }
  }
}
