/** Guests on their way into and out of an engine's sandbox, and the namespace that this is. */

import { statSync } from 'node:fs';
import { type Address, type EndpointId, type NetworkId, CnmError, attemptAll, shortId, undoable } from '../../base/index.ts';
import { type Ctx, type JoinPlace, type StaticRoute, labels } from '../../driver/index.ts';
import type { Netns } from '../../kernel/index.ts';
import { contextOf, refuseWhenClosing, stillWanted } from '../context.ts';
import {
  type Hosting,
  guestDriver,
  guestEndpointValue,
  guestNetworkValue,
  knownEndpoint,
  readyNetwork,
  tryOpenNetns,
} from './context.ts';
import { withdrawn } from './ports.ts';
import { type GuestEndpoint, type GuestJoin, type GuestNetwork, holderOf } from './records.ts';

/** What the engine is told of a join. */
export interface GuestJoined {
  /** Link on the host that the engine moves into its sandbox; absent when it is there already, addressed and up. */
  readonly link?: { readonly name: string; readonly prefix: string };
  readonly gateway?: Address;
  readonly gateway6?: Address;
  readonly routes: readonly StaticRoute[];
}

const DEFAULT_PREFIX = 'eth';

/** Age of a namespace from which on its container counts as running, milliseconds. */
const STARTING_MS = 2000;

/** First number of a link that the engine does not know of: it counts its own from 0, and never gets there. */
const FIRST_NUMBER = 100;

/**
 * Joins an endpoint to the namespace at `key`. Where a container runs in it already, the link is made inside it, which takes
 * a fraction of the time; else on the host, for the engine to move. Throws no_network, no_endpoint, already_joined.
 */
export async function joinGuest(
  hosting: Hosting,
  network: NetworkId,
  id: EndpointId,
  key: string,
  ctx: Ctx,
): Promise<GuestJoined> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  return cnm.locks.run(`endpoint:${id}`, async () => {
    const net = readyNetwork(hosting, network);
    let ep = knownEndpoint(hosting, network, id);
    if (ep.phase !== 'ready') {
      if (ep.join?.key !== key)
        throw new CnmError('already_joined', `endpoint ${shortId(id)} is ${ep.phase} in ${ep.join?.key ?? 'no sandbox'}`);
      ep = await leaveJoined(hosting, net, ep);
    }
    using inside = await openSandbox(hosting, key);
    const join = await intendedJoin(net, ep, key, inside);
    const joining: GuestEndpoint = { ...ep, phase: 'joining', join };
    return await undoable(async (undo) => {
      await state.commit({ endpoints: [joining] });
      undo.add('forget guest join', () => state.commit({ endpoints: [ep] }));
      const driver = guestDriver(hosting, net);
      const place: JoinPlace =
        inside === undefined
          ? { sandbox: holderOf(id), netns: cnm.host, ifname: join.ifname, isBare: true }
          : { sandbox: holderOf(id), netns: inside, ifname: join.ifname };
      const result = await driver.join(ctx, guestNetworkValue(net), guestEndpointValue(joining), place);
      undo.add('leave guest', () => driver.leave(contextOf(), guestNetworkValue(net), guestEndpointValue(joining), place));
      stillWanted(ctx);
      await state.commit({ endpoints: [{ ...joining, phase: 'joined', driverState: result.state }] });
      return {
        ...(inside === undefined && { link: { name: join.ifname, prefix: prefixOf(net) } }),
        ...(result.gateway && { gateway: result.gateway }),
        ...(result.gateway6 && { gateway6: result.gateway6 }),
        routes: result.routes,
      };
    });
  });
}

const prefixOf = (net: GuestNetwork): string => net.asked.options[labels.ifacePrefix] || DEFAULT_PREFIX;

/**
 * The namespace to make the link in: one that is there and in use. A container that is only starting has its links counted
 * by the engine, which then also moves them: they get the names that its users expect.
 */
async function openSandbox({ cnm }: Hosting, key: string): Promise<Netns | undefined> {
  const netns = tryOpenNetns(key);
  if (netns === undefined) return undefined;
  if (netns.identity !== cnm.host.identity) {
    if (Date.now() - statSync(key).ctimeMs >= STARTING_MS && (await netns.rtnl().link.list()).length > 1) return netns;
    netns[Symbol.dispose]();
    return undefined;
  }
  netns[Symbol.dispose]();
  throw new CnmError('bad_netns', `${key} is the namespace of the host`);
}

