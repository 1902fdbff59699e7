/** WireGuard links, over generic netlink (linux/wireguard.h): keys, port and peers. The link itself is made in link.ts. */

import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { closeSync, constants, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { type Address, CnmError, KernelError, addressBytes, errnoOf, familyOf } from '../base/index.ts';
import { Attributes, attribute, nest, text, u32 } from './attributes.ts';
import type { Netns } from './contract.ts';
import { type GenericFamily, GENERIC_HEADER, generic, openGeneric } from './genl.ts';
import { temporaryNetns } from './netns.ts';
import { kernelLacks } from './probe.ts';
import { familyNumber } from './route.ts';
import { encodeSocketAddress } from './sockets.ts';

const COMMAND = { get: 0, set: 1 } as const;
const VERSION = 1;
const DEVICE = { name: 2, privateKey: 3, port: 6, peers: 8 } as const;
const PEER = { publicKey: 1, flags: 3, endpoint: 4, allowed: 9 } as const;
const PEER_FLAG = { remove: 1, replaceAllowed: 2 } as const;
const ALLOWED = { family: 1, address: 2, bits: 3 } as const;
const KEY_SIZE = 32;
/** What stands before a raw key of X25519 in PKCS #8 (RFC 8410 §7). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

export interface WireguardKeys {
  /** 32 octets. */
  readonly privateKey: Buffer;
  /** As WireGuard's own tools write it: base64. */
  readonly publicKey: string;
}

export interface WireguardPeer {
  /** Base64. */
  readonly publicKey: string;
  /** Where it is reached. */
  readonly address: Address;
  readonly port: number;
  /** The one address that packets from it may bear, and that packets to it go by. */
  readonly inside: Address;
}

/** The keys in a file, which only its owner may read; made where there is none. Throws store_corrupt, and what the file system says. */
export function wireguardKeys(path: string): WireguardKeys {
  try {
    const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      writeSync(fd, `${randomBytes(KEY_SIZE).toString('base64')}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
  const privateKey = Buffer.from(readFileSync(path, 'latin1').trim(), 'base64');
  if (privateKey.length !== KEY_SIZE)
    throw new CnmError('store_corrupt', `${path} holds no key of WireGuard: delete it, and this host gets another one`);
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, privateKey]), format: 'der', type: 'pkcs8' });
  const { x = '' } = createPublicKey(key).export({ format: 'jwk' });
  return { privateKey, publicKey: Buffer.from(x, 'base64url').toString('base64') };
}

/** Throws kernel_lacks. */
export async function requireWireguard(): Promise<void> {
  using netns = temporaryNetns();
  try {
    await netns.rtnl().batch([{ op: 'link.add', spec: { kind: 'wireguard', name: 'probe' } }]);
  } catch (error) {
    throw errnoOf(error) === 'EOPNOTSUPP' ? kernelLacks('wireguard') : error;
  }
}

function open(netns: Netns): GenericFamily {
  const opened = openGeneric(netns, 'wireguard');
  if (opened === undefined) throw kernelLacks('wireguard');
  return opened;
}

const u16 = (value: number): Buffer => Buffer.from([value & 0xff, value >> 8]);

function peerBody({ publicKey, address, port, inside }: WireguardPeer): Buffer {
  const bits = familyOf(inside) === 4 ? 32 : 128;
  const allowed = nest(
    0,
    attribute(ALLOWED.family, u16(familyNumber(familyOf(inside)))),
    attribute(ALLOWED.address, addressBytes(inside)),
    attribute(ALLOWED.bits, Buffer.from([bits])),
  );
  return nest(
    0,
    attribute(PEER.publicKey, Buffer.from(publicKey, 'base64')),
    attribute(PEER.flags, u32(PEER_FLAG.replaceAllowed)),
    attribute(PEER.endpoint, encodeSocketAddress(address, port)),
    nest(PEER.allowed, allowed),
  );
}

const removal = (publicKey: string): Buffer =>
  nest(0, attribute(PEER.publicKey, Buffer.from(publicKey, 'base64')), attribute(PEER.flags, u32(PEER_FLAG.remove)));

/** Peers in one message: each takes some 120 octets. */
const AT_ONCE = 200;

/**
 * Gives the link its key, its port and exactly these peers. Repeatable: those that stay keep their sessions. Throws KernelError:
 * EADDRINUSE for a port that another has.
 */
export function setWireguard(
  netns: Netns,
  link: string,
  { privateKey, port, peers }: { readonly privateKey: Buffer; readonly port: number; readonly peers: readonly WireguardPeer[] },
): void {
  const { socket, family } = open(netns);
  using _socket = socket;
  const wanted = new Set(peers.map(({ publicKey }) => publicKey));
  const listed = generic(COMMAND.get, VERSION, text(DEVICE.name, link));
  const present = socket.dump({ type: family, body: listed }, `peers of ${link}`, (raw) =>
    [...new Attributes(raw, GENERIC_HEADER).nested(DEVICE.peers).each()].map(
      (peer) => new Attributes(peer).bytes(PEER.publicKey)?.toString('base64') ?? '',
    ),
  );
  const leaving = present.flat().filter((key) => key !== '' && !wanted.has(key));
  const bodies = [...leaving.map(removal), ...peers.map(peerBody)];
  const set = (...parts: readonly Buffer[]): void => {
    const body = generic(COMMAND.set, VERSION, text(DEVICE.name, link), ...parts);
    const refused = socket.execute([{ type: family, body }]);
    if (refused !== undefined) throw new KernelError('configure', link, refused.errno, refused.text);
  };
  set(attribute(DEVICE.privateKey, privateKey), attribute(DEVICE.port, u16(port)));
  for (let at = 0; at < bodies.length; at += AT_ONCE) set(nest(DEVICE.peers, ...bodies.slice(at, at + AT_ONCE)));
}
