/** The host's links as a start finds them, and what is told of them: those that had to be made again, and those that are in a network's way. */

import { type IpFamily, prefixBounds } from '../base/index.ts';
import type { RestoreFacet, RestoreNetwork } from '../driver/index.ts';
import type { Cnm } from './context.ts';

export interface Wished {
  readonly restorer: RestoreFacet;
  /** The networks lie on a link of the host and have its subnet. */
  readonly usesParent: boolean;
  readonly wishes: readonly RestoreNetwork[];
}

/** RT_TABLE_MAIN (linux/rtnetlink.h). */
const MAIN_TABLE = 254;
/** What the kernel gives the route of an address: none, and IP6_RT_PRIO_ADDRCONF (net/ip6_route.h). A larger one comes after it. */
const CONNECTED_METRIC = { 4: 0, 6: 256 } as const;

interface ForeignRoute {
  readonly first: bigint;
  readonly last: bigint;
  /** Before a bridge's own route to the same subnet, where it is older. */
  readonly goesFirst: boolean;
  readonly reason: string;
}

interface Seen {
  readonly usesParent: boolean;
  readonly wish: RestoreNetwork;
  /** Names of the host's links that are the network's. */
  readonly links: readonly string[];
}

export class HostAtStart {
  readonly #cnm: Cnm;
  readonly #seen: readonly Seen[];
  readonly #before: ReadonlyMap<string, number>;

  private constructor(cnm: Cnm, seen: readonly Seen[], before: ReadonlyMap<string, number>) {
    this.#cnm = cnm;
    this.#seen = seen;
    this.#before = before;
  }

  /** Before anything is restored. Undefined, and said, where the host cannot be looked at: that stops no start. */
  static async look(cnm: Cnm, wished: readonly Wished[]): Promise<HostAtStart | undefined> {
    try {
      return await HostAtStart.#look(cnm, wished);
    } catch (error) {
      tellFailed(cnm, error);
      return undefined;
    }
  }

  static async #look(cnm: Cnm, wished: readonly Wished[]): Promise<HostAtStart> {
    const seen = wished.flatMap(({ restorer, usesParent, wishes }) =>
      wishes.map((wish) => ({ usesParent, wish, links: restorer.linksOf(wish) })),
    );
    return new HostAtStart(cnm, seen, await linksOfHost(cnm));
  }

  /** Call when all is restored. Never throws. */
  async tell(): Promise<void> {
    try {
      await this.#tellMadeAgain();
      await this.#tellOverlaps();
    } catch (error) {
      tellFailed(this.#cnm, error);
    }
  }

  /** One line for all networks of which links were made since the look. */
  async #tellMadeAgain(): Promise<void> {
    const lacking = this.#seen.map(({ wish, links }) => ({ wish, links: links.filter((name) => !this.#before.has(name)) }));
    if (lacking.every(({ links }) => links.length === 0)) return;
    const after = await linksOfHost(this.#cnm);
    const made = lacking
      .map(({ wish, links }) => ({ name: wish.net.name, links: links.filter((link) => after.has(link)) }))
      .filter(({ links }) => links.length > 0);
    if (made.length === 0) return;
    // A network may name one twice, and networks may share one: it is made once.
    const links = new Set(made.flatMap((one) => one.links)).size;
    this.#cnm.env.log.warn({ networks: made.map(({ name }) => name), links }, 'links of networks were gone: they are made again');
  }

  /** Routes of others to a network's subnet or to a part of it. Of two to the same subnet the kernel takes the older one. */
  async #tellOverlaps(): Promise<void> {
    const local = this.#seen.filter(({ links, usesParent }) => links.length > 0 && !usesParent);
    // Not the parents of others: what leads out over one of them is in the way as over any other link.
    const own = new Set(local.flatMap(({ links }) => links));
    const others = new Map([...this.#before].filter(([name]) => !own.has(name)).map(([name, index]) => [index, name]));
    for (const family of [4, 6] satisfies IpFamily[]) {
      const subnets = local.flatMap(({ wish: { net } }) =>
        (family === 4 ? net.v4 : net.v6).map(({ prefix }) => ({ net, prefix })),
      );
      if (subnets.length === 0) continue;
      const foreign = await this.#routesOver(others, family);
      for (const { net, prefix } of subnets) {
        const { first, last } = prefixBounds(prefix);
        const found = foreign.find(
          (route) => route.first >= first && route.last <= last && (route.goesFirst || route.last - route.first < last - first),
        );
        if (found === undefined) continue;
        this.#cnm.env.log.warn(
          { network: net.id, name: net.name, subnet: prefix, route: found.reason },
          'the subnet of a network overlaps a route of the host: what is meant for its sandboxes may go there',
        );
      }
    }
  }

  /** Of the main table, over `links`: names by index. */
  async #routesOver(links: ReadonlyMap<number, string>, family: IpFamily): Promise<ForeignRoute[]> {
    const routes = await this.#cnm.host.rtnl().route.list({ family, table: MAIN_TABLE });
    return routes.flatMap(({ destination, gateway, link, metric = 0 }) => {
      const name = link === undefined ? undefined : links.get(link);
      if (destination === undefined || name === undefined) return [];
      const reason = `route ${destination}${gateway === undefined ? '' : ` via ${gateway}`} dev ${name}`;
      // Bounds once for each: a router has some thousand routes, and every network looks at all of them.
      return [{ ...prefixBounds(destination), goesFirst: metric <= CONNECTED_METRIC[family], reason }];
    });
  }
}

const tellFailed = (cnm: Cnm, error: unknown): void =>
  cnm.env.log.error({ err: error }, 'links and routes of the host cannot be compared with what is wished');

const linksOfHost = async (cnm: Cnm): Promise<Map<string, number>> =>
  new Map((await cnm.host.rtnl().link.list()).map(({ name, index }) => [name, index]));
