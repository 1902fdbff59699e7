/** The nftables tables that we lay inside sandboxes, over nfnetlink (linux/netfilter/nf_tables.h), without a process. */

import { Attributes, attribute, u16be, u32 } from './attributes.ts';
import type { Netns } from './contract.ts';
import type { Message } from './messages.ts';
import { isRefusal } from './netlink.ts';
import { chainUses, openNetfilter, refusedTable, removeTable, TableWriter, transaction } from './nft-table.ts';
import {
  equals,
  expression,
  FAMILY,
  HOOK,
  loadMeta,
  loadPayload,
  META,
  NF_ACCEPT,
  NF_DROP,
  number,
  PAYLOAD_BASE,
  put,
  REGISTER,
  verdict,
} from './nft-wire.ts';

/** Before connection tracking, and behind translation, filter and security (linux/netfilter_ipv4.h). */
const PRIORITY = { raw: -300, last: 90 } as const;
const NFT_PAYLOAD_CSUM_INET = 1;
/** Attribute of a table (NFTA_TABLE_FLAGS), behind struct nfgenmsg, and the flag that a process owns it (NFT_TABLE_F_OWNER). */
const TABLE_FLAGS = 2;
const GENERIC_SIZE = 4;
const OWNED = 2;

const ICMP = 1;
const UDP = 17;
const TCP = 6;
/** Where each protocol keeps its checksum, octets from its header's start. */
const CHECKSUM_AT: Readonly<Record<number, number>> = { [ICMP]: 2, [UDP]: 6, [TCP]: 16 };
const SOURCE_PORT_AT = 0;
const TARGET_PORT_AT = 2;
/** In an ICMP error: its own header, then the refused packet's IP header (we send no options) up to its target port. */
const REFUSED_PORT_AT = 8 + 20 + TARGET_PORT_AT;
const DNS_PORT = 53;
const RESOLVER = Buffer.from([127, 0, 0, 11]);
/** Questions a second that one sandbox may send: about what the keeper answers at most; its own quotas share that out. */
const DEFAULT_RATE = 300_000;

// Expressions

function u64be(value: number): Buffer {
  const raw = Buffer.alloc(8);
  raw.writeBigUInt64BE(BigInt(value));
  return raw;
}

/** Writes into the transport header, whose checksum follows. */
const putTransport = (protocol: number, at: number, value: Buffer): Buffer[] => [
  put(REGISTER.first, value),
  expression(
    'payload',
    number(2, PAYLOAD_BASE.transport),
    number(3, at),
    number(4, value.length),
    number(5, REGISTER.first),
    number(6, NFT_PAYLOAD_CSUM_INET),
    number(7, CHECKSUM_AT[protocol] ?? 0),
  ),
];

/** True up to the rate; a burst of a tenth of a second passes. */
const within = (perSecond: number): Buffer =>
  expression(
    'limit',
    attribute(1, u64be(perSecond)),
    attribute(2, u64be(1)),
    number(3, Math.max(5, Math.ceil(perSecond / 10))),
    number(4, 0),
    number(5, 0),
  );

/** Packets of the protocol from or to (`addressAt` in the IP header) 127.0.0.11 with the port at `portAt`. */
const ofResolver = (addressAt: number, protocol: number, portAt: number, port: number): Buffer[] => [
  loadPayload(PAYLOAD_BASE.network, addressAt, 4),
  equals(RESOLVER),
  loadMeta(META.protocol),
  equals(Buffer.from([protocol])),
  loadPayload(PAYLOAD_BASE.transport, portAt, 2),
  equals(u16be(port)),
];
const fromResolver = ofResolver.bind(undefined, 12);
const toResolver = ofResolver.bind(undefined, 16);

interface ResolverRedirect {
  /** Name of the nft table, which is ours alone. */
  readonly table: string;
  /** Ports on 127.0.0.11 that the resolver listens on. */
  readonly udp: number;
  readonly tcp: number;
  /** UDP questions a second above which the rest is dropped in the kernel. Default 300,000. */
  readonly ratePerSecond?: number;
  /**
   * Somebody else's resolver has 127.0.0.11:53 too: questions come to ours before any translation, but for those that carry this
   * mark, which go on to it. Absent: ours is the only one.
   */
  readonly passMark?: number;
}

/**
 * Sends what the sandbox asks of 127.0.0.11:53 to the resolver's own ports, and drops what exceeds the rate before it
 * costs anything. Replaces an earlier table of the name in one transaction. Throws kernel_lacks without nf_tables.
 */
