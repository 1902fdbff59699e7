/** VXLAN packets in a capture file (libpcap's form, Ethernet): where each went, its number, and the frame inside. Pure. */

export interface VxlanPacket {
  readonly vni: number;
  /** Destination of the outer packet. */
  readonly to: string;
  readonly innerTo: string;
  readonly innerFrom: string;
}

const FILE_HEADER = 24;
const PACKET_HEADER = 16;
const MAGIC = 0xa1b2c3d4;
const ETHERNET = 1;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;
const VXLAN_HEADER = 8;
const UDP = 17;

/** Throws for another form. A packet that was not captured to its inner header is passed over. */
export function vxlanPackets(file: Buffer, port: number): VxlanPacket[] {
  if (file.readUInt32LE(0) !== MAGIC || file.readUInt32LE(20) !== ETHERNET)
    throw new Error('this is no capture of Ethernet frames');
  const packets: VxlanPacket[] = [];
  for (let at = FILE_HEADER; at + PACKET_HEADER <= file.length;) {
    const length = file.readUInt32LE(at + 8);
    const packet = parse(file.subarray(at + PACKET_HEADER, at + PACKET_HEADER + length), port);
    if (packet !== undefined) packets.push(packet);
    at += PACKET_HEADER + length;
  }
  return packets;
}

function parse(frame: Buffer, port: number): VxlanPacket | undefined {
  const type = frame.readUInt16BE(12);
  const ip = frame.subarray(14);
  const isV4 = type === IPV4;
  if (!isV4 && type !== IPV6) return undefined;
  const headerOctets = isV4 ? ((ip[0] ?? 0) & 15) * 4 : IPV6_HEADER;
  if (ip[isV4 ? 9 : 6] !== UDP) return undefined;
  const udp = ip.subarray(headerOctets);
  const inner = udp.subarray(UDP_HEADER + VXLAN_HEADER);
  if (inner.length < 12 || udp.readUInt16BE(2) !== port) return undefined;
  return {
    vni: udp.readUIntBE(UDP_HEADER + 4, 3),
    to: isV4 ? [...ip.subarray(16, 20)].join('.') : v6Text(ip.subarray(24, 40)),
    innerTo: macText(inner.subarray(0, 6)),
    innerFrom: macText(inner.subarray(6, 12)),
  };
}

const macText = (octets: Buffer): string => [...octets].map((octet) => octet.toString(16).padStart(2, '0')).join(':');

/** As the platform shortens it (RFC 5952). */
const v6Text = (octets: Buffer): string => {
  const groups = Array.from({ length: 8 }, (_, i) => octets.readUInt16BE(2 * i).toString(16));
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
};
