/** A watch that goes on where it was over lost connections and dead members. */

import { setTimeout as sleep } from 'node:timers/promises';
import { CnmError } from '../../base/index.ts';
import type { Change, Entry, Key, Revision } from '../contract.ts';
import type { EtcdChannel } from './channel.ts';
import { HistoryGone } from './history.ts';
import { EVENT_DELETE, type KeyValue, type WatchResponse } from './protocol.ts';

const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 1000;

export interface WatchOptions {
  readonly range: { readonly key: Buffer; readonly range_end: Buffer };
  readonly after: Revision;
  /** The highest revision that any call or watch of this store has seen of these data. */
  readonly latest: { revision: Revision };
  readonly clusterId: string;
  readonly signal: AbortSignal;
  readonly entryOf: (kv: KeyValue) => Entry;
  readonly keyOf: (kv: KeyValue) => Key;
}

/** Throws HistoryGone and store_refused. */
export async function* watchEtcd(channel: EtcdChannel, options: WatchOptions): AsyncGenerator<Change> {
  const { latest } = options;
  let seen = options.after;
  // What the data are at least, also where nothing of ours has changed for long.
  let floor = seen;
  let pause = FIRST_PAUSE_MS;
  while (!options.signal.aborted) {
    try {
      for await (const response of responses(channel, options, { seen, floor })) {
        pause = FIRST_PAUSE_MS;
        for (const change of changesOf(response.events, options)) {
          seen = change.revision;
          yield change;
        }
        // Also where nothing of ours changed: history may be compacted up to there.
        seen = Math.max(seen, Number(response.header.revision));
        latest.revision = Math.max(latest.revision, seen);
      }
    } catch (error) {
      if (error instanceof HistoryGone || (error instanceof CnmError && error.code !== 'store_unreachable')) throw error;
    }
    floor = Math.max(seen, latest.revision);
    await sleep(pause, undefined, { signal: options.signal }).catch(() => {});
    pause = Math.min(pause * 2, LAST_PAUSE_MS);
  }
}

type Events = WatchResponse['events'];

/** `seen`: by this watch; `floor`: by anybody of this process before the watch was lost. */
interface Known {
  readonly seen: Revision;
  readonly floor: Revision;
}

/** Whole answers of one stream; ends or throws with it. */
async function* responses(
  channel: EtcdChannel,
  { range, clusterId, signal, latest }: WatchOptions,
  known: Known,
): AsyncGenerator<{ readonly header: WatchResponse['header']; readonly events: Events }> {
  const stream = channel.stream<object, WatchResponse>('Watch', 'Watch');
  const cancel = (): void => stream.cancel();
  signal.addEventListener('abort', cancel);
  try {
    stream.write({ create_request: { ...range, start_revision: String(known.seen + 1), progress_notify: true, fragment: true } });
    let parts: Events = [];
    for await (const response of stream as AsyncIterable<WatchResponse>) {
      refuseBroken(response, clusterId, known, latest);
      parts = [...parts, ...response.events];
      if (response.fragment || response.created) continue;
      yield { header: response.header, events: parts };
      parts = [];
    }
  } finally {
    signal.removeEventListener('abort', cancel);
    stream.cancel();
  }
}

function refuseBroken(
  { header, created, canceled, compact_revision, cancel_reason }: WatchResponse,
  clusterId: string,
  { seen, floor }: Known,
  latest: WatchOptions['latest'],
) {
  if (compact_revision !== '0')
    throw new HistoryGone(
      'compacted',
      `the cluster's history up to revision ${compact_revision} is gone, and ${seen + 1} was asked for`,
    );
  if (canceled) throw new CnmError('store_unreachable', `the cluster ended a watch: ${cancel_reason}`);
  if (header.cluster_id !== clusterId || (created && Number(header.revision) < floor)) {
    latest.revision = Number(header.revision);
    throw new HistoryGone('older', `the cluster's data are at revision ${header.revision}, older than ${floor} that was seen`);
  }
}

/** One for each revision; a commit comes in one answer. */
function changesOf(events: Events, { entryOf, keyOf }: WatchOptions): Change[] {
  const changes = new Map<Revision, { put: Entry[]; removed: Key[] }>();
  for (const { type, kv } of events) {
    const revision = Number(kv.mod_revision);
    const change = changes.get(revision) ?? { put: [], removed: [] };
    changes.set(revision, change);
    if (type === EVENT_DELETE) change.removed.push(keyOf(kv));
    else change.put.push(entryOf(kv));
  }
  return [...changes].map(([revision, change]) => ({ revision, ...change }));
}
