/** Guests on their way into and out of an engine's sandbox. */

import { type EndpointId, type NetworkId, type Prefix, CnmError, attemptAll, shortId, undoable } from '../../base/index.ts';
import { type Ctx, type JoinPlace, type JoinResult, type StaticRoute, bareLinkName, labels } from '../../driver/index.ts';
import type { Netns } from '../../kernel/index.ts';
import { contextOf, refuseWhenClosing, stillWanted } from '../context.ts';
import { type Hosting, guestDriver, guestEndpointValue, guestNetworkValue, knownEndpoint, readyNetwork } from './context.ts';
import { homeOf, sharedOf } from './homes.ts';
import { memberOf } from './members.ts';
import { endNames, serveSoon } from './names.ts';
import { withdrawn } from './ports.ts';
import { type GuestEndpoint, type GuestJoin, type GuestNetwork, type GuestWays, holderOf } from './records.ts';
import { openSandbox, placeOf, seenAt } from './sandbox.ts';

/** What the engine is told of a join. */
export interface GuestJoined extends GuestWays {
  /** Link on the host that the engine moves into its sandbox; absent when it is there already, addressed and up. */
  readonly link?: { readonly name: string; readonly prefix: string };
}

/** A default route onto the link itself is told as a static one. */
const routesOf = ({ routes, wayOut }: JoinResult): StaticRoute[] => [
  ...routes,
  ...(wayOut?.v4 === 'link' ? [{ destination: '0.0.0.0/0' as Prefix }] : []),
  ...(wayOut?.v6 === 'link' ? [{ destination: '::/0' as Prefix }] : []),
];

const DEFAULT_PREFIX = 'eth';

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
    const home = homeOf(hosting, net);
    using inside = await openSandbox(hosting, key);
    const join = await intendedJoin(net, ep, key, inside);
    const joining: GuestEndpoint = { ...ep, phase: 'joining', join };
    return await undoable(async (undo) => {
      await state.commit({ endpoints: [joining] });
      undo.add('forget guest join', () => state.commit({ endpoints: [ep] }));
      if (home !== undefined) {
        undo.add('forget peers', () => cnm.shared?.exit(home, ep));
        await sharedOf(hosting).enter(home, ep);
      }
      const driver = guestDriver(hosting, net);
      const place: JoinPlace =
        inside === undefined
          ? { sandbox: holderOf(id), netns: cnm.host, ifname: join.ifname, isBare: true }
          : { sandbox: holderOf(id), netns: inside, ifname: join.ifname };
      const result = await driver.join(ctx, guestNetworkValue(net), guestEndpointValue(joining), place);
      undo.add('leave guest', () => driver.leave(contextOf(), guestNetworkValue(net), guestEndpointValue(joining), place));
      stillWanted(ctx);
      const told: GuestWays = {
        ...(result.gateway && { gateway: result.gateway }),
        ...(result.gateway6 && { gateway6: result.gateway6 }),
        routes: routesOf(result),
      };
      const joined: GuestEndpoint = { ...joining, phase: 'joined', join: { ...join, told }, driverState: result.state };
      await state.commit({ endpoints: [joined] });
      if (home !== undefined) {
        undo.add('withdraw guest', () => cnm.shared?.endpoints.withdraw({ id, network: home.id }));
        // First of all: what is joined and missed in the cluster is told again.
        undo.add('guest is not joined yet', () => state.commit({ endpoints: [joining] }));
        await sharedOf(hosting).endpoints.write(home, memberOf(home.id, joined), true);
        void serveSoon(hosting, id);
        cnm.services?.peersChanged(home.id);
      }
      return { ...(inside === undefined && { link: { name: join.ifname, prefix: prefixOf(net) } }), ...told };
    });
  });
}

const prefixOf = (net: GuestNetwork): string => net.asked.options[labels.ifacePrefix] || DEFAULT_PREFIX;

async function intendedJoin(net: GuestNetwork, ep: GuestEndpoint, key: string, inside: Netns | undefined): Promise<GuestJoin> {
  if (inside === undefined) return { ...seenAt(key), key, ifname: bareLinkName(ep.id), isBare: true };
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

/** `phase`: of the record meanwhile; one that is deleted goes on from there after a kill. Answers the record as it is then. */
export async function leaveJoined(
  hosting: Hosting,
  net: GuestNetwork,
  ep: GuestEndpoint,
  phase: 'leaving' | 'deleting' = 'leaving',
): Promise<GuestEndpoint> {
  const { cnm, state } = hosting;
  const leaving: GuestEndpoint = { ...ep, phase };
  await state.commit({ endpoints: [leaving] });
  let left = leaving;
  const homeId = net.home?.id ?? net.id;
  await attemptAll([
    ...(net.home === undefined
      ? []
      : ([
          ['withdraw guest', () => cnm.shared?.endpoints.withdraw({ id: ep.id, network: homeId })],
          ['end names of guest', () => endNames(hosting, ep)],
        ] as const)),
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
    ['forget peers', async () => (net.home === undefined ? undefined : await cnm.shared?.exit(net.home, ep))],
  ]);
  const { join: _left, names: _called, ...rest } = left;
  const after: GuestEndpoint = { ...rest, phase: phase === 'leaving' ? 'ready' : phase };
  await state.commit({ endpoints: [after] });
  return after;
}
