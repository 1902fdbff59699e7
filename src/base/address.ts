/**
 * Addresses, prefixes and MACs as canonical strings with brands: they travel through JSON unchanged and compare with ===.
 * IPv6 text is RFC 5952. Arithmetic goes through bigint.
 */

import { randomBytes } from 'node:crypto';
import { isIPv4, isIPv6 } from 'node:net';
import { Address4, Address6 } from 'ip-address';
import { CnmError } from './errors.ts';

export type IpFamily = 4 | 6;
/** One IP address, such as `10.0.0.1` or `fd00::1`; never with a zone or a length. */
export type Address = string & { readonly __address: 'ip' };
/** Address and length, such as `10.0.0.1/24`. Host bits may be set: it is also an interface's address. */
export type Prefix = string & { readonly __address: 'prefix' };
/** Six lower-case hexadecimal pairs. */
export type Mac = string & { readonly __address: 'mac' };

export const BITS: Readonly<Record<IpFamily, number>> = { 4: 32, 6: 128 };

/** Parses one address. Throws bad_address. */
export function parseAddress(text: string): Address {
  const address = tryAddress(text);
  if (address === undefined)
    throw new CnmError('bad_address', `invalid IP address: ${JSON.stringify(text)}; use one plain IPv4 or IPv6 address`);
  return address;
}

/** The canonical form, or undefined when `text` is not one plain address. */
export function tryAddress(text: string): Address | undefined {
  if (isIPv4(text)) return text as Address;
  if (isIPv6(text) && !text.includes('%')) return new Address6(text).correctForm() as Address;
  return undefined;
}

export function familyOf(value: Address | Prefix): IpFamily {
  return value.includes(':') ? 6 : 4;
}

export function addressToBigInt(address: Address): bigint {
  return familyOf(address) === 4 ? new Address4(address).bigInt() : new Address6(address).bigInt();
}

/** Throws bad_address when `value` does not fit the family. */
export function addressFromBigInt(value: bigint, family: IpFamily): Address {
  if (value < 0n || value >= 1n << BigInt(BITS[family])) {
    throw new CnmError('bad_address', `address number ${value} does not fit IPv${family}`);
  }
  return (family === 4 ? Address4.fromBigInt(value).correctForm() : Address6.fromBigInt(value).correctForm()) as Address;
}

/** Network-order octets: 4 or 16. */
export function addressBytes(address: Address): Uint8Array {
  if (familyOf(address) === 4) return Uint8Array.from(address.split('.'), Number);
  const bytes = new Uint8Array(16);
  let value = addressToBigInt(address);
  for (let i = 15; i >= 0; i--) {
    bytes[i] = Number(value & 0xffn);
    value >>= 8n;
  }
  return bytes;
}

/** Inverse of addressBytes. */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length === 4) return bytes.join('.') as Address;
  // A look at the host reads thousands of these; the package needs some ten objects for each.
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0));
  const { from, length } = longestZeros(groups);
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  if (length < 2) return text(groups) as Address;
  return `${text(groups.slice(0, from))}::${text(groups.slice(from + length))}` as Address;
}

/** The run that `::` stands for: the first one of the longest (RFC 5952 §4.2.3). */
function longestZeros(groups: readonly number[]): { readonly from: number; readonly length: number } {
  let best = { from: 0, length: 0 };
  for (let from = 0; from < groups.length; from++) {
    let end = from;
    while (groups[end] === 0) end++;
    if (end - from > best.length) best = { from, length: end - from };
  }
  return best;
}

/** The IPv4 address inside `::ffff:a.b.c.d`, or undefined. */
export function unmapped(address: Address): Address | undefined {
  if (familyOf(address) === 4) return undefined;
  const value = addressToBigInt(address);
  return value >> 32n === 0xffffn ? addressFromBigInt(value & 0xffffffffn, 4) : undefined;
}

export const isUnspecified = (address: Address): boolean => addressToBigInt(address) === 0n;

export function isLoopback(address: Address): boolean {
  return familyOf(address) === 4 ? address.startsWith('127.') : addressToBigInt(address) === 1n;
}

