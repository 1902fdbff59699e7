/** Endpoints of foreign engines: addresses and names are the engine's, the driver's part is made here. */

import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import {
  type EndpointId,
  type Mac,
  type NetworkId,
  CnmError,
  addressBytes,
  codeOf,
  familyOf,
  parseMac,
  prefixAddress,
  prefixContains,
  randomMac,
  shortId,
  undoable,
} from '../../base/index.ts';
import type { Ctx } from '../../driver/index.ts';
import { contextOf, refuseWhenClosing, stillWanted } from '../context.ts';
import { RECORD_SCHEMA } from '../records.ts';
import { type Hosting, guestDriver, guestEndpointValue, guestNetworkValue, readyNetwork } from './context.ts';
import { homeOf } from './homes.ts';
import { leaveJoined } from './join.ts';
import { releaseForgotten } from './leases.ts';
import { type GuestExternal, NO_ROLE, publish, withdrawn } from './ports.ts';
import { ENGINE, type GuestEndpoint, type GuestEndpointSpec, type GuestNetwork } from './records.ts';
import { isAbandoned } from './sandbox.ts';

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
  checkFamilies(asked);
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
        ...macOf({ mac: asked.mac ?? (hasOwnMacs(hosting, network) ? macFor(asked) : undefined) }),
        driverState: null,
        publish: asked.publish,
        roles: NO_ROLE,
        held: [],
        bindings: [],
      };
      // A delete of the network sees the record, or the record sees that the network is going.
      const net = await cnm.locks.run(`network:${network}`, async () => {
        const found = readyNetwork(hosting, network);
        homeOf(hosting, found);
        checkAddresses(found, asked);
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

/** Throws bad_address. */
function checkFamilies({ v4, v6 }: GuestEndpointSpec): void {
  for (const [family, prefix] of [
    [4, v4],
    [6, v6],
  ] as const)
    if (prefix !== undefined && familyOf(prefix) !== family)
      throw new CnmError('bad_address', `address ${prefix} is given for IPv${family}`);
}

/** Throws address_out_of_range, address_in_use: a wrong address would make what we route and filter by it wrong too. */
function checkAddresses({ id, asked }: GuestNetwork, { v4, v6 }: GuestEndpointSpec): void {
  for (const [given, pools] of [
    [v4, asked.v4],
    [v6, asked.v6],
  ] as const) {
    if (given === undefined || pools.length === 0) continue;
    const address = prefixAddress(given);
    const pool = pools.find(({ prefix }) => prefixContains(prefix, address));
    const where = pools.map(({ prefix }) => prefix).join(', ');
    if (pool === undefined)
      throw new CnmError('address_out_of_range', `address ${address} is not in ${where} of network ${shortId(id)}`);
    if (pool.gateway === address)
      throw new CnmError('address_in_use', `address ${address} is the gateway of network ${shortId(id)}: use another one`);
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

const hasOwnMacs = ({ cnm, state }: Hosting, network: NetworkId): boolean =>
  cnm.drivers.find(state.networks.get(network)?.driver ?? '')?.capabilities.ownMac !== false;

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

/** Deletes the endpoint, joined or not. One that is not here is gone already. */
export async function deleteGuestEndpoint(hosting: Hosting, network: NetworkId, id: EndpointId): Promise<void> {
  refuseWhenClosing(hosting.cnm);
  await hosting.cnm.locks.run(`endpoint:${id}`, async () => {
    if (hosting.state.endpoints.get(id)?.network === network) await endGuestEndpoint(hosting, id);
  });
}

/** As deleteGuestEndpoint, where the engine has forgotten it: addresses that our IPAM leased for it are free again. */
export async function forgetGuestEndpoint(hosting: Hosting, network: NetworkId, id: EndpointId): Promise<void> {
  const asked = hosting.state.endpoints.get(id)?.asked;
  const net = hosting.state.networks.get(network);
  await deleteGuestEndpoint(hosting, network, id);
  if (net !== undefined && asked !== undefined) await releaseForgotten(hosting, net, [asked.v4, asked.v6]);
}

/** The caller holds the endpoint's lock, or nobody else runs yet. Every step is tried; may be repeated after a failure. */
export async function endGuestEndpoint(hosting: Hosting, id: EndpointId): Promise<void> {
  const { cnm, state } = hosting;
  let ep = state.endpoints.get(id);
  const net = ep && state.networks.get(ep.network);
  if (ep === undefined) return;
  if (net !== undefined) {
    ep = ep.join === undefined ? await withdrawn(hosting, net, ep) : await leaveJoined(hosting, net, ep, 'deleting');
    const going: GuestEndpoint = { ...ep, phase: 'deleting' };
    await state.commit({ endpoints: [going] });
    await cnm.drivers.find(net.driver)?.deleteEndpoint(contextOf(), guestNetworkValue(net), guestEndpointValue(going));
  }
  await state.commit({ remove: { endpoint: id } });
}
