/** Both ways of encrypting behind one door; networks in the clear pass it untouched. */

import type { NetworkId } from '../../src/base/index.ts';
import type { DriverNetwork, Peer, SecureWish } from '../../src/driver/index.ts';
import { requireEsp, requireWireguard } from '../../src/kernel/index.ts';
import { encryptionOf } from './options.ts';
import type { OverlayParts } from './parts.ts';
import { Shield } from './shield.ts';
import { WireguardUnderlay, insidePeer } from './wireguard.ts';

/** Ports after that of networks in the clear: whatever has one of them is encrypted, and nothing else is. */
const PORT_AFTER = { esp: 1, wireguard: 2 } as const;

export class Security {
  readonly #parts: OverlayParts;
  readonly #shield: Shield;
  readonly #wireguard: WireguardUnderlay;

  constructor(parts: OverlayParts) {
    this.#parts = parts;
    this.#shield = new Shield(parts);
    this.#wireguard = new WireguardUnderlay(parts);
  }

  /** What the network is built on. */
  partsOf(net: DriverNetwork): OverlayParts {
    return encryptionOf(net) === 'wireguard' ? this.#wireguard.parts : this.#parts;
  }

  /** The UDP port of a network that is made here. */
  freshPort(net: DriverNetwork): number {
    const by = encryptionOf(net);
    return this.#parts.dataPathPort + (by === undefined ? 0 : PORT_AFTER[by]);
  }

  /** Where peers are, on what the network is built on. */
  peersOf(net: DriverNetwork, peers: readonly Peer[]): readonly Peer[] {
    return encryptionOf(net) === 'wireguard' ? peers.map(insidePeer) : peers;
  }

  /** Throws kernel_lacks where this kernel cannot do what the network asks for. */
  async requireKernel(net: DriverNetwork): Promise<void> {
    const by = encryptionOf(net);
    if (by === 'esp') requireEsp();
    else if (by === 'wireguard') await requireWireguard();
  }

  /** The network is about to have its tunnels. Throws store_unreachable where the keys are not known, kernel_lacks, port_taken. */
  async hold(net: DriverNetwork): Promise<void> {
    await this.#shield.hold(net);
    await this.#wireguard.hold(net);
  }

  /** As hold, after a start: without keys, what passed before passes on. */
  async restore(net: DriverNetwork): Promise<void> {
    await this.#shield.shut(net);
    await this.#wireguard.restore(net);
  }

  /** The network has nobody here any more. */
  async release(id: NetworkId): Promise<void> {
    await this.#shield.release(id);
    await this.#wireguard.release(id);
  }

  async secure(wish: SecureWish): Promise<void> {
    await this.#shield.secure(wish);
    await this.#wireguard.secure(wish);
  }

  /** What others took is put back. Answers how much that was, as far as it is counted. */
  async audit(net: DriverNetwork): Promise<number> {
    const by = encryptionOf(net);
    if (by === 'wireguard') await this.#wireguard.restore(net);
    return this.#shield.audit(net);
  }

  /** After a start: what a daemon of before left behind is nobody's. */
  async sweep(): Promise<void> {
    await this.#shield.sweep();
  }
}
