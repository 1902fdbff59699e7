/** Repeats the announcement of an endpoint's addresses in the background (spec 01 I4). */

import { type EndpointId, prefixAddress } from '../../src/base/index.ts';
import type { DriverEndpoint, JoinPlace } from '../../src/driver/index.ts';
import { type Link, announce, openNetns } from '../../src/kernel/index.ts';
import type { Advertise } from './options.ts';
import type { LinkParts } from './parts.ts';

export class Announcer {
  readonly #parts: LinkParts;
  readonly #timers = new Map<EndpointId, NodeJS.Timeout>();

  constructor(parts: LinkParts) {
    this.#parts = parts;
  }

  /**
   * Announces once before it resolves, then `count - 1` times more in the background. `link`: the endpoint's, where it has been looked
   * up and needs no other side to be up. Never throws.
   */
  async start(ep: DriverEndpoint, at: JoinPlace, { count, intervalMs }: Advertise, link?: Link): Promise<void> {
    this.stop(ep.id);
    if (count === 0) return;
    await advertise(this.#parts, ep, at, link);
    let left = count - 1;
    const { path, identity } = at.netns;
    const timer = setInterval(() => {
      if (left-- <= 0) return this.stop(ep.id);
      void this.#repeat(ep, at, path, identity).catch(() => this.stop(ep.id));
    }, intervalMs);
    timer.unref();
    this.#timers.set(ep.id, timer);
  }

  async #repeat(ep: DriverEndpoint, at: JoinPlace, path: string, identity: string): Promise<void> {
    // Opened anew: a descriptor kept here would keep the namespace of a dead process alive.
    using netns = openNetns(path);
    if (netns.identity === identity) await advertise(this.#parts, ep, { ...at, netns });
  }

  stop(id: EndpointId): void {
    clearInterval(this.#timers.get(id));
    this.#timers.delete(id);
  }
}

/** Tells neighbours whose address this is now: gratuitous ARP and unsolicited neighbour advertisement. Errors never fail a join. */
export async function advertise(parts: LinkParts, ep: DriverEndpoint, at: JoinPlace, known?: Link): Promise<void> {
  try {
    const link = known ?? (await at.netns.rtnl().link.find({ name: at.ifname }));
    // Where none is recorded the link has its parent's.
    const mac = ep.iface.mac ?? link?.mac;
    if (link === undefined || mac === undefined || link.mac !== mac) return;
    for (const prefix of [ep.iface.v4, ep.iface.v6, ...ep.linkLocal]) {
      if (prefix !== undefined) announce(at.netns, { link: link.index, mac, address: prefixAddress(prefix) });
    }
  } catch (error) {
    parts.env.log.debug({ endpoint: ep.id, err: error }, 'address not announced');
  }
}
