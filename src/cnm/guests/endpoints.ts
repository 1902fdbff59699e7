/** Endpoints of foreign engines: addresses, names and gateways are the engine's; link and published ports are made here. */

import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import {
  type Address,
  type EndpointId,
  type Mac,
  type NetworkId,
  CnmError,
  addressBytes,
  attemptAll,
  codeOf,
  parseMac,
  prefixAddress,
  randomMac,
  shortId,
  tryAddress,
  undoable,
} from '../../base/index.ts';
import { type Ctx, type GatewayRoles, type JoinPlace, type StaticRoute, labels } from '../../driver/index.ts';
import type { Netns } from '../../kernel/index.ts';
import { type WantedPort, ours } from '../../portmap/index.ts';
import { contextOf, refuseWhenClosing, stillWanted } from '../context.ts';
import { RECORD_SCHEMA } from '../records.ts';
import {
  type Hosting,
  guestDriver,
  guestEndpointValue,
  guestNetworkValue,
  knownEndpoint,
  readyNetwork,
  tryOpenNetns,
} from './context.ts';
import { ENGINE, type GuestEndpoint, type GuestEndpointSpec, type GuestJoin, type GuestNetwork, holderOf } from './records.ts';

const NO_ROLE: GatewayRoles = { v4: false, v6: false };

/** Answers the MAC that the endpoint has. The same again is a success. Throws no_network, name_taken and the driver's errors. */
export async function createGuestEndpoint(
  hosting: Hosting,
  network: NetworkId,
  id: EndpointId,
  asked: GuestEndpointSpec,
  ctx: Ctx,
): Promise<{ readonly mac?: Mac }> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  await evict(hosting, (other) => other.network === network && other.id !== id && isSameAddress(other.asked, asked));
  return cnm.locks.run(`endpoint:${id}`, async () => {
    const there = state.endpoints.get(id);
    if (there !== undefined && there.phase !== 'creating' && there.phase !== 'deleting') {
      if (there.network === network && isDeepStrictEqual(there.asked, asked)) return macOf(there);
      throw new CnmError('name_taken', `endpoint ${shortId(id)} is here already, with other settings`);
    }
    if (there !== undefined) await endGuestEndpoint(hosting, id);
    return undoable(async (undo) => {
      const draft: GuestEndpoint = {
        schema: RECORD_SCHEMA,
        owner: ENGINE,
        created: cnm.env.now(),
        id,
        network,
        phase: 'creating',
        asked,
        mac: asked.mac ?? macFor(asked),
        driverState: null,
        publish: asked.publish,
        roles: NO_ROLE,
        held: [],
        bindings: [],
      };
      // A delete of the network sees the record, or the record sees that the network is going.
      const net = await cnm.locks.run(`network:${network}`, async () => {
        const found = readyNetwork(hosting, network);
        await state.commit({ endpoints: [draft] });
        return found;
      });
      undo.add('forget guest endpoint', () => state.commit({ remove: { endpoint: id } }));
      const driver = guestDriver(hosting, net);
      const made = await driver.createEndpoint(ctx, guestNetworkValue(net), guestEndpointValue(draft));
      const ready: GuestEndpoint = { ...draft, ...macOf(made.iface), driverState: made.state, phase: 'ready' };
      undo.add('delete guest endpoint', () =>
        driver.deleteEndpoint(contextOf(), guestNetworkValue(net), guestEndpointValue(ready)),
      );
      stillWanted(ctx);
      await state.commit({ endpoints: [ready] });
      return macOf(ready);
    });
  });
}

/** The engine leases an address once: who had it before was forgotten. */
const isSameAddress = (one: GuestEndpointSpec, other: GuestEndpointSpec): boolean =>
  (one.v4 !== undefined && one.v4 === other.v4) || (one.v6 !== undefined && one.v6 === other.v6);

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

