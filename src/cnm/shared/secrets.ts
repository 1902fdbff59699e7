/** The keys of encrypted networks: made with the first such network, told to the drivers, and changed now and then. */

import { type Address, CnmError, codeOf, messageOf } from '../../base/index.ts';
import {
  type Cluster,
  KEYS,
  LEAST_KEY_AGE_MS,
  type KeyRing,
  decodeRing,
  ensureRing,
  follow,
  rotateRing,
} from '../../cluster/index.ts';
import { type SecureHost, labels } from '../../driver/index.ts';
import type { Entry } from '../../store/index.ts';
import { type Cnm, contextOf } from '../context.ts';
import type { NetworkRecord } from '../records.ts';

/** How long one key is used for what is sent, milliseconds: the kernel sends 2³² packets with one at most, 14 Gbit/s of full ones. */
const KEY_AGE_MS = 3600 * 1000;
/** How often it is looked for one that is older, milliseconds; by chance up to twice as long, so that hosts seldom meet. */
const LOOK_EVERY_MS = 5 * 60 * 1000;
const RETRY_MS = 1000;

export const isSecure = ({ options }: Pick<NetworkRecord, 'options'>): boolean => options[labels.encrypted] !== undefined;

export class Secrets {
  readonly #cnm: Cnm;
  readonly #cluster: Cluster;
  readonly #closing = new AbortController();
  #ring: KeyRing | undefined;
  #look: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** One telling at a time. */
  #telling: Promise<void> = Promise.resolve();

  constructor(cnm: Cnm, cluster: Cluster) {
    this.#cnm = cnm;
    this.#cluster = cluster;
  }

  start(): void {
    void this.#follow();
    this.#lookLater();
  }

  stop(): void {
    this.#closing.abort();
    clearTimeout(this.#look);
    clearTimeout(this.#retry);
  }

  /** Drivers know the cluster's keys, which are made where there are none. Throws store_unreachable, and what drivers throw. */
  async ready(): Promise<void> {
    if (this.#ring === undefined) this.#learn(await ensureRing(this.#cluster.store, this.#cnm.env.now));
    await this.#tell();
  }

  /** Throws not_supported_here where there are none yet, too_busy right after another rotation, store_unreachable. Answers the one in use. */
  async rotate(): Promise<KeyRing> {
    const before = this.#ring?.primary;
    const ring = await rotateRing(this.#cluster.store, this.#cnm.env.now, LEAST_KEY_AGE_MS);
    if (ring.primary === before) {
      throw new CnmError(
        'too_busy',
        `the keys were changed less than ${LEAST_KEY_AGE_MS / 1000} seconds ago: all hosts must know the next one first`,
      );
    }
    return ring;
  }

  /** Hosts have come or gone. */
  hostsChanged(): void {
    if (this.#ring !== undefined) this.#tellSoon();
  }

  async #follow(): Promise<void> {
    const store = await this.#cluster.arrived;
    if (store === undefined) return;
    const { log } = this.#cnm.env;
    try {
      const refused = (error: Error): void => log.error({ error: messageOf(error) }, 'keys of the cluster are not told');
      for await (const news of follow(store, KEYS, this.#closing.signal, refused)) {
        for (const entry of news.kind === 'all' ? news.entries : news.change.put) this.#take(entry);
        if (news.kind === 'all' && news.entries.length === 0) await this.#tellAgain();
        if (this.#ring !== undefined) this.#tellSoon();
      }
    } catch (error) {
      log.error({ error: messageOf(error) }, 'keys of the cluster are not followed any more');
    }
  }

  /** Keys that the cluster has lost with its data: all hosts have the same ones still, and the first one tells them again. */
  async #tellAgain(): Promise<void> {
    if (this.#ring === undefined) return;
    try {
      this.#learn(await ensureRing(this.#cluster.store, this.#cnm.env.now, this.#ring));
    } catch (error) {
      this.#cnm.env.log.error({ error: messageOf(error) }, 'keys that the cluster has lost are not told again');
    }
  }

  #take(entry: Entry): void {
    try {
      this.#learn(decodeRing(entry));
    } catch (error) {
      this.#cnm.env.log.error({ error: messageOf(error) }, 'keys of the cluster are passed over');
    }
  }

  #learn(ring: KeyRing): void {
    this.#ring = ring;
  }

  #tellSoon(): void {
    if (this.#closing.signal.aborted) return;
    this.#tell().catch((error: unknown) => {
      this.#cnm.env.log.error({ error: messageOf(error) }, 'keys of the cluster could not be put in place');
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => this.#tellSoon(), RETRY_MS).unref();
    });
  }

  #tell(): Promise<void> {
    const telling = this.#telling.then(
      () => this.#tellNow(),
      () => this.#tellNow(),
    );
    this.#telling = telling;
    telling.catch(() => {});
    return telling;
  }

  async #tellNow(): Promise<void> {
    if (this.#ring === undefined) return;
    const { keys, primary } = this.#ring;
    // Of two hosts that tell one address, as after an installation anew, the living one has it.
    const nodes = this.#cluster.nodes().toSorted((a, b) => Number(a.isAlive) - Number(b.isAlive));
    const byAddress = new Map<Address, SecureHost>();
    for (const { address, wireguard } of nodes)
      if (address !== undefined) byAddress.set(address, { address, ...(wireguard !== undefined && { wireguard }) });
    const hosts = [...byAddress.values()];
    const wish = { keys: { keys, primary }, hosts };
    for (const driver of this.#cnm.drivers.all()) await driver.cluster?.secure?.(contextOf(), wish);
  }

  #lookLater(): void {
    const pause = LOOK_EVERY_MS * (1 + Math.random());
    this.#look = setTimeout(() => void this.#lookAfter(), pause).unref();
  }

  /** Only a host that uses them: where nobody does, they need not change. */
  async #lookAfter(): Promise<void> {
    const { state, env } = this.#cnm;
    const isUsed = state
      .networks()
      .some((net) => net.shared === true && isSecure(net) && state.endpointsOfNetwork(net.id).length > 0);
    try {
      if (isUsed && this.#ring !== undefined) await rotateRing(this.#cluster.store, env.now, KEY_AGE_MS);
    } catch (error) {
      if (codeOf(error) !== 'store_unreachable')
        env.log.error({ error: messageOf(error) }, 'the keys of the cluster could not be changed');
    }
    if (!this.#closing.signal.aborted) this.#lookLater();
  }
}