async function intendedJoin(net: GuestNetwork, ep: GuestEndpoint, key: string, inside: Netns | undefined): Promise<GuestJoin> {
  // On the host: derived, so that it can be found without a record.
  if (inside === undefined) return { ...seenAt(key), key, ifname: `peer${ep.id.slice(0, 11)}`, isBare: true };
  const taken = new Set((await inside.rtnl().link.list()).map(({ name }) => name));
  const asked = ep.asked.options[labels.endpointIfname];
  if (asked !== undefined && taken.has(asked)) throw new CnmError('bad_option', `interface name ${asked} is taken in ${key}`);
  let number = FIRST_NUMBER;
  while (taken.has(`${prefixOf(net)}${number}`)) number++;
  return { key, identity: inside.identity, ifname: asked ?? `${prefixOf(net)}${number}`, isBare: false };
}

/** Takes the endpoint out of its sandbox. What is not there, or not joined, is fine. */
export async function leaveGuest(hosting: Hosting, network: NetworkId, id: EndpointId): Promise<void> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  await cnm.locks.run(`endpoint:${id}`, async () => {
    const [net, ep] = [state.networks.get(network), state.endpoints.get(id)];
    if (net !== undefined && ep?.network === network && ep.join !== undefined) await leaveJoined(hosting, net, ep);
  });
}

export async function leaveJoined(hosting: Hosting, net: GuestNetwork, ep: GuestEndpoint): Promise<GuestEndpoint> {
  const { cnm, state } = hosting;
  const leaving: GuestEndpoint = { ...ep, phase: 'leaving' };
  await state.commit({ endpoints: [leaving] });
  let left = leaving;
  await attemptAll([
    ['withdraw guest ports', async () => void (left = await withdrawn(hosting, net, leaving))],
    [
      'leave guest',
      async () => {
        using netns = placeOf(leaving);
        const ifname = ep.join?.ifname ?? '';
        const place =
          ep.join?.isBare === true
            ? { sandbox: holderOf(ep.id), netns: cnm.host, ifname, isBare: true }
            : netns && { sandbox: holderOf(ep.id), netns, ifname };
        await cnm.drivers.find(net.driver)?.leave(contextOf(), guestNetworkValue(net), guestEndpointValue(leaving), place);
      },
    ],
  ]);
  const { join: _left, ...rest } = left;
  const ready: GuestEndpoint = { ...rest, phase: 'ready' };
  await state.commit({ endpoints: [ready] });
  return ready;
}

/** Identity of the namespace at the path, when there is one. */
function seenAt(key: string): { readonly identity?: string } {
  using netns = tryOpenNetns(key);
  return { ...(netns && { identity: netns.identity }) };
}

/** The namespace that the link was made in; undefined when it is another one now, or the engine moved the link. */
export function placeOf(ep: GuestEndpoint): Netns | undefined {
  if (ep.join?.identity === undefined || ep.join.isBare) return undefined;
  const netns = tryOpenNetns(ep.join.key);
  if (netns === undefined || netns.identity === ep.join.identity) return netns;
  netns[Symbol.dispose]();
  return undefined;
}

/** Joined to a namespace that was seen and is not there any more. */
export function isAbandoned({ join }: GuestEndpoint): boolean {
  return join?.identity !== undefined && seenAt(join.key).identity !== join.identity;
}

/** Notes namespaces that have come since their join: from now on it can be told that they are gone. */
export async function noteSandboxes({ cnm, state }: Hosting): Promise<void> {
  for (const { id, join } of state.endpoints.values()) {
    if (join === undefined || join.identity !== undefined || seenAt(join.key).identity === undefined) continue;
    await cnm.locks.run(`endpoint:${id}`, async () => {
      const ep = state.endpoints.get(id);
      if (ep?.phase !== 'joined' || ep.join === undefined || ep.join.identity !== undefined) return;
      await state.commit({ endpoints: [{ ...ep, join: { ...ep.join, ...seenAt(ep.join.key) } }] });
    });
  }
}