/** Removes endpoints that the engine has forgotten; answers whether there were any. The caller holds no endpoint's lock. */
async function evict({ cnm, state }: Hosting, isForgotten: (ep: GuestEndpoint) => boolean): Promise<boolean> {
  const forgotten = [...state.endpoints.values()].filter(isForgotten);
  for (const { id } of forgotten) {
    await cnm.locks.run(`endpoint:${id}`, async () => {
      const ep = state.endpoints.get(id);
      if (ep === undefined || !isForgotten(ep)) return;
      cnm.env.log.warn({ endpoint: id }, 'an engine has forgotten an endpoint: it is removed');
      await endGuestEndpoint({ cnm, state }, id);
    });
  }
  return forgotten.length > 0;
}

const macOf = ({ mac }: { readonly mac?: Mac | undefined }): { readonly mac?: Mac } => ({ ...(mac && { mac }) });

/**
 * Derived from the address: whoever gets that address next has the same, so that nobody on the network goes on sending to a
 * MAC that is gone. We cannot tell the neighbours of a link that the engine brings up later.
 */
function macFor({ v4, v6 }: GuestEndpointSpec): Mac {
  const prefix = v4 ?? v6;
  if (prefix === undefined) return randomMac();
  const bytes = addressBytes(prefixAddress(prefix));
  const last = v4 === undefined ? createHash('sha256').update(bytes).digest().subarray(0, 4) : bytes;
  return parseMac(['02', '42', ...[...last].map((octet) => octet.toString(16).padStart(2, '0'))].join(':'));
}

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
    const ep = knownEndpoint(hosting, network, id);
    if (ep.phase !== 'ready') {
      if (ep.join?.key !== key)
        throw new CnmError('already_joined', `endpoint ${shortId(id)} is ${ep.phase} in ${ep.join?.key ?? 'no sandbox'}`);
      await leaveJoined(hosting, net, ep);
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

/** What of an endpoint leads outside. */
export interface GuestExternal {
  readonly roles: GatewayRoles;
  readonly publish?: readonly WantedPort[];
}

/**
 * Publishes the endpoint's ports for the families whose gateway it is; `publish` absent: those of its creation. Repeatable.
 * Throws port_taken and its siblings; published is then what was before.
 */
export async function programGuest(
  hosting: Hosting,
  network: NetworkId,
  id: EndpointId,
  wish: GuestExternal,
  ctx: Ctx,
): Promise<void> {
  try {
    await publish(hosting, network, id, wish, ctx);
  } catch (error) {
    // An engine that was killed does not take back what its containers had.
    if (codeOf(error) !== 'port_taken' || !(await evict(hosting, isAbandoned))) throw error;
    await publish(hosting, network, id, wish, ctx);
  }
}

async function publish(hosting: Hosting, network: NetworkId, id: EndpointId, wish: GuestExternal, ctx: Ctx): Promise<void> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  await cnm.locks.run(`endpoint:${id}`, async () => {
    const net = readyNetwork(hosting, network);
    const before = knownEndpoint(hosting, network, id);
    const ep: GuestEndpoint = { ...before, roles: wish.roles, publish: wish.publish ?? before.publish };
    const external = guestDriver(hosting, net).external;
    if (external === undefined || net.asked.internal || (ep.publish.length === 0 && ep.held.length === 0))
      return state.commit({ endpoints: [ep] });
    await undoable(async (undo) => {
      const defaultAddress = tryAddress(net.asked.options[labels.hostBinding] ?? '');
      const families = { v4: ep.roles.v4 && ep.asked.v4 !== undefined, v6: ep.roles.v6 && ep.asked.v6 !== undefined };
      const held = await cnm.ports.allocate(
        holderOf(id),
        sameNumbers(ep),
        { families, ...(defaultAddress && { defaultAddress }) },
        (groups) => cnm.keeper.holds(holderOf(id), groups),
      );
      undo.add('guest holds as before', () => hold(hosting, id, before.held));
      // Before the rules: a crash in between must find what is held.
      await state.commit({ endpoints: [{ ...ep, held }] });
      undo.add('guest record as before', () => state.commit({ endpoints: [before] }));
      const program = (one: GuestEndpoint, as: Ctx) =>
        external.programExternalConnectivity(as, guestNetworkValue(net), guestEndpointValue(one), one.roles, one.held);
      undo.add('guest rules as before', () => program(before, contextOf()));
      const result = await program({ ...ep, held }, ctx);
      stillWanted(ctx);
      await state.commit({ endpoints: [{ ...ep, held, bindings: result.bindings, driverState: result.state }] });
    });
  });
}

