/**
 * Which entries a network's peers ask of the kernel. Three for an address: who has it, where on the bridge that one is, and
 * behind which host. Of several peers with one address the first one told has it (spec 07 P5). Pure.
 */

import { type Address, type EndpointId, type Mac, familyOf, prefixAddress } from '../../src/base/index.ts';
import type { IfaceAddresses, Peer } from '../../src/driver/index.ts';
import { type Segment, segmentIndex } from './segments.ts';

/**
 * `neighbour`: of the bridge, so that it answers ARP and ND. `port`: the MAC is behind the tunnel. `remote`: and there behind
 * this host.
 */
export type Row =
  | { readonly kind: 'neighbour'; readonly segment: number; readonly address: Address; readonly mac: Mac }
  | { readonly kind: 'port'; readonly segment: number; readonly mac: Mac }
  | { readonly kind: 'remote'; readonly segment: number; readonly mac: Mac; readonly vtep: Address };

/** By what only one row is about: see keyOf. */
export type Rows = ReadonlyMap<string, Row>;

export const keyOf = (row: Row): string => `${row.segment} ${row.kind} ${row.kind === 'neighbour' ? row.address : row.mac}`;

export const isSameRow = (a: Row, b: Row): boolean =>
  keyOf(a) === keyOf(b) &&
  (a.kind !== 'neighbour' || (b.kind === 'neighbour' && a.mac === b.mac)) &&
  (a.kind !== 'remote' || (b.kind === 'remote' && a.vtep === b.vtep));

/** Who has what, of those who claim it: the one that had it before, while it claims it still, else the first. */
export class Holders {
  readonly #holders = new Map<string, EndpointId>();

  /** Settles all claims anew; a thing's claimants are in their order. */
  settle(claims: ReadonlyMap<string, readonly EndpointId[]>): void {
    for (const thing of this.#holders.keys()) if (!claims.has(thing)) this.#holders.delete(thing);
    for (const [thing, claimants] of claims) {
      const holder = this.#holders.get(thing);
      const [first] = claimants;
      if (first !== undefined && (holder === undefined || !claimants.includes(holder))) this.#holders.set(thing, first);
    }
  }

  has(thing: string, id: EndpointId): boolean {
    return this.#holders.get(thing) === id;
  }
}

/** A peer on its segment. */
export interface Placed {
  readonly peer: Peer;
  readonly segment: number;
  readonly addresses: readonly Address[];
}

/** Undefined: nothing can be done for it. `vtep`: this host's own; undefined: not known yet. */
export function placeOf(segments: readonly Segment[], peer: Peer, vtep: Address | undefined): Placed | undefined {
  const segment = segmentIndex(segments, peer);
  const isFar = vtep === undefined || (peer.vtep !== vtep && familyOf(peer.vtep) === familyOf(vtep));
  const addresses = [peer.v4, peer.v6].filter((prefix) => prefix !== undefined).map(prefixAddress);
  const { v4, v6 } = segments[segment] ?? {};
  // The gateway's are on this host's own bridge, and no endpoint's.
  const isGateway = addresses.some((one) => one === v4?.gateway || one === v6?.gateway);
  return segment < 0 || !isFar || isGateway ? undefined : { peer, segment, addresses };
}

/** The rows of one that has all that it claims. */
export const rowsOfOne = ({ peer: { mac, vtep }, segment, addresses }: Placed): Row[] => [
  ...addresses.map((address) => ({ kind: 'neighbour', segment, address, mac }) as const),
  { kind: 'port', segment, mac },
  { kind: 'remote', segment, mac, vtep },
];

export interface Wanted {
  readonly rows: Rows;
  readonly ignored: number;
  /** Whether an endpoint on this host has what the row is about. */
  readonly isTaken: (row: Row) => boolean;
}

/**
 * The rows for `peers`, on a host whose own underlay address is `vtep`. What a `local` endpoint has is nobody else's, be it
 * told of one that has just gone from elsewhere.
 */
export function wantedRows(
  segments: readonly Segment[],
  peers: readonly Peer[],
  locals: readonly IfaceAddresses[],
  vtep: Address | undefined,
  holders: Holders,
): Wanted {
  const placed = peers.flatMap((peer) => placeOf(segments, peer, vtep) ?? []);
  const ignored = peers.length - placed.length;
  const taken = new Set<string | undefined>(
    locals.flatMap(({ mac, v4, v6 }) => [mac, v4 && prefixAddress(v4), v6 && prefixAddress(v6)]),
  );
  const claims = new Map<string, EndpointId[]>();
  const claim = (thing: string, id: EndpointId): void => {
    const all = claims.get(thing);
    if (all === undefined) claims.set(thing, [id]);
    else if (!all.includes(id)) all.push(id);
  };
  for (const { peer, segment, addresses } of placed) {
    for (const address of addresses) if (!taken.has(address)) claim(`${segment} ${address}`, peer.endpoint);
    if (!taken.has(peer.mac)) claim(`${segment} ${peer.mac}`, peer.endpoint);
  }
  holders.settle(claims);
  // Without tunnels the wish is kept, and nothing follows from it.
  const rows = vtep === undefined ? new Map<string, Row>() : rowsOf(placed, holders);
  return { rows, ignored, isTaken: (row) => taken.has(row.kind === 'neighbour' ? row.address : row.mac) };
}

function rowsOf(placed: readonly Placed[], holders: Holders): Rows {
  const rows = new Map<string, Row>();
  const add = (row: Row): void => void rows.set(keyOf(row), row);
  for (const { peer, segment, addresses } of placed) {
    const { mac, vtep, endpoint } = peer;
    const held = addresses.filter((address) => holders.has(`${segment} ${address}`, endpoint));
    if (held.length === 0) continue;
    for (const address of held) add({ kind: 'neighbour', segment, address, mac });
    if (!holders.has(`${segment} ${mac}`, endpoint)) continue;
    add({ kind: 'port', segment, mac });
    add({ kind: 'remote', segment, mac, vtep });
  }
  return rows;
}

export interface RowChange {
  readonly put: readonly Row[];
  readonly remove: readonly Row[];
}

/**
 * From what is there, which may hold several rows of one key, to what is wanted. A wrong row gives way to the right one when
 * that is put, without a moment in which there is neither; what is left over of it is removed, where `removes` says so.
 */
export function changeOf(present: readonly Row[], wanted: Rows, removes: (row: Row) => boolean): RowChange {
  const right = new Set<string>();
  for (const row of present) {
    const wish = wanted.get(keyOf(row));
    if (wish !== undefined && isSameRow(row, wish)) right.add(keyOf(row));
  }
  const replaced = new Set<string>();
  const remove = present.filter((row) => {
    const key = keyOf(row);
    const wish = wanted.get(key);
    if (wish === undefined) return removes(row);
    if (isSameRow(row, wish)) return false;
    // The first wrong one is written over.
    if (right.has(key) || replaced.has(key)) return removes(row);
    replaced.add(key);
    return false;
  });
  return { put: [...wanted].flatMap(([key, row]) => (right.has(key) ? [] : [row])), remove };
}
