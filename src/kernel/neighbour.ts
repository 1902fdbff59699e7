/** ARP and ND entries, and forwarding entries of bridges and VXLAN links, as rtnetlink messages (linux/neighbour.h). */

import * as rt from 'netlink/dist/rt/structs.js';
import { addressBytes, familyOf, macBytes, type Address, type IpFamily, type Mac } from '../base/index.ts';
import { Attributes, attribute, u32 } from './attributes.ts';
import type { FdbSpec, NeighbourSpec } from './contract.ts';
import { formatted } from './link.ts';
import type { Message } from './messages.ts';
import { NLM_F_CREATE, NLM_F_REPLACE } from './netlink.ts';
import { addressIn, familyNumber } from './route.ts';

const { NEWNEIGH, DELNEIGH, GETNEIGH } = rt.MessageType;

const AF_BRIDGE = 7;
const NUD = { reachable: 0x02, stale: 0x04, noarp: 0x40, permanent: 0x80 } as const;
const NTF = { self: 2, master: 4, sticky: 0x40 } as const;
/** Where the flags are in struct ndmsg. */
const NDM_FLAGS = 10;
const NDA = { destination: 1, mac: 2, link: 8 } as const;
const NDMSG_SIZE = 12;

const octets = (address: Address): Buffer => Buffer.from(addressBytes(address));

interface Entry {
  readonly family: number;
  readonly link: number;
  readonly state: number;
  readonly flags: number;
  readonly destination?: Address;
  readonly mac?: Mac;
}

const entryBody = (entry: Entry): Buffer =>
  formatted(
    rt.formatNeighbor({
      family: entry.family,
      ifindex: entry.link,
      state: { __unknown: entry.state },
      flags: { __unknown: entry.flags },
    }),
    rt.formatNeighborAttrs({
      ...(entry.destination === undefined ? {} : { dst: octets(entry.destination) }),
      ...(entry.mac === undefined ? {} : { lladdr: Buffer.from(macBytes(entry.mac)) }),
    }),
  );

/** A dump, of one link when given. */
const listBody = (family: number, link: number | undefined): Buffer => {
  const header = rt.formatNeighbor({ family });
  return link === undefined ? header : Buffer.concat([header, attribute(NDA.link, u32(link))]);
};

const macIn = (raw: Buffer | undefined): Mac | undefined =>
  raw?.length === 6 ? ((raw.toString('hex').match(/../g) ?? []).join(':') as Mac) : undefined;

const neighbourEntry = (spec: NeighbourSpec): Entry => ({
  family: familyNumber(familyOf(spec.address)),
  link: spec.link,
  state: NUD[spec.state ?? 'permanent'],
  flags: 0,
  destination: spec.address,
  ...(spec.mac === undefined ? {} : { mac: spec.mac }),
});

/** `state` defaults to permanent. */
export const encodeNeighbourReplace = (spec: NeighbourSpec): Message => ({
  type: NEWNEIGH,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  body: entryBody(neighbourEntry(spec)),
});

/** As a replacement, but only of an entry that is there: an entry more may be one too many for the kernel's table (gc_thresh3). */
export const encodeNeighbourChange = (spec: NeighbourSpec): Message => ({
  ...encodeNeighbourReplace(spec),
  flags: NLM_F_REPLACE,
});

export const encodeNeighbourRemove = (spec: NeighbourSpec): Message => ({
  type: DELNEIGH,
  body: entryBody({ ...neighbourEntry(spec), state: 0 }),
});

export const encodeNeighbourList = (family: IpFamily, link?: number): Message => ({
  type: GETNEIGH,
  body: listBody(familyNumber(family), link),
});

/** Undefined for an entry that is still being resolved or failed. */
export function parseNeighbour(body: Buffer): NeighbourSpec | undefined {
  const attributes = new Attributes(body, NDMSG_SIZE);
  const address = addressIn(attributes.bytes(NDA.destination));
  const raw = body.readUInt16LE(8);
  const state = (['permanent', 'noarp', 'reachable', 'stale'] as const).find((name) => (raw & NUD[name]) !== 0);
  if (address === undefined || state === undefined) return undefined;
  const mac = macIn(attributes.bytes(NDA.mac));
  return { link: body.readInt32LE(4), address, ...(mac === undefined ? {} : { mac }), state };
}

/**
 * A destination belongs to the table of the VXLAN link itself; without one the entry is the bridge's, on that port. Not
 * permanent means static: it does not age either, but on a bridge a permanent entry is an address of the host itself.
 */
const fdbEntry = (spec: FdbSpec): Entry => ({
  family: AF_BRIDGE,
  link: spec.link,
  state: spec.permanent === true ? NUD.permanent : NUD.noarp,
  flags: spec.destination === undefined ? NTF.master | (spec.sticky === true ? NTF.sticky : 0) : NTF.self,
  mac: spec.mac,
  ...(spec.destination === undefined ? {} : { destination: spec.destination }),
});

export const encodeFdbReplace = (spec: FdbSpec): Message => ({
  type: NEWNEIGH,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  body: entryBody(fdbEntry(spec)),
});

export const encodeFdbRemove = (spec: FdbSpec): Message => ({ type: DELNEIGH, body: entryBody(fdbEntry(spec)) });

export const encodeFdbList = (link?: number): Message => ({ type: GETNEIGH, body: listBody(AF_BRIDGE, link) });

export function parseFdb(body: Buffer): FdbSpec | undefined {
  const attributes = new Attributes(body, NDMSG_SIZE);
  const mac = macIn(attributes.bytes(NDA.mac));
  if (mac === undefined) return undefined;
  const destination = addressIn(attributes.bytes(NDA.destination));
  return {
    link: body.readInt32LE(4),
    mac,
    ...(destination === undefined ? {} : { destination }),
    permanent: (body.readUInt16LE(8) & NUD.permanent) !== 0,
    ...((body.readUInt8(NDM_FLAGS) & NTF.sticky) !== 0 && { sticky: true }),
  };
}
