/** Networks of foreign engines: their subnets come with them, only the driver's part is made here. */

import { isDeepStrictEqual } from 'node:util';
import { type NetworkId, CnmError, attemptAll, familyOf, prefixContains, shortId, undoable } from '../../base/index.ts';
import type { Ctx } from '../../driver/index.ts';
import { contextOf, driverNetwork, refuseWhenClosing, stillWanted } from '../context.ts';
import { RECORD_SCHEMA } from '../records.ts';
import { type Hosting, guestDriver, guestNetworkValue } from './context.ts';
import { endGuestEndpoint } from './endpoints.ts';
import { HOMES_LOCK } from './home-leases.ts';
import { enterHome, leaveHome, plannedHome, sharedOf } from './homes.ts';
import { releaseGuestPool } from './leases.ts';
import { stakeOf } from './members.ts';
import { ENGINE, type GuestNetwork, type GuestNetworkSpec } from './records.ts';

/**
 * Creates a network under the engine's id. The same again is a success: engines repeat it when they start. Throws name_taken
 * when it is here with other settings, and the driver's own errors; nothing is left then.
 */
export async function createGuestNetwork(
  hosting: Hosting,
  driver: string,
  id: NetworkId,
  asked: GuestNetworkSpec,
  ctx: Ctx,
): Promise<void> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  await cnm.locks.run(`network:${id}`, async () => {
    const there = state.networks.get(id);
    if (there?.phase === 'ready') {
      if (there.driver === driver && isDeepStrictEqual(there.asked, asked)) return;
      throw new CnmError('name_taken', `network ${shortId(id)} is here already, with other settings`);
    }
    if (there !== undefined) await unmakeGuestNetwork(hosting, there);
    await build(
      hosting,
      { schema: RECORD_SCHEMA, owner: ENGINE, created: cnm.env.now(), id, phase: 'creating', driver, asked, driverState: null },
      ctx,
    );
  });
}

/** An engine's own checks are not ours: rules and routes would be made of what is wrong. Throws bad_subnet and its siblings. */
function checkPools({ v4, v6 }: GuestNetworkSpec): void {
  for (const [family, pools] of [
    [4, v4],
    [6, v6],
  ] as const) {
    for (const { prefix, gateway, aux } of pools) {
      if (familyOf(prefix) !== family) throw new CnmError('bad_subnet', `pool ${prefix} is given for IPv${family}`);
      if (gateway !== undefined && !prefixContains(prefix, gateway))
        throw new CnmError('bad_gateway', `gateway ${gateway} is not in pool ${prefix}`);
      for (const [key, address] of Object.entries(aux))
        if (!prefixContains(prefix, address))
          throw new CnmError('bad_aux_address', `auxiliary address ${key}=${address} is not in pool ${prefix}`);
    }
  }
}

async function build(hosting: Hosting, draft: GuestNetwork, ctx: Ctx): Promise<void> {
  const { cnm, state } = hosting;
  checkPools(draft.asked);
  const driver = guestDriver(hosting, draft);
  // Pools that the cluster's network is made of must not be given back while it is made.
  if (driver.cluster !== undefined) return cnm.locks.run(HOMES_LOCK, () => settle(hosting, draft, ctx));
  driver.validateNetwork?.(guestNetworkValue(draft));
  await undoable(async (undo) => {
    await state.commit({ networks: [draft] });
    undo.add('forget guest network', () => state.commit({ remove: { network: draft.id } }));
    const planned = await driver.planNetwork?.(ctx, guestNetworkValue(draft));
    if (planned !== undefined) await state.commit({ networks: [{ ...draft, driverState: planned.state }] });
    const made = await driver.createNetwork(ctx, guestNetworkValue(draft));
    const ready: GuestNetwork = { ...draft, driverState: made.state, phase: 'ready' };
    undo.add('delete guest network', () => driver.deleteNetwork(contextOf(), guestNetworkValue(ready)));
    stillWanted(ctx);
    await state.commit({ networks: [ready], durable: true });
  });
}

