/** Reads and writes the kernel's entries for peers: neighbours of bridges, forwarding entries of bridges and tunnels. */

import { type Mac, messageOf } from '../../src/base/index.ts';
import { type FdbSpec, type Link, type Netns, type RtnlOp, announce } from '../../src/kernel/index.ts';
import type { OverlayParts } from './parts.ts';
import type { Row, RowChange } from './peers.ts';
import type { Segment } from './segments.ts';

/** The links of one segment; without a tunnel nothing can be entered. */
interface Wire {
  readonly bridge: Link;
  readonly tunnel: Link;
}

async function wiresOf(netns: Netns, segments: readonly Segment[]): Promise<(Wire | undefined)[]> {
  const rtnl = netns.rtnl();
  const wires: (Wire | undefined)[] = [];
  for (const segment of segments) {
    const bridge = await rtnl.link.find({ name: segment.bridge });
    const tunnel = await rtnl.link.find({ name: segment.tunnel });
    wires.push(bridge !== undefined && tunnel?.kind === 'vxlan' ? { bridge, tunnel } : undefined);
  }
  return wires;
}

/** All rows that are there, whoever made them; what the kernel found out by itself is none. */
export async function readRows(netns: Netns, segments: readonly Segment[]): Promise<Row[]> {
  const rtnl = netns.rtnl();
  const rows: Row[] = [];
  for (const [segment, wire] of (await wiresOf(netns, segments)).entries()) {
    if (wire === undefined) continue;
    const { bridge, tunnel } = wire;
    for (const { address, mac } of await rtnl.neighbour.list({ link: bridge.index, state: 'permanent' })) {
      if (mac !== undefined) rows.push({ kind: 'neighbour', segment, address, mac });
    }
    for (const entry of await rtnl.fdb.list({ link: tunnel.index })) {
      if (!isOwn(entry, tunnel)) rows.push(rowOf(entry, segment));
    }
  }
  return rows;
}

/** The link's own address, which the bridge has as permanent. */
const isOwn = ({ mac, permanent, destination }: FdbSpec, tunnel: Link): boolean =>
  destination === undefined && permanent === true && mac === tunnel.mac;

const rowOf = ({ mac, destination }: FdbSpec, segment: number): Row =>
  destination === undefined ? { kind: 'port', segment, mac } : { kind: 'remote', segment, mac, vtep: destination };

/** Order in which rows are put: nobody is told of an address before there is a way to it. */
const ORDER = ['remote', 'port', 'neighbour'] as const;
const inOrder = (rows: readonly Row[], order: readonly Row['kind'][]): Row[] =>
  order.flatMap((kind) => rows.filter((row) => row.kind === kind));

/** Writes a change as one batch. Throws KernelError; a part is written then. */
export async function writeRows(netns: Netns, segments: readonly Segment[], { put, remove }: RowChange): Promise<void> {
  if (put.length + remove.length === 0) return;
  const wires = await wiresOf(netns, segments);
  const ops = (rows: readonly Row[], verb: 'replace' | 'remove'): RtnlOp[] =>
    rows.flatMap((row) => {
      const wire = wires[row.segment];
      return wire === undefined ? [] : [opOf(row, wire, verb)];
    });
  const gone = inOrder(remove, ORDER.toReversed());
  await netns.rtnl().batch([...ops(gone, 'remove'), ...ops(inOrder(put, ORDER), 'replace')]);
}

function opOf(row: Row, { bridge, tunnel }: Wire, verb: 'replace' | 'remove'): RtnlOp {
  switch (row.kind) {
    case 'neighbour':
      return { op: `neighbour.${verb}`, spec: { link: bridge.index, address: row.address, mac: row.mac, state: 'permanent' } };
    case 'port':
      // No sandbox here draws it to itself by sending with the address.
      return { op: `fdb.${verb}`, spec: { link: tunnel.index, mac: row.mac, sticky: true } };
    case 'remote':
      return { op: `fdb.${verb}`, spec: { link: tunnel.index, mac: row.mac, destination: row.vtep, permanent: true } };
  }
}

/** Most addresses that are announced in one call: others are found when the sandboxes' entries have grown old. */
const MAX_ANNOUNCED = 64;
/** Most addresses whose last MAC is remembered in a network. */
const MAX_TOLD = 16_384;

/** Tells the endpoints on this host of addresses that have another MAC than they may still have in mind. */
export class Teller {
  /** Last MAC of an address, also of one that has gone since. */
  readonly #told = new Map<string, Mac>();

  async tell(parts: OverlayParts, netns: Netns, segments: readonly Segment[], put: readonly Row[]): Promise<void> {
    const changed = put
      .filter((row) => row.kind === 'neighbour')
      .filter((row) => {
        const before = this.#told.get(row.address);
        if (this.#told.size >= MAX_TOLD) this.#told.clear();
        this.#told.set(row.address, row.mac);
        return before !== undefined && before !== row.mac;
      });
    if (changed.length === 0) return;
    const wires = await wiresOf(netns, segments);
    for (const { segment, mac, address } of changed.slice(0, MAX_ANNOUNCED)) {
      const link = wires[segment]?.bridge.index;
      try {
        if (link !== undefined) announce(netns, { link, mac, address });
      } catch (error) {
        parts.env.log.debug({ address, error: messageOf(error) }, 'a peer that has another MAC now is not announced');
      }
    }
  }
}