/** A port that was chosen once stays: wanted again as exactly that one. */
function sameNumbers(ep: GuestEndpoint): GuestEndpointSpec['publish'] {
  const rest = [...ep.held];
  return ep.publish.map((want) => {
    const at = rest.findIndex(({ hold: { protocol }, port }) => port === want.port && protocol === want.protocol);
    const [found] = at < 0 ? [] : rest.splice(at, 1);
    return found === undefined ? want : { ...want, hostPorts: { from: found.hold.port, to: found.hold.port } };
  });
}

/** Withdraws the endpoint's ports. What is not there, or not published, is fine. */
export async function revokeGuest(hosting: Hosting, network: NetworkId, id: EndpointId): Promise<void> {
  const { cnm, state } = hosting;
  refuseWhenClosing(cnm);
  await cnm.locks.run(`endpoint:${id}`, async () => {
    const [net, ep] = [state.networks.get(network), state.endpoints.get(id)];
    if (net !== undefined && ep?.network === network) await state.commit({ endpoints: [await withdrawn(hosting, net, ep)] });
  });
}

/** Rules first, then the host ports. Answers the record as it is then. */
async function withdrawn(hosting: Hosting, net: GuestNetwork, ep: GuestEndpoint): Promise<GuestEndpoint> {
  if (ep.held.length === 0) return { ...ep, roles: NO_ROLE };
  const external = hosting.cnm.drivers.find(net.driver)?.external;
  const result = await external?.programExternalConnectivity(
    contextOf(),
    guestNetworkValue(net),
    guestEndpointValue(ep),
    NO_ROLE,
    [],
  );
  await hold(hosting, ep.id, []);
  return { ...ep, roles: NO_ROLE, held: [], bindings: [], driverState: result?.state ?? ep.driverState };
}

async function hold({ cnm }: Hosting, id: EndpointId, held: GuestEndpoint['held']): Promise<void> {
  await cnm.keeper.holds(holderOf(id), ours(held));
  cnm.ports.adopt(holderOf(id), held);
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

async function leaveJoined(hosting: Hosting, net: GuestNetwork, ep: GuestEndpoint): Promise<GuestEndpoint> {
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
        const place = netns && { sandbox: holderOf(ep.id), netns, ifname: ep.join?.ifname ?? '' };
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

/** Deletes the endpoint, joined or not. One that is not here is gone already. */
export async function deleteGuestEndpoint(hosting: Hosting, network: NetworkId, id: EndpointId): Promise<void> {
  refuseWhenClosing(hosting.cnm);
  await hosting.cnm.locks.run(`endpoint:${id}`, async () => {
    if (hosting.state.endpoints.get(id)?.network === network) await endGuestEndpoint(hosting, id);
  });
}

/** The caller holds the endpoint's lock, or nobody else runs yet. Every step is tried; may be repeated after a failure. */
export async function endGuestEndpoint(hosting: Hosting, id: EndpointId): Promise<void> {
  const { cnm, state } = hosting;
  let ep = state.endpoints.get(id);
  const net = ep && state.networks.get(ep.network);
  if (ep === undefined) return;
  if (net !== undefined) {
    ep = ep.join === undefined ? await withdrawn(hosting, net, ep) : await leaveJoined(hosting, net, ep);
    const going: GuestEndpoint = { ...ep, phase: 'deleting' };
    await state.commit({ endpoints: [going] });
    await cnm.drivers.find(net.driver)?.deleteEndpoint(contextOf(), guestNetworkValue(net), guestEndpointValue(going));
  }
  await state.commit({ remove: { endpoint: id } });
}