/** A network of several hosts: it stands for one of the cluster, which has the driver's part. The caller holds HOMES_LOCK. */
async function settle(hosting: Hosting, asked: GuestNetwork, ctx: Ctx): Promise<void> {
  const { state } = hosting;
  sharedOf(hosting);
  const draft: GuestNetwork = { ...asked, planned: plannedHome(hosting, asked.asked) };
  await undoable(async (undo) => {
    await state.commit({ networks: [draft] });
    undo.add('forget guest network', () => state.commit({ remove: { network: draft.id } }));
    const { net, pools } = await enterHome(hosting, draft.asked, ctx);
    undo.add('leave home', () => leaveHome(hosting, draft.id, net.id));
    stillWanted(ctx);
    const ready: GuestNetwork = { ...draft, home: driverNetwork(net), driverState: net.driverState, phase: 'ready' };
    const untaken = pools.flatMap(({ pool }) => state.pools.get(pool) ?? []);
    const taken = untaken.flatMap((pool) =>
      pool.home === undefined ? [] : [{ ...pool, home: { ...pool.home, guest: draft.id } }],
    );
    await state.commit({ networks: [ready], pools: taken, durable: true });
    // First of all: while it is ready, what the cluster misses is told again.
    undo.add('guest network is not ready yet', () => state.commit({ networks: [draft], pools: untaken }));
    // Before that nobody here would know whose it is, and take it away.
    await sharedOf(hosting).endpoints.write(net, stakeOf(net.id, ready), false);
  });
}

/** Notes which engine has the network: only that one can have forgotten it later. */
export async function noteEngine({ cnm, state }: Hosting, id: NetworkId, engine: string): Promise<void> {
  await cnm.locks.run(`network:${id}`, async () => {
    const net = state.networks.get(id);
    if (net?.phase === 'ready' && net.engine !== engine) await state.commit({ networks: [{ ...net, engine }] });
  });
}

/** Deletes with all that is left in it; a network that is not here is gone already. May be repeated after a failure. */
export async function deleteGuestNetwork(hosting: Hosting, id: NetworkId): Promise<void> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  // From here on nobody makes an endpoint in it. The endpoints' locks come before the network's.
  await cnm.locks.run(`network:${id}`, async () => {
    const net = state.networks.get(id);
    if (net !== undefined) await state.commit({ networks: [{ ...net, phase: 'deleting' }] });
  });
  await attemptAll(
    state
      .endpointsOf(id)
      .map((ep) => [
        `endpoint ${shortId(ep.id)}`,
        () => cnm.locks.run(`endpoint:${ep.id}`, () => endGuestEndpoint(hosting, ep.id)),
      ]),
  );
  await cnm.locks.run(`network:${id}`, async () => {
    const net = state.networks.get(id);
    if (net !== undefined) await unmakeGuestNetwork(hosting, net);
  });
}

/** The caller holds the network's lock, or nobody else runs yet. */
export async function unmakeGuestNetwork(hosting: Hosting, net: GuestNetwork): Promise<void> {
  const { cnm, state } = hosting;
  await state.commit({ networks: [{ ...net, phase: 'deleting' }] });
  if (net.home !== undefined) {
    const own = [...state.pools.values()].filter(({ home }) => home?.guest === net.id);
    for (const { pool } of own) await releaseGuestPool(hosting, pool);
    await leaveHome(hosting, net.id, net.home.id);
  } else {
    const driver = cnm.drivers.find(net.driver);
    // One that was to stand for a network of the cluster, and was cut short, may have made it.
    if (net.planned !== undefined) await leaveHome(hosting, net.id, net.planned);
    else if (driver?.cluster === undefined) await driver?.deleteNetwork(contextOf(), guestNetworkValue(net));
  }
  await state.commit({ remove: { network: net.id }, durable: true });
}
