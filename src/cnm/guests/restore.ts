/** Start and mending of the guests: what their driver shall make the kernel match, and what a crash left half-made. */

import { type EndpointId, type NetworkId, messageOf, shortId } from '../../base/index.ts';
import type { RestoreNetwork, RestoreReport } from '../../driver/index.ts';
import type { Netns } from '../../kernel/index.ts';
import { ours } from '../../portmap/index.ts';
import { contextOf } from '../context.ts';
import { type Hosting, guestEndpointValue, guestNetworkValue, remakesMoved } from './context.ts';
import { endGuestEndpoint } from './endpoints.ts';
import { leaveJoined } from './join.ts';
import { replayGuestPools } from './leases.ts';
import { dropForgottenAddresses, dropForgottenPools } from './home-leases.ts';
import { deleteGuestNetwork, unmakeGuestNetwork } from './networks.ts';
import { replayNames, serveAll } from './names.ts';
import { noteNames, openLosing, restoreWays } from './moved.ts';
import { withdrawn } from './ports.ts';
import { type GuestEndpoint, type GuestNetwork, holderOf } from './records.ts';
import { isAbandoned, noteSandboxes, placeOf, sandboxOf } from './sandbox.ts';

/** Open namespaces by the id of the endpoint that is joined there. */
export type GuestPlaces = ReadonlyMap<EndpointId, Netns>;

type Wished = RestoreNetwork['endpoints'][number];

const joined = ({ state }: Hosting, net: GuestNetwork): GuestEndpoint[] =>
  state.endpointsOf(net.id).filter((ep) => ep.phase === 'joined');

/** An endpoint that is not in `places` is wished without its place. */
export function guestWish(hosting: Hosting, net: GuestNetwork, places?: GuestPlaces): RestoreNetwork {
  return {
    net: guestNetworkValue(net),
    endpoints: joined(hosting, net).map((ep) => {
      const netns = places?.get(ep.id);
      return { ep: guestEndpointValue(ep), roles: ep.roles, ports: ep.held, ...whereabouts(ep, netns) };
    }),
  };
}

function whereabouts({ id, join }: GuestEndpoint, netns?: Netns): Pick<Wished, 'place' | 'hasMoved' | 'moved'> {
  const at = netns && { sandbox: holderOf(id), netns };
  if (join?.isBare !== true) return at ? { place: { ...at, ifname: join?.ifname ?? '' } } : {};
  return { hasMoved: true, ...(at && { moved: { ...at, ...(join.seenAs !== undefined && { ifname: join.seenAs }) } }) };
}

/** Without endpoints whose link the engine moved, where the driver knows no better. */
function observed(hosting: Hosting, net: GuestNetwork, losing: GuestPlaces): RestoreNetwork {
  const wish = guestWish(hosting, net, losing);
  const restorer = hosting.cnm.drivers.find(net.driver)?.restorer;
  if (restorer?.seesMoved === true || restorer?.remakesMoved === true) return wish;
  return { ...wish, endpoints: wish.endpoints.filter(({ hasMoved }) => hasMoved !== true) };
}

/** Without those that stand for a network of the cluster, which is restored with all that is in it. */
export const guestNetworksOf = ({ state }: Hosting, driver: string): GuestNetwork[] =>
  [...state.networks.values()].filter((net) => net.phase === 'ready' && net.driver === driver && net.home === undefined);

/** Namespaces of joined endpoints that are still what the records say, where their driver has work there. The caller closes them. */
export function openPlaces(hosting: Hosting): Map<EndpointId, Netns> {
  const places = new Map<EndpointId, Netns>();
  for (const ep of hosting.state.endpoints.values()) {
    if (ep.phase !== 'joined') continue;
    const netns = remakesMoved(hosting, ep) ? sandboxOf(ep) : placeOf(ep);
    if (netns !== undefined) places.set(ep.id, netns);
  }
  return places;
}

/** Leases, names and host ports as the records say, before anything new is taken. */
export async function replayGuests(hosting: Hosting): Promise<void> {
  const { cnm, state } = hosting;
  await replayGuestPools(hosting);
  await replayNames(hosting);
  for (const ep of state.endpoints.values()) {
    if (ep.held.length === 0) continue;
    cnm.ports.adopt(holderOf(ep.id), ep.held);
    try {
      await cnm.keeper.holds(holderOf(ep.id), ours(ep.held));
    } catch (error) {
      cnm.env.log.error({ endpoint: ep.id, err: error }, 'the keeper did not take a wish');
    }
  }
}

export async function storeGuestReports({ cnm, state }: Hosting, reports: readonly RestoreReport[]): Promise<void> {
  const networks = reports.flatMap((report): GuestNetwork[] => {
    const net = state.networks.get(report.id);
    if (net === undefined || (net.degraded === report.problem && net.driverState === report.state)) return [];
    const { degraded: _was, ...rest } = net;
    if (report.problem !== undefined)
      cnm.env.log.error({ network: net.id, problem: report.problem }, 'a network of an engine is degraded');
    return [{ ...rest, driverState: report.state, ...(report.problem !== undefined && { degraded: report.problem }) }];
  });
  if (networks.length > 0) await state.commit({ networks });
}

