/** Deletion and counts of tracked flows over ctnetlink (linux/netfilter/nfnetlink_conntrack.h), without a process. */

import { setImmediate as nextTick } from 'node:timers/promises';
import {
  addressBytes,
  CnmError,
  errnoOf,
  familyOf,
  KernelError,
  prefixAddress,
  type Address,
  type IpFamily,
} from '../base/index.ts';
import { Attributes, attribute, nest } from './attributes.ts';
import type { ConntrackMatch, Netns } from './contract.ts';
import type { Message } from './messages.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from './netlink.ts';
import { familyNumber } from './route.ts';
import { offThread } from './turnstile.ts';

const NFNL_SUBSYS_CTNETLINK = 1;
const GET = (NFNL_SUBSYS_CTNETLINK << 8) | 1;
const DELETE = (NFNL_SUBSYS_CTNETLINK << 8) | 2;
const CTA = { original: 1, reply: 2, protocolInfo: 4, id: 12, zone: 18 } as const;
const CTA_TUPLE = { ip: 1, protocol: 2 } as const;
const CTA_IP = { 4: { source: 1, destination: 2 }, 6: { source: 3, destination: 4 } } as const;
const CTA_PROTO = { number: 1, destinationPort: 3 } as const;
const CTA_PROTOINFO_TCP = 1;
const CTA_TCP_STATE = 1;
const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;
/** Both sides have said that they are done: last ACK, time-wait, closed (linux/netfilter/nf_conntrack_tcp.h). */
const TCP_OVER: ReadonlySet<number> = new Set([6, 7, 8]);
const NFGENMSG_SIZE = 4;
/** First octet of IPv4 addresses that are the host's own without being on a link (RFC 1122 §3.2.1.3). */
const LOOPBACK_NET = 127;
/** Deletions between two turns of the event loop. */
const DELETIONS_A_TURN = 200;

/** Refusals of the list that mean that this kernel tracks no connections, or not of this family. */
const NO_CONNTRACK = ['EINVAL', 'EOPNOTSUPP', 'EPROTONOSUPPORT', 'EAFNOSUPPORT', 'ENOENT'];

/** struct nfgenmsg */
const generic = (family: number): Buffer => Buffer.from([family, 0, 0, 0]);

const NONE = Buffer.alloc(0);

type Predicate = (flow: Attributes) => boolean;
type IsOurs = (address: Buffer | undefined) => boolean;

const octets = (address: Address | undefined): Buffer | undefined =>
  address === undefined ? undefined : Buffer.from(addressBytes(address));

const key = (bytes: Buffer): string => bytes.toString('latin1');

/** Compares octets, since a busy host has hundreds of thousands of flows to look at. */
function predicate(match: ConntrackMatch, isOurs: IsOurs): Predicate {
  const address = octets(match.address);
  const destination = octets(match.originalDestination);
  const { protocol, originalDestinationPort: port } = match;
  const answering = match.notAnsweredBy && new Set(match.notAnsweredBy.map((one) => key(octets(one) ?? NONE)));
  const ip = CTA_IP[match.family];
  return (flow) => {
    const original = flow.nested(CTA.original);
    const from = original.nested(CTA_TUPLE.ip);
    if (destination !== undefined && from.bytes(ip.destination)?.equals(destination) !== true) return false;
    if (match.isToHost === true && !isOurs(from.bytes(ip.destination))) return false;
    if (protocol !== undefined || port !== undefined) {
      const transport = original.nested(CTA_TUPLE.protocol);
      if (protocol !== undefined && transport.u8(CTA_PROTO.number) !== PROTOCOLS[protocol]) return false;
      if (port !== undefined && transport.u16be(CTA_PROTO.destinationPort) !== port) return false;
    }
    if (answering !== undefined) {
      const by = flow.nested(CTA.reply).nested(CTA_TUPLE.ip).bytes(ip.source);
      if (by !== undefined && answering.has(key(by))) return false;
    }
    if (address === undefined) return true;
    return (
      from.bytes(ip.source)?.equals(address) === true ||
      from.bytes(ip.destination)?.equals(address) === true ||
      flow.nested(CTA.reply).nested(CTA_TUPLE.ip).bytes(ip.source)?.equals(address) === true
    );
  };
}

const isAddressOnly = (match: ConntrackMatch): boolean =>
  match.address !== undefined &&
  match.protocol === undefined &&
  match.originalDestination === undefined &&
  match.originalDestinationPort === undefined &&
  match.isToHost === undefined &&
  match.notAnsweredBy === undefined;

/** True for a flow that any of the matches means. Many by address alone, or each by a port of its own, cost no more than one. */
function anyOf(matches: readonly ConntrackMatch[], family: IpFamily, isOurs: IsOurs): Predicate {
  const addresses = new Set(matches.filter(isAddressOnly).map(({ address }) => key(octets(address) ?? NONE)));
  const ofAnyPort: Predicate[] = [];
  const byPort = new Map<number, Predicate[]>();
  for (const match of matches) {
    if (isAddressOnly(match)) continue;
    const isWanted = predicate(match, isOurs);
    const { originalDestinationPort: port } = match;
    if (port === undefined) ofAnyPort.push(isWanted);
    else byPort.set(port, [...(byPort.get(port) ?? []), isWanted]);
  }
  const ip = CTA_IP[family];
  const has = (bytes: Buffer | undefined): boolean => bytes !== undefined && addresses.has(key(bytes));
  return (flow) => {
    if (addresses.size > 0) {
      const from = flow.nested(CTA.original).nested(CTA_TUPLE.ip);
      if (has(from.bytes(ip.source)) || has(from.bytes(ip.destination))) return true;
      if (has(flow.nested(CTA.reply).nested(CTA_TUPLE.ip).bytes(ip.source))) return true;
    }
    if (ofAnyPort.some((isWanted) => isWanted(flow))) return true;
    if (byPort.size === 0) return false;
    const port = flow.nested(CTA.original).nested(CTA_TUPLE.protocol).u16be(CTA_PROTO.destinationPort);
    return port !== undefined && byPort.get(port)?.some((isWanted) => isWanted(flow)) === true;
  };
}

