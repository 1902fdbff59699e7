/** Keeps ESP on this host as the encrypted networks that have somebody here want it. */

import { type Address, CnmError, KeyedLock, type NetworkId, errnoOf, messageOf } from '../../src/base/index.ts';
import type { DriverNetwork, SecureWish } from '../../src/driver/index.ts';
import { changeEsp, viewEsp } from '../../src/kernel/index.ts';
import { espChanges, espWish, isOwnPriority } from './esp.ts';
import type { OverlayParts } from './parts.ts';
import { encryptionOf } from './options.ts';
import { portOf } from './segments.ts';
import { hasTunnelAt } from './tunnel.ts';

const LACKING = ['EPROTONOSUPPORT', 'ENOENT', 'ENOSYS', 'EAFNOSUPPORT'];

/** Nobody knows the keys of other hosts yet. */
export const untold = (net: DriverNetwork): CnmError =>
  new CnmError(
    'store_unreachable',
    `cannot join secure network ${net.name}: the cluster has not told its keys since the daemon started`,
  );

export class Shield {
  readonly #parts: OverlayParts;
  /** Ports of networks with somebody here. */
  readonly #ports = new Map<NetworkId, number>();
  readonly #locks = new KeyedLock();
  #own: Address | undefined;
  #wish: SecureWish | undefined;
  #isSwept = false;

  constructor(parts: OverlayParts) {
    this.#parts = parts;
  }

  /**
   * The network is about to have its tunnels: from now on nothing of it passes in the clear. Throws store_unreachable when the keys are
   * not known, kernel_lacks. Repeatable.
   */
  async hold(net: DriverNetwork): Promise<void> {
    const own = this.#parts.vtep(net);
    if (encryptionOf(net) !== 'esp' || own === undefined) return;
    await this.shut(net);
    if (this.#wish === undefined) throw untold(net);
  }

  /** As hold; without keys, packets of what was there before still pass as they did. */
  async shut(net: DriverNetwork): Promise<void> {
    const own = this.#parts.vtep(net);
    if (encryptionOf(net) !== 'esp' || own === undefined) return;
    this.#own = own;
    this.#ports.set(net.id, portOf(net));
    try {
      await this.settle();
    } catch (error) {
      if (!LACKING.includes(errnoOf(error) ?? '')) throw error;
      throw new CnmError('kernel_lacks', `cannot join secure network ${net.name}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** As shut, of a network that has its tunnels. Answers how much was not as wished. */
  async audit(net: DriverNetwork): Promise<number> {
    const own = this.#parts.vtep(net);
    if (encryptionOf(net) !== 'esp' || own === undefined) return 0;
    this.#own = own;
    this.#ports.set(net.id, portOf(net));
    return this.settle();
  }

  /** The network has nobody here any more. */
  async release(id: NetworkId): Promise<void> {
    if (this.#ports.delete(id)) await this.settle();
  }

  /** Keys and hosts of the cluster as they are now. */
  async secure(wish: SecureWish): Promise<void> {
    this.#wish = wish;
    if (this.#ports.size > 0) await this.settle();
  }

  /** After a start: what a daemon of before left behind is nobody's. */
  async sweep(): Promise<void> {
    if (this.#isSwept || this.#ports.size > 0) return;
    try {
      await this.settle();
      this.#isSwept = true;
    } catch (error) {
      if (!LACKING.includes(errnoOf(error) ?? '')) this.#parts.env.log.warn({ err: error }, 'ESP of before is not swept');
    }
  }

  /** Makes the kernel as wished, whatever it has. Answers how much was not. */
  settle(): Promise<number> {
    return this.#locks.run('esp', async () => {
      const { host, mark } = this.#parts;
      const owner = mark.liveGroup;
      const view = viewEsp(host, owner, (priority) => isOwnPriority(priority, owner));
      const { keys, hosts = [] } = this.#wish ?? {};
      const ports = new Set(this.#ports.values());
      const wish =
        this.#own === undefined
          ? { states: [], policies: [] }
          : espWish({ own: this.#own, ports, hosts: hosts.map(({ address }) => address), keys, owner });
      // Of a network that could not be restored nobody has told us, and its tunnel is there: it stays shut.
      const strange = new Set(view.policies.map(({ port }) => port).filter((port) => !ports.has(port)));
      const isKept = strange.size > 0 && (await hasTunnelAt(this.#parts, strange));
      const changes = espChanges(view, wish, !isKept && (keys !== undefined || ports.size === 0));
      changeEsp(host, changes);
      return changes.length;
    });
  }
}
