/** What is known of one network's peers: the wish, and what of it the kernel has. Kept in memory, also while nobody is here. */

import type { Address, EndpointId } from '../../src/base/index.ts';
import type { IfaceAddresses, Peer, PeerAudit, PeerChanges, PeerUpdate } from '../../src/driver/index.ts';
import type { Netns } from '../../src/kernel/index.ts';
import { Uses, deltaOf } from './delta.ts';
import type { OverlayParts } from './parts.ts';
import { Holders, type Row, type RowChange, type Wanted, changeOf, keyOf, placeOf, wantedRows } from './peers.ts';
import { Teller, readRows, writeRows } from './rows.ts';
import type { Segment } from './segments.ts';

/** Most entries that one audit mends: others wait for the next one. */
const MAX_MENDED = 2000;

const NOTHING = { added: 0, changed: 0, removed: 0 };

export class Book {
  /** Addresses of the endpoints on this host. */
  readonly locals = new Map<EndpointId, IfaceAddresses>();
  #peers = new Map<EndpointId, Peer>();
  /** Of the peers; undefined: to be counted anew. */
  #uses: Uses | undefined;
  #isComplete = false;
  readonly #holders = new Holders();
  readonly #teller = new Teller();
  readonly #vtep: () => Address | undefined;
  /** By key. Undefined: not looked at yet, or several rows have one key. */
  #present: Map<string, Row> | undefined;

  /** `vtep`: this host's own underlay address. */
  constructor(vtep: () => Address | undefined) {
    this.#vtep = vtep;
  }

  /** Takes the whole wish; while it is not complete, peers that were told before and are not in it stay. */
  wish(peers: readonly Peer[], isComplete: boolean): void {
    const before = isComplete ? new Map<EndpointId, Peer>() : this.#peers;
    for (const { endpoint } of peers) before.delete(endpoint);
    this.#peers = new Map([...before, ...peers.map((peer) => [peer.endpoint, peer] as const)]);
    this.#isComplete ||= isComplete;
    this.#uses = undefined;
  }

  /** Changes the wish. Answers what follows from it, where that can be said without looking at the whole wish. */
  update(segments: readonly Segment[], update: PeerUpdate): (RowChange & { readonly ignored: number }) | undefined {
    const [vtep, present] = [this.#vtep(), this.#present];
    if (vtep === undefined || present === undefined || !this.#isComplete) {
      for (const id of update.remove) this.#peers.delete(id);
      for (const peer of update.put) this.#peers.set(peer.endpoint, peer);
      this.#uses = undefined;
      return undefined;
    }
    const uses = this.#uses ?? usesOf(segments, this.#peers.values(), vtep);
    const change = deltaOf({ segments, vtep, locals: [...this.locals.values()], peers: this.#peers, uses, present }, update);
    this.#uses = change === undefined ? undefined : uses;
    return change;
  }

  /** What the kernel has is not known any more. */
  look(): void {
    this.#present = undefined;
  }

  /** What the wish comes to while the network has no namespace here. */
  unwritten(segments: readonly Segment[]): PeerChanges {
    return { ...NOTHING, ignored: this.#wanted(segments).ignored };
  }

  /** Makes the kernel's entries follow the wish. `isNew`: it has none yet. */
  async sync(parts: OverlayParts, netns: Netns, segments: readonly Segment[], isNew = false): Promise<PeerChanges> {
    const wanted = this.#wanted(segments);
    if (isNew) this.#present = new Map();
    const isGuess = this.#present !== undefined;
    try {
      return await this.#write(parts, netns, segments, wanted);
    } catch (error) {
      if (!isGuess) throw error;
      // Somebody has changed the entries: what is there decides.
      this.look();
      return this.#write(parts, netns, segments, wanted);
    }
  }

  /** Writes what update() has answered. */
  async apply(
    parts: OverlayParts,
    netns: Netns,
    segments: readonly Segment[],
    { ignored, ...change }: RowChange & { readonly ignored: number },
  ): Promise<PeerChanges> {
    const present = this.#present;
    if (present === undefined) return this.sync(parts, netns, segments);
    const changed = change.put.filter((row) => present.has(keyOf(row))).length;
    try {
      this.look();
      await writeRows(netns, segments, change);
    } catch {
      return this.sync(parts, netns, segments);
    }
    for (const row of change.remove) present.delete(keyOf(row));
    for (const row of change.put) present.set(keyOf(row), row);
    this.#present = present;
    await this.#teller.tell(parts, netns, segments, change.put);
    return { added: change.put.length - changed, changed, removed: change.remove.length, ignored };
  }

  async #write(parts: OverlayParts, netns: Netns, segments: readonly Segment[], wanted: Wanted): Promise<PeerChanges> {
    const present = this.#present === undefined ? await readRows(netns, segments) : [...this.#present.values()];
    const change = changeOf(present, wanted.rows, this.#removes(wanted));
    await this.#apply(parts, netns, segments, present, change);
    const keys = new Set(present.map(keyOf));
    const changed = change.put.filter((row) => keys.has(keyOf(row))).length;
    return { added: change.put.length - changed, changed, removed: change.remove.length, ignored: wanted.ignored };
  }

  /** Compares what the kernel has now with the wish, and mends so many entries as one call may. */
  async audit(parts: OverlayParts, netns: Netns, segments: readonly Segment[]): Promise<PeerAudit> {
    const wanted = this.#wanted(segments);
    const present = await readRows(netns, segments);
    const { put, remove } = changeOf(present, wanted.rows, this.#removes(wanted));
    const change = { put: put.slice(0, MAX_MENDED), remove: remove.slice(0, Math.max(0, MAX_MENDED - put.length)) };
    await this.#apply(parts, netns, segments, present, change);
    const [restored, removed] = [change.put.length, change.remove.length];
    return { restored, removed, left: put.length + remove.length - restored - removed };
  }

  async #apply(
    parts: OverlayParts,
    netns: Netns,
    segments: readonly Segment[],
    present: readonly Row[],
    change: RowChange,
  ): Promise<void> {
    this.look();
    await writeRows(netns, segments, change);
    const put = new Set(change.put.map(keyOf));
    const gone = new Set(change.remove);
    const after = [...present.filter((row) => !gone.has(row) && !put.has(keyOf(row))), ...change.put];
    const byKey = new Map(after.map((row) => [keyOf(row), row]));
    this.#present = byKey.size === after.length ? byKey : undefined;
    await this.#teller.tell(parts, netns, segments, change.put);
  }

  #wanted(segments: readonly Segment[]): Wanted {
    return wantedRows(segments, [...this.#peers.values()], [...this.locals.values()], this.#vtep(), this.#holders);
  }

  /** Before the whole wish is known, only what an endpoint here has goes. */
  #removes(wanted: Wanted): (row: Row) => boolean {
    return (row) => this.#isComplete || wanted.isTaken(row);
  }
}

function usesOf(segments: readonly Segment[], peers: Iterable<Peer>, vtep: Address): Uses {
  const uses = new Uses();
  for (const peer of peers) {
    const placed = placeOf(segments, peer, vtep);
    if (placed !== undefined) uses.add(placed);
  }
  return uses;
}