export function isMulticast(address: Address): boolean {
  const value = addressToBigInt(address);
  return familyOf(address) === 4 ? value >> 28n === 0xen : value >> 120n === 0xffn;
}

export function isLinkLocal(address: Address): boolean {
  const value = addressToBigInt(address);
  return familyOf(address) === 4 ? value >> 16n === 0xa9fen : value >> 118n === 0x3fan;
}

/** Parses `address/length`; keeps host bits. Throws bad_subnet. */
export function parsePrefix(text: string): Prefix {
  const prefix = tryPrefix(text);
  if (prefix === undefined) throw new CnmError('bad_subnet', `invalid CIDR block: ${JSON.stringify(text)}`);
  return prefix;
}

export function tryPrefix(text: string): Prefix | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = match?.[1] === undefined ? undefined : tryAddress(match[1]);
  const length = Number(match?.[2]);
  if (address === undefined || length > BITS[familyOf(address)] || String(length) !== match?.[2]) return undefined;
  return `${address}/${length}` as Prefix;
}

export const makePrefix = (address: Address, length: number): Prefix => `${address}/${length}` as Prefix;

export const prefixAddress = (prefix: Prefix): Address => prefix.slice(0, prefix.indexOf('/')) as Address;

export const prefixLength = (prefix: Prefix): number => Number(prefix.slice(prefix.indexOf('/') + 1));

/** First and last address number of the prefix, host bits ignored. */
export function prefixBounds(prefix: Prefix): { readonly first: bigint; readonly last: bigint } {
  const hostBits = BigInt(BITS[familyOf(prefix)] - prefixLength(prefix));
  const first = (addressToBigInt(prefixAddress(prefix)) >> hostBits) << hostBits;
  return { first, last: first + (1n << hostBits) - 1n };
}

/** The prefix with its host bits cleared. */
export function networkOf(prefix: Prefix): Prefix {
  return makePrefix(addressFromBigInt(prefixBounds(prefix).first, familyOf(prefix)), prefixLength(prefix));
}

export function prefixContains(prefix: Prefix, address: Address): boolean {
  if (familyOf(prefix) !== familyOf(address)) return false;
  const { first, last } = prefixBounds(prefix);
  const value = addressToBigInt(address);
  return value >= first && value <= last;
}

export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  if (familyOf(a) !== familyOf(b)) return false;
  const left = prefixBounds(a);
  const right = prefixBounds(b);
  return left.first <= right.last && right.first <= left.last;
}

/** Parses a unicast MAC in `aa:bb:…` or `aa-bb-…` form. Throws bad_mac. */
export function parseMac(text: string): Mac {
  const normal = text.toLowerCase().replaceAll('-', ':');
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(normal))
    throw new CnmError(
      'bad_mac',
      `invalid MAC address: ${JSON.stringify(text)}; use six hexadecimal pairs, such as 02:00:00:00:00:01`,
    );
  if (Number.parseInt(normal.slice(0, 2), 16) & 1 || normal === '00:00:00:00:00:00') {
    throw new CnmError('bad_mac', `MAC address ${normal} is not unicast; use one such as 02:00:00:00:00:01`);
  }
  return normal as Mac;
}

/** A random locally administered unicast MAC (spec row E3). */
export function randomMac(): Mac {
  const bytes = randomBytes(6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfe) | 0x02;
  return [...bytes].map((b) => b.toString(16).padStart(2, '0')).join(':') as Mac;
}

/** The link-local address that a link with this MAC gives itself (RFC 4291, appendix A: modified EUI-64), with its length. */
export function linkLocalOf(mac: Mac): Prefix {
  const [first = 0, ...rest] = macBytes(mac);
  const identifier = [first ^ 2, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)];
  return makePrefix(addressFromBytes(Uint8Array.from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...identifier])), 64);
}

export const macBytes = (mac: Mac): Uint8Array => Uint8Array.from(mac.split(':'), (pair) => Number.parseInt(pair, 16));
