/**
 * Start: records and kernel are made to agree. Order matters: leases before anything new can be leased, add before
 * remove, one write of the packet filter for all. A network that fails is kept, marked and shown; it never stops the start.
 */

import { messageOf, shortId } from '../base/index.ts';
import type { RestoreReport } from '../driver/index.ts';
import { type Netns, Turnstile } from '../kernel/index.ts';
import { ours } from '../portmap/index.ts';
import { type Cnm, REPLAYS_AT_ONCE, contextOf, driversInUse, servesNames } from './context.ts';
import { deleteEndpoint, detach } from './endpoints.ts';
import type { Hosting } from './guests/context.ts';
import {
  type GuestPlaces,
  finishGuests,
  guestNetworksOf,
  guestWish,
  openPlaces,
  replayGuests,
  storeGuestReports,
} from './guests/restore.ts';
import { openLosing, restoreWays } from './guests/moved.ts';
import { HostAtStart, type Wished } from './host-at-start.ts';
import { tryOpenSandboxNetns } from './join.ts';
import { unmakeNetwork } from './networks.ts';
import type { NetworkRecord } from './records.ts';
import { type Living, joinedOf, repin, restoreSandboxes, storeReports, wishOf } from './restore.ts';
import { deleteSandbox } from './sandboxes.ts';
import { replayAddresses, replayPools } from './steps/addresses.ts';
import { nameRecord, resolverWish } from './steps/names.ts';
import { sweep } from './sweep.ts';

export async function reconcile(hosting: Hosting): Promise<void> {
  const { cnm } = hosting;
  const problems = await replay(cnm);
  await replayGuests(hosting);
  const alive = openLiving(cnm);
  const places = openPlaces(hosting);
  const losing = openLosing(hosting);
  try {
    const reports = await restoreDrivers(hosting, alive, places, problems);
    await cnm.firewall.sync(
      reports.flatMap((r) => r.rules.flatMap(({ owner, intent }) => (intent === null ? [] : [{ owner, intent }]))),
    );
    await tellKeeper(cnm, alive);
    await storeReports(cnm, reports, problems);
    await storeGuestReports(hosting, reports);
    for (const { id } of reports) await restoreWays(hosting, id, losing);
    await finish(cnm, alive);
    await finishGuests(hosting);
    // Last: an endpoint that was on its way in may have had the default routes.
    await restoreSandboxes(cnm, alive);
    await sweep(hosting);
  } finally {
    for (const netns of [...alive.values(), ...places.values(), ...losing.values()]) netns[Symbol.dispose]();
  }
}

/** Networks whose leases could not be had again, with the reason. */
async function replay(cnm: Cnm): Promise<Map<string, string>> {
  const problems = new Map<string, string>();
  const attempt = async (net: NetworkRecord, work: () => Promise<void>): Promise<void> => {
    // A plugin that is not there keeps nobody waiting: see foreign-leases.ts.
    if (cnm.ipams.isForeign(net.ipam.driver)) {
      if (net.ipam.replays === true && net.phase === 'ready') cnm.untold.add(net.id);
      return;
    }
    try {
      await work();
    } catch (error) {
      problems.set(net.id, messageOf(error));
      cnm.unleased.add(net.id);
      cnm.env.log.error({ network: net.id, err: error }, 'leases of a network cannot be had again');
    }
  };
  for (const net of cnm.state.allNetworks()) {
    // The subnets of a shared one are the cluster's.
    if (net.pools.length > 0 && net.shared !== true) await attempt(net, () => replayPools(cnm, net));
  }
  const turns = new Turnstile(REPLAYS_AT_ONCE);
  await Promise.all(
    cnm.state.allEndpoints().map((ep) =>
      turns.pass(async () => {
        const net = cnm.state.networkById(ep.network);
        if (net !== undefined) await attempt(net, () => replayAddresses(cnm, net, ep));
      }),
    ),
  );
  for (const network of new Set(cnm.state.allServices().map((service) => service.network))) {
    const net = cnm.state.networkById(network);
    // As with the subnets, those of a shared one are the cluster's.
    if (net !== undefined && net.shared !== true) await attempt(net, async () => cnm.services?.replay(net));
  }
  return problems;
}

