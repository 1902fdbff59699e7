/**
 * The way outside of sandboxes that no network of theirs leads there: one more endpoint, on the network `docker_gwbridge`, which
 * is made with the first such sandbox and stays (spec 07 D8, 01 §5). It comes before a gateway goes, and goes after another one
 * has come. How it is told from others is gateway-names.ts; who is the gateway is elected as ever.
 */

import { setImmediate as nextTick } from 'node:timers/promises';
import { type EndpointId, type SandboxId, CnmError, type Undo, codeOf, undoable } from '../base/index.ts';
import { type Ctx, labels } from '../driver/index.ts';
import { electAmong } from './attachment.ts';
import { type Cnm, contextOf } from './context.ts';
import { attach, endEndpoint } from './endpoints.ts';
import { GATEWAY_NETWORK, gatewayEndpointName, isGatewayEndpoint } from './gateway-names.ts';
import { tryOpenSandboxNetns } from './join.ts';
import { deleteNetwork, makeNetwork } from './networks.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './records.ts';
import { checkEndpoint } from './spec.ts';
import { holdAsBefore } from './steps/ports.ts';

/** Tries to find or make the network while others remove it. */
const MAX_TRIES = 3;
/** Sandboxes that are looked at before the event loop has a turn. */
const LOOKS_A_TURN = 100;
/** Behind every other endpoint in the election, whatever priority that one has. */
const LAST = Number.MIN_SAFE_INTEGER;

/** What is about to change in a sandbox. */
interface Prospect {
  readonly joining?: NetworkRecord;
  readonly leaving?: EndpointId;
}

/** Whether the network's sandboxes are led outside by the gateway bridge where nothing else leads them there. */
export const usesGatewayBridge = (cnm: Cnm, net: NetworkRecord): boolean => wants(cnm, net) && isUsable(cnm, gatewayNetwork(cnm));

const wants = (cnm: Cnm, net: NetworkRecord): boolean =>
  !net.internal && cnm.drivers.find(net.driver)?.capabilities.gatewayBridge === true;

/** A user who wants no such way makes the network himself, such that it leads nowhere. */
const isUsable = (cnm: Cnm, net: NetworkRecord | undefined): boolean =>
  net === undefined || (!net.internal && !net.configOnly && cnm.drivers.find(net.driver)?.external !== undefined);

const gatewayNetwork = (cnm: Cnm): NetworkRecord | undefined => cnm.state.networks().find((net) => net.name === GATEWAY_NETWORK);

/** The sandbox's endpoint on the gateway bridge, whatever its phase. */
const gatewayOf = (cnm: Cnm, id: SandboxId): EndpointRecord | undefined =>
  cnm.state.endpointsOfSandbox(id).find((ep) => isGatewayEndpoint(ep, cnm.state.networkById(ep.network)));

function needsGateway(cnm: Cnm, id: SandboxId, { joining, leaving }: Prospect = {}): boolean {
  const sandbox = cnm.state.sandboxById(id);
  if (sandbox === undefined || sandbox.mode !== 'own' || sandbox.phase === 'deleting') return false;
  const gateway = gatewayOf(cnm, id);
  const staying = cnm.state
    .endpointsOfSandbox(id)
    .filter((ep) => ep.phase === 'joined' && ep.id !== leaving && ep.id !== gateway?.id);
  const nets = staying.flatMap((ep) => cnm.state.networkById(ep.network) ?? []);
  if (![...nets, ...(joining ? [joining] : [])].some((net) => wants(cnm, net))) return false;
  const { v4, v6 } = electAmong(cnm, staying);
  return v4 === undefined && v6 === undefined;
}

/**
 * Joins the sandbox to the gateway bridge where it needs that, once `joining` has come; `undo` takes it back. The caller holds the
 * sandbox's lock. Errors are those of a connect, and of the making of a network.
 */
export async function bringGateway(cnm: Cnm, id: SandboxId, prospect: Prospect, ctx: Ctx, undo: Undo): Promise<void> {
  if (!needsGateway(cnm, id, prospect)) return;
  const found = gatewayOf(cnm, id);
  if (found?.phase === 'joined') return;
  const sandbox = cnm.state.sandboxById(id);
  // One whose namespace is gone is led nowhere any more.
  using netns = sandbox && tryOpenSandboxNetns(sandbox);
  if (sandbox === undefined || netns === undefined) return;
  // On its way out since something failed.
  if (found !== undefined) await endEndpoint(cnm, found.id);
  undo.add('host ports as before the gateway bridge', () => holdAsBefore(cnm, sandbox));
  const ep = await joinGateway(cnm, sandbox, ctx, undo);
  if (ep !== undefined) undo.add('end the gateway endpoint', () => endEndpoint(cnm, ep.id));
}

async function joinGateway(cnm: Cnm, sandbox: SandboxRecord, ctx: Ctx, undo: Undo): Promise<EndpointRecord | undefined> {
  const asked = checkEndpoint({ gwPriority: LAST });
  for (let tries = 1; ; tries++) {
    const net = gatewayNetwork(cnm) ?? (await makeGatewayNetwork(cnm, ctx, undo));
    if (!isUsable(cnm, net)) return undefined;
    try {
      return await attach(cnm, net, sandbox, asked, ctx, gatewayEndpointName(sandbox.id));
    } catch (error) {
      // Somebody has removed the network since it was found.
      if (codeOf(error) !== 'no_network' || tries === MAX_TRIES) throw error;
    }
  }
}