/** Looks at the addresses only where a match asks for them. */
async function hostAddresses(netns: Netns, matches: readonly ConntrackMatch[], family: IpFamily): Promise<IsOurs> {
  if (!matches.some(({ isToHost }) => isToHost)) return () => false;
  const all = (await netns.rtnl().address.list()).map(({ prefix }) => prefixAddress(prefix));
  const ours = new Set(all.filter((address) => familyOf(address) === family).map((address) => key(octets(address) ?? NONE)));
  return (address) => address !== undefined && (ours.has(key(address)) || (family === 4 && address[0] === LOOPBACK_NET));
}

/** Names exactly this flow: its id guards against a new flow between the same ends. */
function deletion(flow: Attributes, family: number): Message | undefined {
  const original = flow.bytes(CTA.original);
  if (original === undefined) return undefined;
  const zone = flow.bytes(CTA.zone);
  const id = flow.bytes(CTA.id);
  const body = [
    generic(family),
    nest(CTA.original, original),
    ...(zone === undefined ? [] : [attribute(CTA.zone, zone)]),
    ...(id === undefined ? [] : [attribute(CTA.id, id)]),
  ];
  return { type: DELETE, body: Buffer.concat(body) };
}

/** Undefined where the kernel tracks no connections. */
function findFlows(netns: Netns): NetlinkSocket | undefined {
  try {
    return NetlinkSocket.open(netns, NETLINK_NETFILTER);
  } catch (error) {
    if (NO_CONNTRACK.includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

async function list<T>(socket: NetlinkSocket, family: IpFamily, read: (flow: Attributes) => T | undefined): Promise<T[]> {
  try {
    return await socket.dumpInTurns({ type: GET, body: generic(familyNumber(family)) }, 'flows', (body) =>
      read(new Attributes(body, NFGENMSG_SIZE)),
    );
  } catch (error) {
    if (NO_CONNTRACK.includes(errnoOf(error) ?? '')) return [];
    throw error;
  }
}

async function find(
  socket: NetlinkSocket,
  matches: readonly ConntrackMatch[],
  family: IpFamily,
  isOurs: IsOurs,
): Promise<Message[]> {
  const number = familyNumber(family);
  const isWanted = anyOf(matches, family, isOurs);
  return await list(socket, family, (flow) => (isWanted(flow) ? deletion(flow, number) : undefined));
}

/**
 * Deletes the flows that any of the matches means, all its given fields together, and answers how many went. Repeatable; 0
 * where the kernel tracks no connections. The kernel walks its whole table, of all namespaces, once a family: 10 ms and more,
 * off this thread. Throws internal for a match that is all flows.
 */
export async function deleteFlows(netns: Netns, matches: readonly ConntrackMatch[]): Promise<number> {
  for (const { address, originalDestination, originalDestinationPort } of matches) {
    if (address === undefined && originalDestination === undefined && originalDestinationPort === undefined) {
      throw new CnmError('internal', 'deleting every flow of a host is never meant');
    }
  }
  let deleted = 0;
  for (const family of [4, 6] as const) {
    const mine = matches.filter((match) => match.family === family);
    if (mine.length > 0) deleted += await offThread.pass(() => deleteFamily(netns, mine, family));
  }
  return deleted;
}

async function deleteFamily(netns: Netns, matches: readonly ConntrackMatch[], family: IpFamily): Promise<number> {
  using socket = findFlows(netns);
  if (socket === undefined) return 0;
  const isOurs = await hostAddresses(netns, matches, family);
  let deleted = 0;
  for (const [i, message] of (await find(socket, matches, family, isOurs)).entries()) {
    if (i % DELETIONS_A_TURN === DELETIONS_A_TURN - 1) await nextTick();
    const refused = socket.execute([message]);
    if (refused === undefined) deleted++;
    // Otherwise gone by itself meanwhile.
    else if (refused.errno !== 'ENOENT') throw new KernelError('delete flow', `IPv${family}`, refused.errno, refused.text);
  }
  return deleted;
}

/**
 * How many flows of TCP, UDP and SCTP that were asked of another address the given one answers; those of TCP that both sides
 * have ended do not count. Costs as deleteFlows.
 */
export async function countTranslatedFlows(netns: Netns, to: Address): Promise<number> {
  const family = familyOf(to);
  const ip = CTA_IP[family];
  const wanted = octets(to) ?? NONE;
  const isMeant = (flow: Attributes): boolean => {
    if (flow.nested(CTA.reply).nested(CTA_TUPLE.ip).bytes(ip.source)?.equals(wanted) !== true) return false;
    const original = flow.nested(CTA.original);
    if (original.nested(CTA_TUPLE.ip).bytes(ip.destination)?.equals(wanted) === true) return false;
    const protocol = original.nested(CTA_TUPLE.protocol).u8(CTA_PROTO.number) ?? 0;
    if (protocol !== PROTOCOLS.tcp) return protocol === PROTOCOLS.udp || protocol === PROTOCOLS.sctp;
    const state = flow.nested(CTA.protocolInfo).nested(CTA_PROTOINFO_TCP).u8(CTA_TCP_STATE);
    return state === undefined || !TCP_OVER.has(state);
  };
  return await offThread.pass(async () => {
    using socket = findFlows(netns);
    if (socket === undefined) return 0;
    return (await list(socket, family, (flow) => (isMeant(flow) ? true : undefined))).length;
  });
}
