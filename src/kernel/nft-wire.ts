/**
 * nf_tables over nfnetlink (linux/netfilter/nf_tables.h), without a process: its numbers, and expressions as octets. Messages
 * and transactions are nft-table.ts.
 */

import { attribute, nest, text, u32, u32be } from './attributes.ts';

export const LIST_ELEMENT = 1;
const EXPRESSION = { name: 1, data: 2 } as const;
export const DATA = { value: 1, verdict: 2 } as const;
export const VERDICT = { code: 1, chain: 2 } as const;
/** Name of a map that lives as long as the rule which uses it. */
export const NAMELESS = '__map%d';
export const NF_DROP = 0;
export const NF_ACCEPT = 1;
export const NFT_GOTO = -4;
/** Numbers of the families that a table can be of. */
export const FAMILY = { inet: 1, ipv4: 2, ipv6: 10 } as const;
export const HOOK = { prerouting: 0, forward: 2, output: 3, postrouting: 4 } as const;
/** Registers: 0 takes a verdict; 1 has four words, of which `word0` is the first, and `word1` the second. */
export const REGISTER = { verdict: 0, first: 1, second: 2, word0: 8, word1: 9 } as const;
export const PAYLOAD_BASE = { network: 1, transport: 2 } as const;
export const META = { mark: 3, family: 15, protocol: 16 } as const;
export const CT = { state: 0, status: 2, mark: 3 } as const;
/** Bits of CT.state and CT.status. */
export const CT_NEW = 8;
export const CT_TRANSLATED_TARGET = 32;
/** Types of keys and data, by which the tool `nft` knows how to show them. */
export const TYPE = { integer: 4, ipv4: 7, ipv6: 8, protocolAndPort: (12 << 6) | 13 } as const;

// Expressions

export const expression = (name: string, ...data: readonly Buffer[]): Buffer =>
  nest(LIST_ELEMENT, text(EXPRESSION.name, name), nest(EXPRESSION.data, ...data));

export const number = (type: number, value: number): Buffer => attribute(type, u32be(value));

export const loadPayload = (base: number, offset: number, length: number, to: number = REGISTER.first): Buffer =>
  expression('payload', number(1, to), number(2, base), number(3, offset), number(4, length));

export const loadMeta = (key: number, to: number = REGISTER.first): Buffer => expression('meta', number(1, to), number(2, key));

/** Gives the packet the mark. */
export const setMark = (mark: number): Buffer[] => [
  put(REGISTER.first, u32(mark)),
  expression('meta', number(3, REGISTER.first), number(2, META.mark)),
];

export const loadTracked = (key: number): Buffer => expression('ct', number(1, REGISTER.first), number(2, key));

export const value = (raw: Buffer): Buffer => attribute(DATA.value, raw);

const compare = (how: number, raw: Buffer): Buffer =>
  expression('cmp', number(1, REGISTER.first), number(2, how), nest(3, value(raw)));
export const equals = (raw: Buffer): Buffer => compare(0, raw);
export const differs = (raw: Buffer): Buffer => compare(1, raw);

/** Leaves only these bits of a word of the register. */
export const masked = (bits: number): Buffer =>
  expression(
    'bitwise',
    number(1, REGISTER.first),
    number(2, REGISTER.first),
    number(3, 4),
    nest(4, value(u32(bits))),
    nest(5, value(u32(0))),
  );

export const put = (register: number, raw: Buffer): Buffer => expression('immediate', number(1, register), nest(2, value(raw)));

export const verdictOf = (code: number, chain?: string): Buffer =>
  nest(DATA.verdict, number(VERDICT.code, code >>> 0), ...(chain === undefined ? [] : [text(VERDICT.chain, chain)]));

export const verdict = (code: number): Buffer => expression('immediate', number(1, REGISTER.verdict), nest(2, verdictOf(code)));

export const goTo = (chain: string): Buffer =>
  expression('immediate', number(1, REGISTER.verdict), nest(2, verdictOf(NFT_GOTO, chain)));

/** Goes on by the map's verdict for what is in the register; past the end of the rule without one. */
export const goBy = (map: string, from: number = REGISTER.first): Buffer =>
  expression('lookup', text(1, map), number(2, from), number(3, REGISTER.verdict));

/** The first register's value by a nameless map of this transaction; the rule ends where there is none. */
export const translateBy = (id: number): Buffer =>
  expression('lookup', text(1, NAMELESS), number(2, REGISTER.first), number(3, REGISTER.first), number(4, id));

/** 0, 1, … `count` − 1, and again, one each time. */
export const nextOf = (count: number): Buffer => expression('numgen', number(1, REGISTER.first), number(2, count), number(3, 0));

/** The destination becomes the address in the first register, and the port in the second where `hasPort`. */
export const translateTarget = (family: number, hasPort: boolean): Buffer =>
  expression('nat', number(1, 1), number(2, family), number(3, REGISTER.first), ...(hasPort ? [number(5, REGISTER.second)] : []));

/** The source becomes an address of the link that the packet leaves by. */
export const masquerade = (): Buffer => expression('masq');

/** Refuses by a TCP reset, or by ICMP port unreachable, of the packet's own family. */
export const refuse = (by: 'reset' | 'icmp'): Buffer =>
  by === 'reset'
    ? expression('reject', number(1, 1), attribute(2, Buffer.from([0])))
    : expression('reject', number(1, 2), attribute(2, Buffer.from([1])));
