/** Published ports of guests: the engine elects the gateway of its sandboxes, and says whose ports lead outside. */

import { type EndpointId, type NetworkId, tryAddress, undoable } from '../../base/index.ts';
import { type Ctx, type GatewayRoles, labels } from '../../driver/index.ts';
import { type WantedPort, ours } from '../../portmap/index.ts';
import { contextOf, refuseWhenClosing, stillWanted } from '../context.ts';
import { type Hosting, guestDriver, guestEndpointValue, guestNetworkValue, knownEndpoint, readyNetwork } from './context.ts';
import { type GuestEndpoint, type GuestEndpointSpec, type GuestNetwork, holderOf } from './records.ts';

export const NO_ROLE: GatewayRoles = { v4: false, v6: false };

/** What of an endpoint leads outside. */
export interface GuestExternal {
  readonly roles: GatewayRoles;
  readonly publish?: readonly WantedPort[];
}

export async function publish(
  hosting: Hosting,
  network: NetworkId,
  id: EndpointId,
  wish: GuestExternal,
  ctx: Ctx,
): Promise<void> {
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
      await state.commit({ endpoints: [{ ...ep, held, isPublishing: true }] });
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
export async function withdrawn(hosting: Hosting, net: GuestNetwork, published: GuestEndpoint): Promise<GuestEndpoint> {
  const { isPublishing: _was, ...ep } = published;
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
