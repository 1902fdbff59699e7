/** DHCP in Ethernet frames: what kernels do for others, done for hosts that have no address yet (RFC 791, RFC 768). Pure. */

import { type Address, type Mac, addressBytes, addressFromBytes, macBytes } from '../../src/base/index.ts';
import { bpf } from '../../src/kernel/index.ts';

export const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff' as Mac;
export const BROADCAST = '255.255.255.255' as Address;
export const NO_ADDRESS = '0.0.0.0' as Address;

const ETHERNET_SIZE = 14;
const IPV4 = 0x0800;
const IP_SIZE = 20;
const UDP = 17;
const UDP_SIZE = 8;
const SERVER_PORT = 67;
const CLIENT_PORT = 68;
/** More fragments, and where this one stands. */
const FRAGMENT = 0x3fff;
const HOPS = 64;
const MAX_OCTETS = 0xffff;

export interface Way {
  readonly sourceMac: Mac;
  readonly targetMac: Mac;
  readonly source: Address;
  readonly target: Address;
}

/** A frame from a client to a server. */
export function encodeFrame({ sourceMac, targetMac, source, target }: Way, payload: Buffer): Buffer {
  const frame = Buffer.alloc(ETHERNET_SIZE + IP_SIZE + UDP_SIZE + payload.length);
  frame.set(macBytes(targetMac), 0);
  frame.set(macBytes(sourceMac), 6);
  frame.writeUInt16BE(IPV4, 12);
  const ip = frame.subarray(ETHERNET_SIZE);
  ip[0] = 0x45;
  ip.writeUInt16BE(ip.length, 2);
  ip[8] = HOPS;
  ip[9] = UDP;
  ip.set(addressBytes(source), 12);
  ip.set(addressBytes(target), 16);
  ip.writeUInt16BE(checksum([ip.subarray(0, IP_SIZE)]), 10);
  const udp = ip.subarray(IP_SIZE);
  udp.writeUInt16BE(CLIENT_PORT, 0);
  udp.writeUInt16BE(SERVER_PORT, 2);
  udp.writeUInt16BE(udp.length, 4);
  udp.set(payload, UDP_SIZE);
  const pseudo = Buffer.from([...ip.subarray(12, 20), 0, UDP, udp.length >> 8, udp.length & 0xff]);
  // 0 would say that there is none.
  udp.writeUInt16BE(checksum([pseudo, udp]) || MAX_OCTETS, 6);
  return frame;
}

/** Ones' complement sum (RFC 1071); all parts but the last one have an even length. */
function checksum(parts: readonly Buffer[]): number {
  let sum = 0;
  for (const part of parts) for (let i = 0; i < part.length; i += 2) sum += ((part[i] as number) << 8) | (part[i + 1] ?? 0);
  while (sum > MAX_OCTETS) sum = (sum & MAX_OCTETS) + (sum >>> 16);
  return ~sum & MAX_OCTETS;
}

/** A datagram from a server to a client. */
export interface Heard {
  /** Of the server, or of the router or relay before it. */
  readonly sourceMac: Mac;
  readonly source: Address;
  readonly payload: Buffer;
}

/**
 * Undefined for every other frame. The sum of UDP is not looked at: a server on this machine, behind a veth, leaves it to a
 * network card that never comes.
 */
export function readFrame(frame: Buffer): Heard | undefined {
  if (frame.length < ETHERNET_SIZE + IP_SIZE + UDP_SIZE || frame.readUInt16BE(12) !== IPV4) return undefined;
  const ip = frame.subarray(ETHERNET_SIZE);
  const first = ip[0] as number;
  const head = (first & 0xf) * 4;
  const total = ip.readUInt16BE(2);
  if (first >> 4 !== 4 || head < IP_SIZE || total < head + UDP_SIZE || total > ip.length) return undefined;
  if (ip[9] !== UDP || (ip.readUInt16BE(6) & FRAGMENT) !== 0 || checksum([ip.subarray(0, head)]) !== 0) return undefined;
  const udp = ip.subarray(head, total);
  const length = udp.readUInt16BE(4);
  if (udp.readUInt16BE(0) !== SERVER_PORT || udp.readUInt16BE(2) !== CLIENT_PORT) return undefined;
  if (length < UDP_SIZE || length > udp.length) return undefined;
  const sourceMac = [...frame.subarray(6, 12)].map((octet) => octet.toString(16).padStart(2, '0')).join(':') as Mac;
  return { sourceMac, source: addressFromBytes(ip.subarray(12, 16)), payload: udp.subarray(UDP_SIZE, length) };
}

const { give, hasNone, isEqual, load } = bpf;

/**
 * What the kernel lets through: datagrams to a client's port, whole, without a VLAN tag. A parent sees the frames of its VLANs too,
 * whose servers are others.
 */
export const CLIENTS_ONLY: readonly bpf.FilterStep[] = [
  load.isTagged(),
  isEqual(0, 10),
  load.half(12),
  isEqual(IPV4, 8),
  load.octet(ETHERNET_SIZE + 9),
  isEqual(UDP, 6),
  load.half(ETHERNET_SIZE + 6),
  hasNone(0x1fff, 4),
  load.ipv4Length(ETHERNET_SIZE),
  load.halfBehind(ETHERNET_SIZE + 2),
  isEqual(CLIENT_PORT, 1),
  give(MAX_OCTETS),
  give(0),
];