export function installResolverRedirect(netns: Netns, redirect: ResolverRedirect): void {
  const { table } = redirect;
  using socket = openNetfilter(netns);
  // A removal makes the kernel wait some 12 ms for readers of the old rules, hence only where there are any.
  const writer = new TableWriter(FAMILY.ipv4, table);
  let refused = socket.executeTransaction(transaction(writer.addNewTable(), ...contents(writer, redirect)));
  if (refused?.errno === 'EEXIST') {
    const anew = [writer.addTable(), writer.deleteTable(), writer.addTable()];
    refused = socket.executeTransaction(transaction(...anew, ...contents(writer, redirect)));
  }
  if (refused !== undefined) throw refusedTable(table, refused);
}

/** Whether the redirect's chains have at least as many rules as were laid. */
export function hasResolverRedirect(netns: Netns, { table, passMark }: Pick<ResolverRedirect, 'table' | 'passMark'>): boolean {
  using socket = openNetfilter(netns);
  const counts = { ...RULES, questions: RULES.questions + (passMark === undefined ? 0 : 1) };
  return Object.entries(counts).every(([chain, count]) => {
    const uses = socket.request(new TableWriter(FAMILY.ipv4, table).askChain(chain), chainUses);
    return !isRefusal(uses) && uses >= count;
  });
}

/** Whether a process has a table of the name for itself: nobody else can change it, and it goes with the process. None of ours is. */
export function isTableOwned(netns: Netns, table: string): boolean {
  using socket = openNetfilter(netns);
  const flags = socket.request(new TableWriter(FAMILY.ipv4, table).askTable(), (body) =>
    new Attributes(body, GENERIC_SIZE).bytes(TABLE_FLAGS)?.readUInt32BE(),
  );
  return flags !== undefined && !isRefusal(flags) && (flags & OWNED) !== 0;
}

/** As installResolverRedirect where something of it is gone; one that is there stays as it is. */
export function restoreResolverRedirect(netns: Netns, redirect: ResolverRedirect): void {
  if (!hasResolverRedirect(netns, redirect)) installResolverRedirect(netns, redirect);
}

/** Rules of each chain below; one more for a mark that passes. */
const RULES = { answers: 3, questions: 3 } as const;

/** Where others translate: their tracking and translation see the resolver's own ports, both ways. */
const BEFORE = { questions: PRIORITY.raw, answers: PRIORITY.last } as const;
/** Where nobody does: all that the sandbox has itself sees port 53, both ways. */
const BEHIND = { questions: PRIORITY.last, answers: PRIORITY.raw } as const;

/**
 * Ports are rewritten packet by packet: NAT would track each question as a connection, which costs a sixth of the answers a
 * second. Tracking, translation and output filters of the sandbox's own see port 53 both ways, and come first.
 */
function contents(writer: TableWriter, { udp, tcp, ratePerSecond, passMark }: ResolverRedirect): Message[] {
  const at = passMark === undefined ? BEHIND : BEFORE;
  const pass = passMark === undefined ? [] : [loadMeta(META.mark), equals(u32(passMark)), verdict(NF_ACCEPT)];
  const dns = u16be(DNS_PORT);
  const refused = (port: number): Buffer[] => [
    ...fromResolver(ICMP, REFUSED_PORT_AT, port),
    ...putTransport(ICMP, REFUSED_PORT_AT, dns),
  ];
  const output = (priority: number) => ({ type: 'filter', at: HOOK.output, priority }) as const;
  return [
    writer.addChain('answers', output(at.answers)),
    writer.addRule('answers', [...fromResolver(UDP, SOURCE_PORT_AT, udp), ...putTransport(UDP, SOURCE_PORT_AT, dns)]),
    writer.addRule('answers', [...fromResolver(TCP, SOURCE_PORT_AT, tcp), ...putTransport(TCP, SOURCE_PORT_AT, dns)]),
    writer.addRule('answers', refused(udp)),
    writer.addChain('questions', output(at.questions)),
    ...(pass.length > 0 ? [writer.addRule('questions', pass)] : []),
    writer.addRule('questions', [
      ...toResolver(UDP, TARGET_PORT_AT, DNS_PORT),
      within(ratePerSecond ?? DEFAULT_RATE),
      ...putTransport(UDP, TARGET_PORT_AT, u16be(udp)),
      verdict(NF_ACCEPT),
    ]),
    writer.addRule('questions', [...toResolver(UDP, TARGET_PORT_AT, DNS_PORT), verdict(NF_DROP)]),
    writer.addRule('questions', [...toResolver(TCP, TARGET_PORT_AT, DNS_PORT), ...putTransport(TCP, TARGET_PORT_AT, u16be(tcp))]),
  ];
}

/** Accepts what is gone already, and a kernel without nf_tables. Works off this thread: the kernel takes some 12 ms. */
export const removeResolverRedirect = (netns: Netns, table: string): Promise<void> => removeTable(netns, FAMILY.ipv4, table);
