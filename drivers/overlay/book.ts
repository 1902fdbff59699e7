/** What is known of one network's peers: the wish, and what of it the kernel has. Kept in memory, also while nobody is here. */

import type { Address, EndpointId } from '../../src/base/index.ts';
import type { IfaceAddresses, Peer, PeerAudit, PeerChanges } from '../../src/driver/index.ts';
import type { Netns } from '../../src/kernel/index.ts';
import type { OverlayParts } from './parts.ts';
import { Holders, type Row, type RowChange, type Wanted, changeOf, keyOf, wantedRows } from './peers.ts';
import { Teller, readRows, writeRows } from './rows.ts';
import type { Segment } from './segments.ts';

/** Most entries that one audit mends: others wait for the next one. */
const MAX_MENDED = 2000;

const NOTHING = { added: 0, changed: 0, removed: 0 };

export class Book {
  /** Addresses of the endpoints on this host. */
  readonly locals = new Map<EndpointId, IfaceAddresses>();
  #peers: readonly Peer[] = [];
  #isComplete = false;
  readonly #holders = new Holders();
  readonly #teller = new Teller();
  readonly #vtep: () => Address | undefined;
  /** Undefined: not looked at yet. */
  #present: readonly Row[] | undefined;

  /** `vtep`: this host's own underlay address. */
  constructor(vtep: () => Address | undefined) {
    this.#vtep = vtep;
  }

  /** Takes the whole wish; while it is not complete, peers that were told before and are not in it stay. */
  wish(peers: readonly Peer[], isComplete: boolean): void {
    const told = new Set(peers.map(({ endpoint }) => endpoint));
    this.#peers = isComplete ? peers : [...this.#peers.filter(({ endpoint }) => !told.has(endpoint)), ...peers];
    this.#isComplete ||= isComplete;
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
    if (isNew) this.#present = [];
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

  async #write(parts: OverlayParts, netns: Netns, segments: readonly Segment[], wanted: Wanted): Promise<PeerChanges> {
    const present = this.#present ?? (await readRows(netns, segments));
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
    this.#present = [...present.filter((row) => !gone.has(row) && !put.has(keyOf(row))), ...change.put];
    await this.#teller.tell(parts, netns, segments, change.put);
  }

  #wanted(segments: readonly Segment[]): Wanted {
    return wantedRows(segments, this.#peers, [...this.locals.values()], this.#vtep(), this.#holders);
  }

  /** Before the whole wish is known, only what an endpoint here has goes. */
  #removes(wanted: Wanted): (row: Row) => boolean {
    return (row) => this.#isComplete || wanted.isTaken(row);
  }
}
