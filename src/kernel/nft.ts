/** The nftables tables that we lay inside sandboxes, over nfnetlink (linux/netfilter/nf_tables.h), without a process. */

import { CnmError, codeOf, errnoOf, KernelError } from '../base/index.ts';
import { Attributes, attribute, nest, text, u16be, u32be } from './attributes.ts';
import type { Netns } from './contract.ts';
import type { Message } from './messages.ts';
import { isRefusal, NETLINK_NETFILTER, NetlinkSocket, NLM_F_CREATE, NLM_F_EXCL } from './netlink.ts';
import { offThread } from './turnstile.ts';

const NLM_F_ACK = 4;
const NLM_F_APPEND = 0x800;
const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFPROTO_IPV4 = 2;
const MSG = { newTable: 0, deleteTable: 2, newChain: 3, getChain: 4, newRule: 6, getGeneration: 16 } as const;
const TABLE_NAME = 1;
const CHAIN = { table: 1, name: 3, hook: 4, policy: 5, uses: 6, type: 7 } as const;
const HOOK = { number: 1, priority: 2 } as const;
const RULE = { table: 1, chain: 2, expressions: 4 } as const;
const LIST_ELEMENT = 1;
const EXPRESSION = { name: 1, data: 2 } as const;
const DATA = { value: 1, verdict: 2 } as const;
const VERDICT_CODE = 1;
const NF_DROP = 0;
const NF_ACCEPT = 1;
const NF_INET_LOCAL_OUT = 3;
/** Before connection tracking, and behind translation, filter and security (linux/netfilter_ipv4.h). */
const PRIORITY = { raw: -300, last: 90 } as const;
/** Registers: 0 takes a verdict, the others four words each. */
const REGISTER = { verdict: 0, first: 1 } as const;
const PAYLOAD_BASE = { network: 1, transport: 2 } as const;
const META_L4PROTO = 16;
const NFT_PAYLOAD_CSUM_INET = 1;

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

/** struct nfgenmsg: unspecified family. */
const GENERIC = Buffer.alloc(4);
const GENERATION_ID = 1;

/** Counts the changes of all nf_tables rules of the namespace, by whomever; undefined where the kernel has no nf_tables. */
export function nftGeneration(netns: Netns): number | undefined {
  using socket = findNetfilter(netns);
  const type = (NFNL_SUBSYS_NFTABLES << 8) | MSG.getGeneration;
  const answer = socket?.request({ type, body: GENERIC }, (body) =>
    new Attributes(body, GENERIC.length).bytes(GENERATION_ID)?.readUInt32BE(),
  );
  return isRefusal(answer) ? undefined : answer;
}

// Expressions

const expression = (name: string, ...data: readonly Buffer[]): Buffer =>
  nest(LIST_ELEMENT, text(EXPRESSION.name, name), nest(EXPRESSION.data, ...data));

const number = (type: number, value: number): Buffer => attribute(type, u32be(value));

function u64be(value: number): Buffer {
  const raw = Buffer.alloc(8);
  raw.writeBigUInt64BE(BigInt(value));
  return raw;
}

const loadPayload = (base: number, offset: number, length: number): Buffer =>
  expression('payload', number(1, REGISTER.first), number(2, base), number(3, offset), number(4, length));

const loadProtocol = (): Buffer => expression('meta', number(1, REGISTER.first), number(2, META_L4PROTO));

const equals = (value: Buffer): Buffer =>
  expression('cmp', number(1, REGISTER.first), number(2, 0), nest(3, attribute(DATA.value, value)));

const verdict = (code: number): Buffer =>
  expression('immediate', number(1, REGISTER.verdict), nest(2, nest(DATA.verdict, number(VERDICT_CODE, code))));

/** Writes into the transport header, whose checksum follows. */
const putTransport = (protocol: number, at: number, value: Buffer): Buffer[] => [
  expression('immediate', number(1, REGISTER.first), nest(2, attribute(DATA.value, value))),
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
  loadProtocol(),
  equals(Buffer.from([protocol])),
  loadPayload(PAYLOAD_BASE.transport, portAt, 2),
  equals(u16be(port)),
];
const fromResolver = ofResolver.bind(undefined, 12);
const toResolver = ofResolver.bind(undefined, 16);

// Messages

function message(type: number, flags: number, ...attributes: readonly Buffer[]): Message {
  const header = Buffer.from([NFPROTO_IPV4, 0, 0, 0]);
  return { type: (NFNL_SUBSYS_NFTABLES << 8) | type, flags: flags | NLM_F_ACK, body: Buffer.concat([header, ...attributes]) };
}

function border(type: number): Message {
  const body = Buffer.alloc(4);
  body.writeUInt16BE(NFNL_SUBSYS_NFTABLES, 2);
  return { type, body };
}

const addTable = (table: string, flags = 0): Message => message(MSG.newTable, NLM_F_CREATE | flags, text(TABLE_NAME, table));
const deleteTable = (table: string): Message => message(MSG.deleteTable, 0, text(TABLE_NAME, table));

const addChain = (table: string, name: string, type: string, priority: number): Message =>
  message(
    MSG.newChain,
    NLM_F_CREATE,
    text(CHAIN.table, table),
    text(CHAIN.name, name),
    nest(CHAIN.hook, number(HOOK.number, NF_INET_LOCAL_OUT), number(HOOK.priority, priority >>> 0)),
    number(CHAIN.policy, NF_ACCEPT),
    text(CHAIN.type, type),
  );

const addRule = (table: string, chain: string, ...expressions: readonly Buffer[]): Message =>
  message(
    MSG.newRule,
    NLM_F_CREATE | NLM_F_APPEND,
    text(RULE.table, table),
    text(RULE.chain, chain),
    nest(RULE.expressions, ...expressions),
  );

