/**
 * The underlay of networks that are encrypted by WireGuard: a namespace that no packet enters or leaves but through the host's
 * WireGuard link, whose own socket is in the host's namespace. Tunnels are made from there, so that theirs are in it.
 */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import {
  type Address,
  CnmError,
  KeyedLock,
  type NetworkId,
  addressBytes,
  addressFromBytes,
  codeOf,
  errnoOf,
  familyOf,
  makePrefix,
  prefixAddress,
} from '../../src/base/index.ts';
import type { DriverNetwork, Peer, SecureWish } from '../../src/driver/index.ts';
import {
  type Netns,
  type WireguardPeer,
  createNetns,
  kernelLacks,
  openNetns,
  removeNetnsPin,
  setWireguard,
  writeSysctl,
} from '../../src/kernel/index.ts';
import { encryptionOf } from './options.ts';
import type { OverlayParts } from './parts.ts';
import { PIN_PREFIX, portOf } from './segments.ts';
import { untold } from './shield.ts';
import { hasTunnelAt } from './tunnel.ts';

/** WireGuard's usual port. */
export const WIREGUARD_PORT = 51_820;
const LINK = 'wg0';
export const WIREGUARD_PIN = `${PIN_PREFIX}wireguard`;
/** What a packet grows by: outer headers, WireGuard's own, and its check value, octets. */
const OVERHEAD = { 4: 60, 6: 80 } as const;
const DEFAULT_MTU = 1500;
/** A unique local network (RFC 4193) that only those namespaces ever see. */
const INSIDE = Buffer.from('fd7061746368ba79', 'hex');
const INSIDE_BITS = 64;

/** Where a host is inside: derived from where it is on the underlay, so that nobody has to tell. */
export const insideAddress = (underlay: Address): Address =>
  addressFromBytes(Buffer.concat([INSIDE, createHash('sha256').update(addressBytes(underlay)).digest().subarray(0, 8)]));

export const insidePeer = (peer: Peer): Peer => ({ ...peer, vtep: insideAddress(peer.vtep) });

export class WireguardUnderlay {
  readonly #parts: OverlayParts;
  /** Ports of the tunnels of networks with somebody here. */
  readonly #users = new Map<NetworkId, number>();
  readonly #locks = new KeyedLock();
  #netns: Netns | undefined;
  #own: Address | undefined;
  #wish: SecureWish | undefined;

  constructor(parts: OverlayParts) {
    this.#parts = parts;
  }