/** Its link has the name that the driver derives from its id: an engine on this host may have a `docker_gwbridge` of its own. */
async function makeGatewayNetwork(cnm: Cnm, ctx: Ctx, undo: Undo): Promise<NetworkRecord> {
  const options = { [labels.enableIcc]: 'false', [labels.enableIpMasquerade]: 'true' };
  try {
    const { record } = await makeNetwork(cnm, { name: GATEWAY_NETWORK, driver: 'bridge', options }, ctx);
    undo.add('remove the gateway bridge', () => removeUnused(cnm, record));
    return record;
  } catch (error) {
    const other = codeOf(error) === 'name_taken' ? gatewayNetwork(cnm) : undefined;
    if (other === undefined) throw error;
    return other;
  }
}

/** Others may have joined it meanwhile, or removed it. */
async function removeUnused(cnm: Cnm, net: NetworkRecord): Promise<void> {
  try {
    await deleteNetwork(cnm, net.id);
  } catch (error) {
    if (!(error instanceof CnmError) || !['network_in_use', 'no_network', 'shutting_down'].includes(error.code)) throw error;
  }
}

/** Takes the sandbox off the gateway bridge where it needs that no more. The caller holds the sandbox's lock. May be repeated. */
async function dropGateway(cnm: Cnm, id: SandboxId): Promise<void> {
  const found = gatewayOf(cnm, id);
  if (found !== undefined && !needsGateway(cnm, id)) await endEndpoint(cnm, found.id);
}

/**
 * A join to `net` with what comes before and after it on the gateway bridge. The caller holds the sandbox's lock. A gateway endpoint
 * that cannot be ended keeps nobody from joining: it is ended later.
 */
export function joinWithGateway(
  cnm: Cnm,
  id: SandboxId,
  net: NetworkRecord,
  ctx: Ctx,
  join: () => Promise<EndpointRecord>,
): Promise<EndpointRecord> {
  return undoable(async (undo) => {
    if (wants(cnm, net)) await bringGateway(cnm, id, { joining: net }, ctx, undo);
    const ep = await join();
    await settle(cnm, id);
    return ep;
  });
}

/**
 * An endpoint's leave with what comes before and after it on the gateway bridge: the sandbox is led outside by it already when its
 * gateway goes, and is off it once its last network has gone that wants that. Throws where that way cannot be made, unless
 * `isForced`; nothing has left then. The way outside that is needed no more ends last: a leave that fails has not taken the
 * published ports with it. The caller holds the sandbox's lock.
 */
export async function leaveWithGateway<T>(
  cnm: Cnm,
  id: SandboxId,
  leaving: EndpointRecord,
  leave: () => Promise<T>,
  isForced = false,
): Promise<T> {
  // One on the gateway bridge itself is followed: with two interfaces on one wire nobody could tell which one the default route takes.
  if (cnm.state.networkById(leaving.network)?.name !== GATEWAY_NETWORK) await prepareLeave(cnm, id, leaving.id, isForced);
  const left = await leave();
  await settle(cnm, id);
  return left;
}

async function prepareLeave(cnm: Cnm, id: SandboxId, leaving: EndpointId, isForced: boolean): Promise<void> {
  if (!needsGateway(cnm, id, { leaving }) || needsGateway(cnm, id)) return;
  try {
    await undoable((undo) => bringGateway(cnm, id, { leaving }, contextOf(), undo));
  } catch (error) {
    if (!isForced) throw error;
    cnm.env.log.error({ sandbox: id, err: error }, 'a sandbox cannot be joined to the gateway bridge yet');
  }
}

/** At a start: half-dead links, which keep names of interfaces inside, are waited for where there is something to do. */
export async function settleGatewaysAtStart(cnm: Cnm): Promise<void> {
  if (cnm.state.sandboxes().some(({ id }) => !isSettled(cnm, id))) await cnm.reaper.idle();
  await settleGateways(cnm);
}

/** What a kill or a failure has left undone, in all sandboxes. What fails is logged, and tried again with the next call. */
export async function settleGateways(cnm: Cnm): Promise<void> {
  if (!cnm.state.networks().some((net) => net.name === GATEWAY_NETWORK || wants(cnm, net))) return;
  for (const [i, { id }] of cnm.state.sandboxes().entries()) {
    if (i % LOOKS_A_TURN === LOOKS_A_TURN - 1) await nextTick();
    if (cnm.closing) return;
    if (!isSettled(cnm, id)) await cnm.locks.run(`sandbox:${id}`, () => settle(cnm, id));
  }
}

async function settle(cnm: Cnm, id: SandboxId): Promise<void> {
  try {
    await undoable((undo) => bringGateway(cnm, id, {}, contextOf(), undo));
    await dropGateway(cnm, id);
  } catch (error) {
    cnm.env.log.error({ sandbox: id, err: error }, 'the way outside of a sandbox is not as it should be');
  }
}

function isSettled(cnm: Cnm, id: SandboxId): boolean {
  const found = gatewayOf(cnm, id);
  return needsGateway(cnm, id) ? found?.phase === 'joined' : found === undefined;
}