function openNetfilter(netns: Netns): NetlinkSocket {
  try {
    return NetlinkSocket.open(netns, NETLINK_NETFILTER);
  } catch (error) {
    if (errnoOf(error) === 'EPROTONOSUPPORT') throw lacksNftables();
    throw error;
  }
}

/** Undefined where the kernel has no nf_tables. */
function findNetfilter(netns: Netns): NetlinkSocket | undefined {
  try {
    return openNetfilter(netns);
  } catch (error) {
    if (codeOf(error) === 'kernel_lacks') return undefined;
    throw error;
  }
}

/** All of it or nothing. */
const transaction = (...messages: readonly Message[]): Message[] => [
  border(NFNL_MSG_BATCH_BEGIN),
  ...messages,
  border(NFNL_MSG_BATCH_END),
];

const lacksNftables = (): CnmError =>
  new CnmError('kernel_lacks', 'the kernel has no nf_tables for IPv4 with limits (nf_tables, nf_tables_ipv4, nft_limit)');

/** nfnetlink answers so when nobody handles the subsystem, a chain type or an expression. */
const LACKING = ['EOPNOTSUPP', 'ENOENT', 'EAFNOSUPPORT'];

interface ResolverRedirect {
  /** Name of the nft table, which is ours alone. */
  readonly table: string;
  /** Ports on 127.0.0.11 that the resolver listens on. */
  readonly udp: number;
  readonly tcp: number;
  /** UDP questions a second above which the rest is dropped in the kernel. Default 300,000. */
  readonly ratePerSecond?: number;
}

/**
 * Sends what the sandbox asks of 127.0.0.11:53 to the resolver's own ports, and drops what exceeds the rate before it
 * costs anything. Replaces an earlier table of the name in one transaction. Throws kernel_lacks without nf_tables.
 */
export function installResolverRedirect(netns: Netns, redirect: ResolverRedirect): void {
  const { table } = redirect;
  using socket = openNetfilter(netns);
  // A removal makes the kernel wait some 12 ms for readers of the old rules, hence only where there are any.
  let refused = socket.executeTransaction(transaction(addTable(table, NLM_F_EXCL), ...contents(redirect)));
  if (refused?.errno === 'EEXIST') {
    refused = socket.executeTransaction(transaction(addTable(table), deleteTable(table), addTable(table), ...contents(redirect)));
  }
  if (refused === undefined) return;
  if (LACKING.includes(refused.errno)) throw lacksNftables();
  throw new KernelError('nft', `table ${table}`, refused.errno, refused.text);
}

/** Whether the redirect's chains have at least as many rules as were laid. */
export function hasResolverRedirect(netns: Netns, table: string): boolean {
  using socket = openNetfilter(netns);
  return Object.entries(RULES).every(([chain, count]) => {
    const ask = message(MSG.getChain, 0, text(CHAIN.table, table), text(CHAIN.name, chain));
    const uses = socket.request(ask, (body) => new Attributes(body, GENERIC.length).bytes(CHAIN.uses)?.readUInt32BE() ?? 0);
    return !isRefusal(uses) && uses >= count;
  });
}

/** As installResolverRedirect where something of it is gone; one that is there stays as it is. */
export function restoreResolverRedirect(netns: Netns, redirect: ResolverRedirect): void {
  if (!hasResolverRedirect(netns, redirect.table)) installResolverRedirect(netns, redirect);
}

/** Rules of each chain below. */
const RULES = { answers: 3, questions: 3 } as const;

/**
 * Ports are rewritten packet by packet: NAT would track each question as a connection, which costs a sixth of the answers a
 * second. Tracking, translation and output filters of the sandbox's own see port 53 both ways, and come first.
 */
function contents({ table, udp, tcp, ratePerSecond }: ResolverRedirect): Message[] {
  const dns = u16be(DNS_PORT);
  const refused = (port: number): Buffer[] => [
    ...fromResolver(ICMP, REFUSED_PORT_AT, port),
    ...putTransport(ICMP, REFUSED_PORT_AT, dns),
  ];
  return [
    addChain(table, 'answers', 'filter', PRIORITY.raw),
    addRule(table, 'answers', ...fromResolver(UDP, SOURCE_PORT_AT, udp), ...putTransport(UDP, SOURCE_PORT_AT, dns)),
    addRule(table, 'answers', ...fromResolver(TCP, SOURCE_PORT_AT, tcp), ...putTransport(TCP, SOURCE_PORT_AT, dns)),
    addRule(table, 'answers', ...refused(udp)),
    addChain(table, 'questions', 'filter', PRIORITY.last),
    addRule(
      table,
      'questions',
      ...toResolver(UDP, TARGET_PORT_AT, DNS_PORT),
      within(ratePerSecond ?? DEFAULT_RATE),
      ...putTransport(UDP, TARGET_PORT_AT, u16be(udp)),
      verdict(NF_ACCEPT),
    ),
    addRule(table, 'questions', ...toResolver(UDP, TARGET_PORT_AT, DNS_PORT), verdict(NF_DROP)),
    addRule(table, 'questions', ...toResolver(TCP, TARGET_PORT_AT, DNS_PORT), ...putTransport(TCP, TARGET_PORT_AT, u16be(tcp))),
  ];
}

/** Accepts what is gone already, and a kernel without nf_tables. Works off this thread: the kernel takes some 12 ms. */
export async function removeResolverRedirect(netns: Netns, table: string): Promise<void> {
  const refused = await offThread.pass(async () => {
    using socket = findNetfilter(netns);
    return await socket?.executeTransactionOffThread(transaction(deleteTable(table)));
  });
  if (refused !== undefined && !LACKING.includes(refused.errno))
    throw new KernelError('nft', `table ${table}`, refused.errno, refused.text);
}