/** A start that fails leaves no rules where there is no network that they are for. */
export async function withdraw({ cnm, state }: Hosting): Promise<void> {
  if (state.networks.size > 0) return;
  if (cnm.state.allNetworks().some((net) => cnm.drivers.find(net.driver)?.restorer !== undefined)) return;
  await cnm.firewall
    .purge()
    .catch((error: unknown) => cnm.env.log.error({ err: error }, 'rules of a start that failed cannot be removed'));
}

/** Namespaces of the sandboxes that are still what their records say. */
function openLiving(cnm: Cnm): Map<string, Netns> {
  const alive = new Map<string, Netns>();
  for (const sandbox of cnm.state.sandboxes()) {
    const netns = tryOpenSandboxNetns(sandbox) ?? repin(cnm, sandbox);
    if (netns !== undefined) alive.set(sandbox.id, netns);
    else
      cnm.env.log.warn({ sandbox: sandbox.id, name: sandbox.name }, 'the namespace of a sandbox is gone: the sandbox is removed');
  }
  return alive;
}

async function restoreDrivers(
  hosting: Hosting,
  alive: Living,
  places: GuestPlaces,
  problems: ReadonlyMap<string, string>,
): Promise<RestoreReport[]> {
  const { cnm } = hosting;
  const networks = cnm.state.allNetworks().filter((n) => n.phase === 'ready' && !n.configOnly && !problems.has(n.id));
  const wished: Wished[] = [];
  for (const { name, restorer, capabilities } of driversInUse(cnm)) {
    const wishes = [
      ...networks.filter((n) => n.driver === name).map((net) => wishOf(cnm, net, alive)),
      ...guestNetworksOf(hosting, name).map((net) => guestWish(hosting, net, places)),
    ];
    if (restorer !== undefined && wishes.length > 0)
      wished.push({ restorer, usesParent: capabilities.usesParent === true, wishes });
  }
  if (wished.length === 0) return [];
  const host = await HostAtStart.look(cnm, wished);
  const reports: RestoreReport[] = [];
  for (const { restorer, wishes } of wished) reports.push(...(await restorer.restore(contextOf(), wishes)));
  await host?.tell();
  return reports;
}

/** The keeper has most of this already when it lived on; every wish is whole and harmless twice. */
async function tellKeeper(cnm: Cnm, alive: Living): Promise<void> {
  const wishes: Promise<unknown>[] = [];
  for (const sandbox of cnm.state.sandboxes()) {
    if (!alive.has(sandbox.id)) continue;
    cnm.ports.adopt(sandbox.id, sandbox.held);
    if (sandbox.held.length > 0) wishes.push(cnm.keeper.holds(sandbox.id, ours(sandbox.held)));
    const wish = resolverWish(cnm, sandbox, joinedOf(cnm, sandbox));
    if (wish !== undefined) wishes.push(cnm.keeper.sandbox(sandbox.id, wish));
    for (const ep of joinedOf(cnm, sandbox)) {
      const net = cnm.state.networkById(ep.network);
      if (net !== undefined && servesNames(net)) wishes.push(cnm.keeper.names(ep.id, nameRecord(net, ep)));
    }
  }
  for (const result of await Promise.allSettled(wishes)) {
    if (result.status === 'rejected') cnm.env.log.error({ err: result.reason }, 'the keeper did not take a wish');
  }
}

/** Takes back what was half-made, completes what was half-gone. */
async function finish(cnm: Cnm, alive: Living): Promise<void> {
  const attempt = async (what: string, id: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
      cnm.env.log.info({ id: shortId(id) }, `${what}: finished`);
    } catch (error) {
      cnm.env.log.error({ id: shortId(id), err: error }, `${what}: could not be finished`);
    }
  };
  for (const sandbox of cnm.state.allSandboxes()) {
    if (sandbox.phase !== 'ready' || !alive.has(sandbox.id))
      await attempt('removal of a sandbox', sandbox.id, () => deleteSandbox(cnm, sandbox.id));
  }
  for (const ep of cnm.state.allEndpoints()) {
    if (ep.phase === 'joined' || (ep.phase === 'ready' && ep.boundTo === undefined)) continue;
    // One that exists by itself and was on its way in or out of a sandbox is out of it, and stays.
    await attempt('change of an endpoint', ep.id, () =>
      ep.sandbox === undefined ? deleteEndpoint(cnm, ep.id) : detach(cnm, ep.id),
    );
  }
  await cnm.services?.finish();
  for (const net of cnm.state.allNetworks()) {
    if (net.phase !== 'ready') await attempt('removal of a network', net.id, () => unmakeNetwork(cnm, net.id));
  }
}
