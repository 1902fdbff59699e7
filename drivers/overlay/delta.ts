/**
 * What a few changed peers come to, at the cost of those few: as long as nobody else has their addresses, whose turn it is
 * need not be asked. Pure but for the counts that it keeps.
 */

import { type Address, type EndpointId, prefixAddress } from '../../src/base/index.ts';
import type { IfaceAddresses, Peer, PeerUpdate } from '../../src/driver/index.ts';
import { type Placed, type Row, type RowChange, isSameRow, keyOf, placeOf, rowsOfOne } from './peers.ts';
import type { Segment } from './segments.ts';

const thingsOf = ({ segment, addresses, peer }: Placed): string[] => [...addresses, peer.mac].map((one) => `${segment} ${one}`);

/** How many peers claim each address and MAC. */
export class Uses {
  readonly #counts = new Map<string, number>();

  add(placed: Placed): void {
    for (const thing of thingsOf(placed)) this.#counts.set(thing, (this.#counts.get(thing) ?? 0) + 1);
  }

  remove(placed: Placed): void {
    for (const thing of thingsOf(placed)) {
      const left = (this.#counts.get(thing) ?? 0) - 1;
      if (left > 0) this.#counts.set(thing, left);
      else this.#counts.delete(thing);
    }
  }

  /** Whether somebody claims what this one would. */
  isContested(placed: Placed): boolean {
    return thingsOf(placed).some((thing) => this.#counts.has(thing));
  }

  isShared(placed: Placed): boolean {
    return thingsOf(placed).some((thing) => (this.#counts.get(thing) ?? 0) > 1);
  }
}

export interface DeltaParts {
  readonly segments: readonly Segment[];
  readonly vtep: Address;
  readonly locals: readonly IfaceAddresses[];
  /** Changed by this. */
  readonly peers: Map<EndpointId, Peer>;
  /** Changed by this; of no use any more when the answer is undefined. */
  readonly uses: Uses;
  /** By key. */
  readonly present: ReadonlyMap<string, Row>;
}

/** Applies the update to `peers`. Undefined: somebody else has a part in it, and the whole wish decides. */
export function deltaOf(parts: DeltaParts, { put, remove }: PeerUpdate): (RowChange & { readonly ignored: number }) | undefined {
  const { segments, vtep, locals, peers, uses, present } = parts;
  const taken = new Set<string | undefined>(
    locals.flatMap(({ mac, v4, v6 }) => [mac, v4 && prefixAddress(v4), v6 && prefixAddress(v6)]),
  );
  const wanted = new Map<string, Row | undefined>();
  let isPlain = true;
  let ignored = 0;
  const leave = (id: EndpointId): void => {
    const old = peers.get(id);
    const placed = old && placeOf(segments, old, vtep);
    if (placed === undefined) return;
    if (uses.isShared(placed)) isPlain = false;
    uses.remove(placed);
    for (const row of rowsOfOne(placed)) wanted.set(keyOf(row), undefined);
  };
  for (const id of remove) {
    leave(id);
    peers.delete(id);
  }
  for (const peer of put) {
    leave(peer.endpoint);
    // One that is known keeps its place in the order.
    peers.set(peer.endpoint, peer);
    const placed = placeOf(segments, peer, vtep);
    if (placed === undefined) {
      ignored++;
      continue;
    }
    if (uses.isContested(placed) || [...placed.addresses, peer.mac].some((one) => taken.has(one))) isPlain = false;
    uses.add(placed);
    for (const row of rowsOfOne(placed)) wanted.set(keyOf(row), row);
  }
  if (!isPlain) return undefined;
  const rows: { put: Row[]; remove: Row[] } = { put: [], remove: [] };
  for (const [key, row] of wanted) {
    const there = present.get(key);
    if (row === undefined) {
      if (there !== undefined) rows.remove.push(there);
    } else if (there === undefined || !isSameRow(there, row)) rows.put.push(row);
  }
  return { ...rows, ignored };
}
