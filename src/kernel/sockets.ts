/**
 * Internet sockets as bare descriptors, made inside a namespace by `netns.run` and handed to dgram, net or the keeper's
 * loop. All are non-blocking and close-on-exec; whoever asked closes them (libc.close, or by adopting them).
 */

import { addressBytes, addressFromBytes, errnoOf, familyOf, type Address, type IpFamily } from '../base/index.ts';
import { attachFilter, give } from './bpf.ts';
import * as libc from './libc.ts';
import type { Netns } from './contract.ts';
import { netnsOfSocket } from './cookie.ts';

const SO_REUSEADDR = 2;
const SO_TYPE = 3;
const SO_BROADCAST = 6;
const SO_MARK = 36;
const IPV6_V6ONLY = 26;

interface SocketSpec {
  readonly address: Address;
  /** 0: the kernel chooses; see localPort. */
  readonly port: number;
  /** IPv6 only: do not take IPv4 as well. Default true. */
  readonly v6Only?: boolean;
}

interface UdpSpec extends SocketSpec {
  /** SO_REUSEADDR: may share the port with sockets that also say so. Default false. */
  readonly reuse?: boolean;
  /** Nothing is ever received: for a socket that only keeps the port ours. Default false. */
  readonly dropAll?: boolean;
}

/** sockaddr_in or sockaddr_in6 (netinet/in.h), without scope. */
export function encodeSocketAddress(address: Address, port: number): Buffer {
  const v4 = familyOf(address) === 4;
  const raw = Buffer.alloc(v4 ? 16 : 28);
  raw.writeUInt16LE(v4 ? libc.AF.inet : libc.AF.inet6, 0);
  raw.writeUInt16BE(port, 2);
  raw.set(addressBytes(address), v4 ? 4 : 8);
  return raw;
}

/** Inverse of encodeSocketAddress; IPv4-mapped addresses stay as they are. */
export function decodeSocketAddress(raw: Buffer): { readonly address: Address; readonly port: number } {
  const v4 = raw.readUInt16LE(0) === libc.AF.inet;
  return { address: addressFromBytes(raw.subarray(v4 ? 4 : 8, v4 ? 8 : 24)), port: raw.readUInt16BE(2) };
}

/** Where a socket is bound; undefined for what is no internet socket. */
export function describeSocket(
  fd: number,
): { readonly protocol: 'tcp' | 'udp'; readonly address: Address; readonly port: number; readonly netns: string } | undefined {
  try {
    const name = libc.socketName(fd);
    const [family, type] = [name.readUInt16LE(0), libc.getSocketOption(fd, libc.SOL.socket, SO_TYPE, 4).readInt32LE()];
    const protocol = type === libc.SOCK.stream ? 'tcp' : type === libc.SOCK.datagram ? 'udp' : undefined;
    if (protocol === undefined || (family !== libc.AF.inet && family !== libc.AF.inet6)) return undefined;
    return { protocol, ...decodeSocketAddress(name), netns: netnsOfSocket(fd) };
  } catch (error) {
    if (['ENOTSOCK', 'EBADF'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

/** The address that packets to `address` leave from; undefined where no route leads there. Sends nothing. */
export function sourceAddressTo(netns: Netns, address: Address): Address | undefined {
  const fd = netns.run(() => libc.socket(familyOf(address) === 4 ? libc.AF.inet : libc.AF.inet6, libc.SOCK.datagram, 0));
  try {
    // Any port will do: a datagram socket only remembers it.
    libc.connect(fd, encodeSocketAddress(address, 9), `udp ${address}`);
    return decodeSocketAddress(libc.socketName(fd)).address;
  } catch {
    return undefined;
  } finally {
    libc.close(fd);
  }
}

/**
 * Whether the address is the broadcast address of a network that the namespace of this thread is in: a socket can be bound to it, and nobody
 * connects to it. Sends nothing.
 */
export function isBroadcast(address: Address): boolean {
  if (familyOf(address) === 6) return false;
  const fd = libc.socket(libc.AF.inet, libc.SOCK.datagram, 0);
  const refusal = (): string | undefined => {
    try {
      libc.connect(fd, encodeSocketAddress(address, 9), `udp ${address}`);
      return undefined;
    } catch (error) {
      return errnoOf(error);
    }
  };
  try {
    // A route that prohibits says the same, but does not take the option for an answer.
    if (refusal() !== 'EACCES') return false;
    libc.setSocketOption(fd, libc.SOL.socket, SO_BROADCAST, 1);
    return refusal() === undefined;
  } finally {
    libc.close(fd);
  }
}

/** What the socket sends carries the mark. Its inverse is mark 0. */
export const markSocket = (fd: number, mark: number): void => libc.setSocketOption(fd, libc.SOL.socket, SO_MARK, mark);

/** The port a socket is bound to. */
export const localPort = (fd: number): number => libc.socketName(fd).readUInt16BE(2);

function bound(type: number, spec: SocketSpec, prepare: (fd: number) => void): number {
  const v6 = familyOf(spec.address) === 6;
  const fd = libc.socket(v6 ? libc.AF.inet6 : libc.AF.inet, type | libc.SOCK.nonblock, 0);
  try {
    if (v6) libc.setSocketOption(fd, libc.SOL.ipv6, IPV6_V6ONLY, spec.v6Only === false ? 0 : 1);
    prepare(fd);
    const host = v6 ? `[${spec.address}]` : spec.address;
    const protocol = type === libc.SOCK.stream ? 'tcp' : 'udp';
    libc.bind(fd, encodeSocketAddress(spec.address, spec.port), `${protocol} ${host}:${spec.port}`);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** A bound UDP socket. Throws KernelError, such as EADDRINUSE. */
export function openUdpSocket(spec: UdpSpec): number {
  return bound(libc.SOCK.datagram, spec, (fd) => {
    if (spec.reuse === true) libc.setSocketOption(fd, libc.SOL.socket, SO_REUSEADDR, 1);
    // Before bind, so that not even one packet slips into the queue.
    if (spec.dropAll === true) attachFilter(fd, [give(0)]);
  });
}

/**
 * A TCP socket that is bound but does not listen: the port is taken, and a connection to it is refused. Throws
 * KernelError, such as EADDRINUSE.
 */
export function openTcpHold(spec: SocketSpec): number {
  // Set for the bind, else an earlier server's TIME_WAIT refuses it; cleared after it, else others could bind and listen.
  const fd = bound(libc.SOCK.stream, spec, (made) => libc.setSocketOption(made, libc.SOL.socket, SO_REUSEADDR, 1));
  libc.setSocketOption(fd, libc.SOL.socket, SO_REUSEADDR, 0);
  return fd;
}

/** A listening TCP socket. `backlog` defaults to 511. Throws KernelError, such as EADDRINUSE. */
export function openTcpListener(spec: SocketSpec & { readonly backlog?: number }): number {
  const fd = bound(libc.SOCK.stream, spec, (made) => libc.setSocketOption(made, libc.SOL.socket, SO_REUSEADDR, 1));
  try {
    libc.listen(fd, spec.backlog ?? 511, `tcp ${spec.address}:${localPort(fd)}`);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/**
 * An unconnected TCP socket, for `new net.Socket({ fd }).connect(…)`: net.connect itself makes its socket a tick later,
 * hence outside.
 */
export const openTcpClient = (family: IpFamily): number =>
  libc.socket(family === 6 ? libc.AF.inet6 : libc.AF.inet, libc.SOCK.stream | libc.SOCK.nonblock, 0);