  /** What a network that is encrypted so is built on, in place of the driver's own parts. */
  get parts(): OverlayParts {
    const [parts, open] = [this.#parts, () => this.#netns];
    return {
      ...parts,
      get host(): Netns {
        const netns = open();
        // In the host's own namespace its packets would go in the clear.
        if (netns === undefined) throw new CnmError('internal', 'the namespace of WireGuard is not there');
        return netns;
      },
      vtep(net) {
        const own = parts.vtep(net);
        return own && insideAddress(own);
      },
    };
  }

  /** The network is about to have its tunnels. Throws store_unreachable when the keys of others are not known, kernel_lacks, port_taken. */
  async hold(net: DriverNetwork): Promise<void> {
    if (!this.#isOurs(net)) return;
    if (this.#wish === undefined) throw untold(net);
    await this.restore(net);
  }

  /** As hold; without keys, those who were known before still are. */
  async restore(net: DriverNetwork): Promise<void> {
    if (!this.#isOurs(net)) return;
    this.#own = this.#parts.vtep(net);
    this.#users.set(net.id, portOf(net));
    await this.#settle();
  }

  #isOurs(net: DriverNetwork): boolean {
    return encryptionOf(net) === 'wireguard' && this.#parts.vtep(net) !== undefined;
  }

  /** The network has nobody here any more; with the last one the namespace goes. */
  async release(id: NetworkId): Promise<void> {
    const port = this.#users.get(id);
    if (port === undefined) return;
    this.#users.delete(id);
    await this.#locks.run(LINK, async () => {
      // A network that could not be restored has its tunnels there still.
      if (this.#users.size > 0 || (await hasTunnelAt(this.#parts, new Set([port])))) return;
      const netns = this.#netns;
      this.#netns = undefined;
      try {
        await netns?.rtnl().batchOffThread([{ op: 'link.remove', at: { name: LINK } }]);
      } catch (error) {
        if (errnoOf(error) !== 'ENODEV') throw error;
      } finally {
        netns?.[Symbol.dispose]();
      }
      removeNetnsPin(this.#pin);
    });
  }

  /** Keys and hosts of the cluster as they are now. */
  async secure(wish: SecureWish): Promise<void> {
    this.#wish = wish;
    if (this.#users.size > 0) await this.#settle();
  }

  get #pin(): string {
    return join(this.#parts.pinFolder, WIREGUARD_PIN);
  }

  #settle(): Promise<void> {
    return this.#locks.run(LINK, async () => {
      const { wireguard } = this.#parts;
      if (this.#own === undefined || wireguard === undefined || this.#users.size === 0) return;
      this.#netns ??= this.#open();
      const netns = this.#netns;
      await this.#ensureLink(netns, this.#own);
      if (this.#wish === undefined) return;
      setWireguard(netns, LINK, { ...wireguard, peers: this.#peers(this.#own, wireguard.port) });
    });
  }

  #peers(own: Address, port: number): WireguardPeer[] {
    const others = (this.#wish?.hosts ?? []).filter(({ address }) => address !== own && familyOf(address) === familyOf(own));
    return others.flatMap(({ address, wireguard }) =>
      wireguard === undefined ? [] : { publicKey: wireguard, address, port, inside: insideAddress(address) },
    );
  }

  #open(): Netns {
    try {
      return openNetns(this.#pin);
    } catch (error) {
      if (codeOf(error) !== 'bad_netns') throw error;
      // A kill may have left a pin that leads nowhere.
      removeNetnsPin(this.#pin);
      return createNetns(this.#pin);
    }
  }

  async #ensureLink(netns: Netns, own: Address): Promise<void> {
    const rtnl = netns.rtnl();
    const { host, mark } = this.#parts;
    const mtu = (await this.#underlayMtu(own)) - OVERHEAD[familyOf(own)];
    writeSysctl(netns, 'net/ipv6/conf/default/accept_ra', '0', { optional: true });
    if ((await rtnl.link.find({ name: LINK })) === undefined) {
      try {
        await host.rtnl().batch([{ op: 'link.add', spec: { kind: 'wireguard', name: LINK, netns, group: mark.liveGroup } }]);
      } catch (error) {
        throw errnoOf(error) === 'EOPNOTSUPP' ? kernelLacks('wireguard') : error;
      }
    }
    const link = await rtnl.link.get({ name: LINK });
    const prefix = makePrefix(insideAddress(own), INSIDE_BITS);
    const has = (await rtnl.address.list()).some((one) => one.link === link.index && one.prefix === prefix);
    const at = { index: link.index };
    try {
      await rtnl.batch([
        { op: 'link.set', at: { name: 'lo' }, change: { up: true } },
        { op: 'link.set', at, change: { mtu } },
        ...(has ? [] : [{ op: 'address.add', spec: { link: link.index, prefix, noDad: true } } as const]),
        { op: 'link.set', at, change: { up: true } },
      ]);
    } catch (error) {
      if (errnoOf(error) !== 'EADDRINUSE') throw error;
      const port = this.#parts.wireguard?.port;
      throw new CnmError('port_taken', `UDP port ${port} of the host is taken: WireGuard needs it`, { cause: error });
    }
  }

  async #underlayMtu(own: Address): Promise<number> {
    const rtnl = this.#parts.host.rtnl();
    const found = (await rtnl.address.list()).find(({ prefix }) => prefixAddress(prefix) === own);
    return (found && (await rtnl.link.find({ index: found.link })))?.mtu ?? DEFAULT_MTU;
  }
}
