/**
 * Names of our chains, and the one place where outside text becomes part of a rule. Every chain of an instance carries its
 * tag, so that two daemons share a host and a sweep needs no store. iptables takes names of up to 28 characters.
 */

import { createHash } from 'node:crypto';
import { CnmError, networkOf, tryAddress, tryPrefix, type Address, type Prefix } from '../../base/index.ts';

export type TableName = 'filter' | 'nat' | 'raw';
export const TABLES: readonly TableName[] = ['filter', 'raw', 'nat'];

/** For the administrator's own rules; shared by all instances of a host, never flushed. */
export const USER_CHAIN = 'PATCHBAY-USER';

export interface ChainNames {
  /** Entered from FORWARD. */
  readonly forward: string;
  /** Internal networks lead nowhere else. */
  readonly internal: string;
  /** What goes to a bridge, by bridge. */
  readonly incoming: string;
  /** What comes from a bridge. */
  readonly outgoing: string;
  /** Host ports to endpoints, by port. */
  readonly dnat: string;
  /** Source addresses of what leaves. */
  readonly snat: string;
  /** What no interface may deliver. */
  readonly raw: string;
  /** Host ports that are bound to a loopback address. */
  readonly loopback: string;
  /** Accepts what answers. Like the four below laid once; networks only jump to it, see compileBase. */
  readonly answers: string;
  /** Drops what came under the endpoint's own address instead of through a host port. */
  readonly direct: string;
  /** Masquerades all. */
  readonly masquerade: string;
  /** Masquerades what came through a host port. */
  readonly hairpin: string;
  /** Masquerades what the host itself sends. */
  readonly local: string;
  /** Whether a chain is of this instance. */
  isOurs(chain: string): boolean;
  /** Whether the order of its rules means something; such a chain is written as a whole. */
  isOrdered(chain: string): boolean;
  /** Addresses of one bridge, which only its own link may deliver to. */
  closed(link: string): string;
  /** One bridge's incoming packets. */
  bridge(link: string): string;
  /** Endpoints of one bridge that have published ports. */
  published(link: string): string;
  /** Host ports of one block of 256, so that no list grows with the number of published ports. */
  block(hostPort: number): string;
  endpoint(owner: string): string;
}

export function chainNames(tag: string): ChainNames {
  const base = `PATCHBAY-${tag}`;
  const ofLinks = new RegExp(`^PB[DENPR]-${tag}-`);
  const inOrder = new RegExp(`^PB[NR]-${tag}-`);
  return {
    forward: base,
    internal: `${base}-INT`,
    incoming: `${base}-IN`,
    outgoing: `${base}-OUT`,
    dnat: `${base}-DNAT`,
    snat: `${base}-SNAT`,
    raw: `${base}-RAW`,
    loopback: `${base}-LO`,
    answers: `${base}-EST`,
    direct: `${base}-DIR`,
    masquerade: `${base}-MASQ`,
    hairpin: `${base}-HAIR`,
    local: `${base}-HOST`,
    isOurs: (chain) => chain === base || chain.startsWith(`${base}-`) || ofLinks.test(chain),
    isOrdered: (chain) => chain === base || inOrder.test(chain),
    closed: (link) => `PBR-${tag}-${linkText(link)}`,
    bridge: (link) => `PBN-${tag}-${linkText(link)}`,
    published: (link) => `PBP-${tag}-${linkText(link)}`,
    block: (hostPort) => `PBD-${tag}-${(hostPort >> 8).toString(16).padStart(2, '0')}`,
    endpoint: (owner) => `PBE-${tag}-${ownerText(owner)}`,
  };
}

/** True for the chain that any instance enters from FORWARD. */
export const isForwardChain = (chain: string): boolean => /^PATCHBAY-[0-9a-f]{8}$/.test(chain);

const ownerText = (owner: string): string =>
  /^[0-9a-f]{12}/.test(owner) ? owner.slice(0, 12) : createHash('sha256').update(owner).digest('hex').slice(0, 12);

/** A link's name as rule text. A plus at its end would mean any link that begins so. Throws bad_option. */
export function linkText(name: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}$/.test(name)) {
    throw new CnmError('bad_option', `link name ${JSON.stringify(name)} cannot be used in firewall rules`);
  }
  return name;
}

/** An address as rule text. Throws bad_address. */
export function addressText(address: Address): string {
  const text = tryAddress(address);
  if (text === undefined) throw new CnmError('bad_address', `invalid address in a firewall rule: ${JSON.stringify(address)}`);
  return text;
}

/** A prefix as rule text, without host bits. Throws bad_subnet. */
export function prefixText(prefix: Prefix): string {
  const text = tryPrefix(prefix);
  if (text === undefined) throw new CnmError('bad_subnet', `invalid prefix in a firewall rule: ${JSON.stringify(prefix)}`);
  return networkOf(text);
}

/** First and last port as rule text. Throws bad_port. */
export function portText(from: number, to: number): string {
  for (const port of [from, to]) {
    if (!Number.isInteger(port) || port < 1 || port > 65535)
      throw new CnmError('bad_port', `invalid port in a firewall rule: ${port}`);
  }
  return from === to ? String(from) : `${from}:${to}`;
}