/** Takes back what was half-made, completes what was half-gone, and removes endpoints whose sandbox is gone. */
export async function finishGuests(hosting: Hosting): Promise<void> {
  const { cnm, state } = hosting;
  const attempt = async (what: string, id: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
      cnm.env.log.info({ id: shortId(id) }, `${what}: finished`);
    } catch (error) {
      cnm.env.log.error({ id: shortId(id), err: error }, `${what}: could not be finished`);
    }
  };
  for (const ep of state.endpoints.values()) {
    const net = state.networks.get(ep.network);
    if (isAbandoned(ep) || net?.phase !== 'ready' || ep.phase === 'creating' || ep.phase === 'deleting')
      await attempt('removal of an endpoint of an engine', ep.id, () => endGuestEndpoint(hosting, ep.id));
    else if (ep.phase === 'joining' || ep.phase === 'leaving')
      await attempt('leave of an endpoint of an engine', ep.id, () => leaveJoined(hosting, net, ep));
    else if (ep.isPublishing === true)
      await attempt('withdrawal of ports of an engine', ep.id, async () =>
        state.commit({ endpoints: [await withdrawn(hosting, net, ep)] }),
      );
  }
  // Whoever asked for it was killed with us: it is asked for again.
  if (cnm.shared !== undefined) await dropForgottenPools(hosting, 0);
  for (const net of state.networks.values())
    if (net.phase !== 'ready') await attempt('removal of a network of an engine', net.id, () => unmakeGuestNetwork(hosting, net));
}

/** Names of links on the host that guests need. */
export function guestLinks(hosting: Hosting): string[] {
  return [...hosting.state.networks.values()].flatMap((net) => {
    const names = hosting.cnm.drivers.find(net.driver)?.restorer?.linksOf(guestWish(hosting, net)) ?? [];
    // Until the engine moves it, the other side of the pair lies on the host too.
    return [...names, ...joined(hosting, net).flatMap((ep) => ep.join?.ifname ?? [])];
  });
}

/** Guests of networks of the cluster: what has lost its sandbox is told no more, and what was cut short is done. */
async function mendLodgers(hosting: Hosting): Promise<void> {
  const { cnm, state } = hosting;
  const attempt = async (id: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      cnm.env.log.warn({ id, problem: messageOf(error) }, 'what an engine has in the cluster is not as it should be');
    }
  };
  await dropForgottenPools(hosting);
  await dropForgottenAddresses(hosting);
  for (const net of state.networks.values()) {
    if (net.home === undefined && net.planned === undefined) continue;
    if (net.phase === 'deleting') await attempt(net.id, () => deleteGuestNetwork(hosting, net.id));
    for (const { id } of state.endpointsOf(net.id))
      await attempt(id, () =>
        cnm.locks.run(`endpoint:${id}`, async () => {
          const ep = state.endpoints.get(id);
          if (ep?.phase === 'leaving' || (ep?.phase === 'joined' && isAbandoned(ep))) await leaveJoined(hosting, net, ep);
          else if (ep?.phase === 'deleting') await endGuestEndpoint(hosting, id);
        }),
      );
  }
  await serveAll(hosting);
}

/** One look at all guests. Never throws for a single network. */
export async function mendGuests(hosting: Hosting): Promise<void> {
  const { cnm, state } = hosting;
  await noteSandboxes(hosting);
  await noteNames(hosting);
  if (cnm.shared !== undefined) await mendLodgers(hosting);
  const suspects: NetworkId[] = [];
  const losing = openLosing(hosting);
  try {
    for (const driver of cnm.drivers.all()) {
      const mine = guestNetworksOf(hosting, driver.name);
      if (driver.restorer === undefined || mine.length === 0) continue;
      const wrong = await driver.restorer.observe(mine.map((net) => observed(hosting, net, losing)));
      suspects.push(...wrong, ...mine.filter((net) => net.degraded !== undefined).map((net) => net.id));
    }
  } finally {
    for (const netns of losing.values()) netns[Symbol.dispose]();
  }
  for (const id of new Set(suspects)) {
    const endpoints = state.endpointsOf(id).map((ep) => `endpoint:${ep.id}`);
    await cnm.locks.runAll([...endpoints, `network:${id}`], () => mendGuest(hosting, id));
  }
}

/** The caller holds the locks of the network and of its endpoints. */
async function mendGuest(hosting: Hosting, id: NetworkId): Promise<void> {
  const { cnm, state } = hosting;
  const net = state.networks.get(id);
  const restorer = net && cnm.drivers.find(net.driver)?.restorer;
  if (net?.phase !== 'ready' || restorer === undefined) return;
  const places = openPlaces(hosting);
  const losing = openLosing(hosting, id);
  try {
    if (net.degraded === undefined && (await restorer.observe([observed(hosting, net, losing)])).length === 0) return;
    const [report] = await restorer.restore(contextOf(), [guestWish(hosting, net, places)]);
    if (report === undefined) return;
    if (report.problem === undefined) await cnm.firewall.mend(report.rules);
    await restoreWays(hosting, id, losing);
    await storeGuestReports(hosting, [report]);
    if (report.problem === undefined) cnm.env.log.warn({ network: id }, 'a network of an engine was not as left: it is mended');
  } catch (error) {
    cnm.env.log.error({ network: id, problem: messageOf(error) }, 'a network of an engine cannot be mended');
  } finally {
    for (const netns of [...places.values(), ...losing.values()]) netns[Symbol.dispose]();
  }
}
