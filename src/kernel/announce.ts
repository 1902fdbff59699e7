/** Tells neighbours at once where an address lives now: gratuitous ARP (RFC 5227 §3), unsolicited NA (RFC 4861 §7.2.6). */

import { addressBytes, CnmError, familyOf, macBytes, parseAddress, type Address, type Mac } from '../base/index.ts';
import type { Netns } from './contract.ts';
import { closeOffThread } from './closer.ts';
import * as libc from './libc.ts';

interface Announcement {
  /** Index of the link in the namespace; it must be up. */
  readonly link: number;
  readonly mac: Mac;
  readonly address: Address;
}

const ETHERTYPE = { arp: 0x0806, ipv6: 0x86dd } as const;
const BROADCAST = Buffer.alloc(6, 0xff);
const ALL_NODES = parseAddress('ff02::1');
const ALL_NODES_MAC = Buffer.from([0x33, 0x33, 0, 0, 0, 1]);
const ARP_SIZE = 28;
const IPV6_HEADER = 40;
const NEIGHBOUR_ADVERTISEMENT = 136;
const NA_SIZE = 32;
const ICMPV6 = 58;
/** Override, and neither router nor solicited. */
const NA_FLAGS = 0x20000000;
const OPTION_TARGET_MAC = 2;

function ethernet(destination: Buffer, source: Uint8Array, type: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(14);
  header.set(destination, 0);
  header.set(source, 6);
  header.writeUInt16BE(type, 12);
  return Buffer.concat([header, payload]);
}

/** An ARP request whose sender and target address are the same. */
function arpAnnouncement(mac: Uint8Array, address: Uint8Array): Buffer {
  const arp = Buffer.alloc(ARP_SIZE);
  arp.writeUInt16BE(1, 0); // Ethernet
  arp.writeUInt16BE(0x0800, 2); // IPv4
  arp[4] = 6;
  arp[5] = 4;
  arp.writeUInt16BE(1, 6); // request
  arp.set(mac, 8);
  arp.set(address, 14);
  arp.set(address, 24);
  return ethernet(BROADCAST, mac, ETHERTYPE.arp, arp);
}

/** Ones' complement sum over the pseudo header and the message (RFC 8200 §8.1). */
function icmpv6Checksum(source: Uint8Array, destination: Uint8Array, message: Buffer): number {
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(message.length, 0);
  pseudo.writeUInt32BE(ICMPV6, 4);
  const all = Buffer.concat([source, destination, pseudo, message]);
  let sum = 0;
  for (let i = 0; i < all.length; i += 2) sum += all.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function neighbourAdvertisement(mac: Uint8Array, address: Uint8Array): Buffer {
  const destination = addressBytes(ALL_NODES);
  const na = Buffer.alloc(NA_SIZE);
  na[0] = NEIGHBOUR_ADVERTISEMENT;
  na.writeUInt32BE(NA_FLAGS, 4);
  na.set(address, 8);
  na[24] = OPTION_TARGET_MAC;
  na[25] = 1; // eight octets
  na.set(mac, 26);
  na.writeUInt16BE(icmpv6Checksum(address, destination, na), 2);
  const ip = Buffer.alloc(IPV6_HEADER);
  ip[0] = 0x60;
  ip.writeUInt16BE(NA_SIZE, 4);
  ip[6] = ICMPV6;
  // Receivers drop neighbour discovery of a smaller hop limit: it came through a router.
  ip[7] = 255;
  ip.set(address, 8);
  ip.set(destination, 24);
  return ethernet(ALL_NODES_MAC, mac, ETHERTYPE.ipv6, Buffer.concat([ip, na]));
}

/** The frame that `announce` sends. */
export function announcementFrame({ mac, address }: Pick<Announcement, 'mac' | 'address'>): Buffer {
  const build = familyOf(address) === 4 ? arpAnnouncement : neighbourAdvertisement;
  return build(macBytes(mac), addressBytes(address));
}

/** Sends one frame, synchronously. Repeatable. Throws KernelError, such as ENETDOWN. */
export function announce(netns: Netns, announcement: Announcement): void {
  const frame = announcementFrame(announcement);
  // Protocol 0: the socket sends only and queues nothing.
  const fd = netns.run(() => libc.socket(libc.AF.packet, libc.SOCK.raw | libc.SOCK.nonblock, 0));
  try {
    // struct sockaddr_ll
    const to = Buffer.alloc(20);
    to.writeUInt16LE(libc.AF.packet, 0);
    to.writeUInt16BE(frame.readUInt16BE(12), 2);
    to.writeInt32LE(announcement.link, 4);
    to[11] = 6;
    to.set(frame.subarray(0, 6), 12);
    const sent = libc.sendTo(fd, frame, to);
    if (sent !== frame.length) throw new CnmError('internal', `announcement of ${announcement.address} was not taken`);
  } finally {
    closeOffThread(fd);
  }
}
