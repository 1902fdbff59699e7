/** Create and delete an endpoint; attach and detach are its whole life in one call each (spec 01 §3). */

import {
  type EndpointId,
  type Undo,
  CnmError,
  attemptAll,
  familyOf,
  newEndpointId,
  prefixAddress,
  randomMac,
  shortId,
  undoable,
} from '../base/index.ts';
import type { Ctx } from '../driver/index.ts';
import { type Cnm, contextOf, driverEndpoint, driverNetwork, driverOf, refuseWhenClosing, stillWanted } from './context.ts';
import { portsOf } from './attachment.ts';
import { tellLeases } from './foreign-leases.ts';
import { joinEndpoint, leaveEndpoint, leaveForGood } from './join.ts';
import { type EndpointRecord, type NetworkRecord, OWN, RECORD_SCHEMA, type SandboxRecord } from './records.ts';
import { type CheckedEndpoint, type EndpointSpec, checkEndpoint, isPredefined } from './spec.ts';
import { releaseAddresses, requestAddresses } from './steps/addresses.ts';
import { dnsNamesOf } from './steps/names.ts';

/** Whom an endpoint is made for: a sandbox, after which it is called unless it has a name, or nobody. */
type Owner = (SandboxRecord & { readonly endpoint?: string }) | { readonly endpoint: string };

/** Creates an endpoint that exists by itself. Undo: deleteEndpoint. */
export async function createEndpoint(
  cnm: Cnm,
  net: NetworkRecord,
  owner: { readonly endpoint: string },
  asked: CheckedEndpoint,
  ctx: Ctx,
): Promise<EndpointRecord> {
  return undoable(async (undo) => {
    const ready = await makeEndpoint(cnm, net, owner, asked, ctx, undo);
    if (net.shared === true) {
      undo.add('withdraw from the cluster', () => cnm.shared?.endpoints.withdraw(ready));
      await cnm.shared?.endpoints.write(net, ready, false);
    }
    await cnm.state.commit({ endpoints: [ready] });
    return ready;
  });
}

/** Makes an endpoint, named after the sandbox that it will be joined to or by itself, whose last record is still to be written. */
async function makeEndpoint(
  cnm: Cnm,
  net: NetworkRecord,
  owner: Owner,
  asked: CheckedEndpoint,
  ctx: Ctx,
  undo: Undo,
): Promise<EndpointRecord> {
  refuseWhenClosing(cnm);
  const driver = driverOf(cnm, net);
  const usesIpam = driver.capabilities.addressing === 'ipam';
  if (usesIpam) refuseWithoutIPv6(net, asked);
  if (usesIpam) await tellLeases(cnm, net);
  const draft = draftOf(cnm, net, owner, withMac(cnm, net, asked));
  // A delete of the network sees the record, or the record sees that the network is going.
  await cnm.locks.run(`network:${net.id}`, async () => {
    if (cnm.state.networkById(net.id)?.phase !== 'ready') throw new CnmError('no_network', `network ${net.name} not found`);
    refuseSameName(cnm, net, draft);
    refuseServiceName(cnm, net, draft, 'id' in owner ? owner : undefined);
    await cnm.state.commit({ endpoints: [draft] });
  });
  undo.add('forget record', () => cnm.state.takeBack({ remove: { endpoint: draft.id } }));
  const leased = usesIpam ? await requestAddresses(cnm, net, draft, undo) : draft;
  const ports = 'id' in owner ? portsOf(net, owner) : undefined;
  const made = await driver.createEndpoint(ctx, driverNetwork(net), driverEndpoint(leased), ports);
  const ready: EndpointRecord = { ...leased, ...made.iface, driverState: made.state, phase: 'ready' };
  undo.add('delete endpoint', () => driver.deleteEndpoint(contextOf(), driverNetwork(net), driverEndpoint(ready)));
  stillWanted(ctx);
  return ready;
}

/** An IPAM driver may want to know the MAC before it gives an address (spec 03 I3); there are links that have none of their own. */
const withMac = (cnm: Cnm, net: NetworkRecord, asked: CheckedEndpoint): CheckedEndpoint =>
  asked.mac === undefined && net.ipam.needsMac === true && driverOf(cnm, net).capabilities.ownMac !== false
    ? { ...asked, mac: randomMac() }
    : asked;

/** The kernel refuses an address of IPv6 on a link that has it switched off, but only when the endpoint is joined. */
function refuseWithoutIPv6(net: NetworkRecord, asked: CheckedEndpoint): void {
  const address = net.enableIPv6 ? undefined : asked.linkLocal.find((prefix) => familyOf(prefix) === 6);
  if (address === undefined) return;
  throw new CnmError(
    'bad_address',
    `invalid endpoint settings:\nlink-local IP address ${prefixAddress(address)} needs a network with IPv6, which ${net.name} is not; leave it out`,
  );
}

/** Among endpoints of connects the sandboxes' names are unique already; one that is stuck must not keep a new one out. */
function refuseSameName(cnm: Cnm, net: NetworkRecord, draft: EndpointRecord): void {
  const { name, boundTo } = draft;
  const same = cnm.state
    .endpointsOfNetwork(net.id)
    .find((ep) => ep.name === name && (boundTo === undefined || ep.boundTo === undefined));
  if (same === undefined) return;
  throw new CnmError('name_taken', `endpoint with name ${name} already exists in network ${net.name}: ${shortId(same.id)}`);
}

/** Who asks for a service gets nobody else. */
function refuseServiceName(cnm: Cnm, net: NetworkRecord, draft: EndpointRecord, sandbox: SandboxRecord | undefined): void {
  const services = cnm.state.servicesOfNetwork(net.id);
  if (services.length === 0) return;
  const names = dnsNamesOf(net, draft, sandbox);
  const service = services.find(({ name, aliases }) => [name.toLowerCase(), ...aliases].some((one) => names.includes(one)));
  if (service !== undefined)
    throw new CnmError('name_taken', `${draft.name}: a name of it is one of service ${service.name} in network ${net.name}`);
}

function draftOf(cnm: Cnm, net: NetworkRecord, owner: Owner, asked: CheckedEndpoint): EndpointRecord {
  const id = newEndpointId();
  const name = owner.endpoint || ('id' in owner ? owner.name : shortId(id));
  return {
    schema: RECORD_SCHEMA,
    owner: OWN,
    id,
    name,
    network: net.id,
    phase: 'creating',
    ...('id' in owner && { boundTo: owner.id }),
    created: cnm.state.stamp(cnm.env.now()),
    ...(asked.mac && { mac: asked.mac }),
    pools: [],
    linkLocal: asked.linkLocal,
    aliases: asked.aliases,
    dnsNames: dnsNamesOf(net, { name, aliases: asked.aliases }),
    options: asked.options,
    gwPriority: asked.gwPriority,
    asked: { ...(asked.v4 && { v4: asked.v4 }), ...(asked.v6 && { v6: asked.v6 }), ...(asked.mac && { mac: asked.mac }) },
    driverState: null,
    bindings: [],
  };
}

/** Deletes an endpoint that is joined to nothing. Every step is tried; may be repeated. */
export async function deleteEndpoint(cnm: Cnm, id: EndpointId): Promise<void> {
  const ep = cnm.state.endpointById(id);
  if (ep === undefined) return;
  await cnm.state.commit({ endpoints: [{ ...ep, phase: 'deleting' }] });
  await unmakeEndpoint(cnm, ep);
  await cnm.state.commit({ remove: { endpoint: id } });
}

/** Takes an endpoint out of its sandbox and deletes it. Every step is tried; may be repeated. The caller holds the sandbox's lock. */
export async function endEndpoint(cnm: Cnm, id: EndpointId): Promise<void> {
  if (cnm.state.endpointById(id)?.sandbox === undefined) return deleteEndpoint(cnm, id);
  return leaveForGood(cnm, id, (left) => unmakeEndpoint(cnm, left));
}

async function unmakeEndpoint(cnm: Cnm, ep: EndpointRecord): Promise<void> {
  const net = cnm.state.networkById(ep.network);
  if (net === undefined) return;
  await attemptAll([
    ['delete endpoint', () => cnm.drivers.find(net.driver)?.deleteEndpoint(contextOf(), driverNetwork(net), driverEndpoint(ep))],
    ['release addresses', () => releaseAddresses(cnm, net, ep)],
    // One of a connect is withdrawn when it leaves.
    ['withdraw from the cluster', () => (net.shared && !ep.boundTo ? cnm.shared?.endpoints.withdraw(ep) : undefined)],
  ]);
}

export function refuseTemplate(net: NetworkRecord): void {
  if (net.configOnly) throw new CnmError('config_only', `cannot create endpoint on configuration-only network ${net.name}`);
}

/** What a network takes of the settings (spec 02 C5–C8). Throws not_supported_here, config_only. */
export function checkSettings(net: NetworkRecord, spec: EndpointSpec): CheckedEndpoint {
  refuseTemplate(net);
  const asked = checkEndpoint(spec);
  if (isPredefined(net.name)) {
    if (asked.v4 || asked.v6) {
      throw new CnmError('not_supported_here', 'user-specified IP address is supported on user-defined networks only');
    }
    if (asked.aliases.length > 0) {
      throw new CnmError('not_supported_here', 'network-scoped aliases are only supported for user-defined networks');
    }
  }
  return asked;
}

/** The same for a sandbox that is in the network at most once. Throws already_joined too. */
export function checkConnect(cnm: Cnm, net: NetworkRecord, sandbox: SandboxRecord, spec: EndpointSpec): CheckedEndpoint {
  const asked = checkSettings(net, spec);
  refuseTwice(cnm, net, sandbox);
  return asked;
}

export function refuseTwice(cnm: Cnm, net: NetworkRecord, sandbox: SandboxRecord): void {
  const there = cnm.state.endpointsOfSandbox(sandbox.id).find((ep) => ep.network === net.id);
  if (there === undefined) return;
  const why = `sandbox ${sandbox.name} is in it already, take it out first`;
  throw new CnmError('already_joined', `endpoint with name ${there.name} already exists in network ${net.name}: ${why}`);
}

/** Creates an endpoint, called as the sandbox or `name`, and joins it; when it returns the names resolve. The caller holds the sandbox's lock. */
export async function attach(
  cnm: Cnm,
  net: NetworkRecord,
  sandbox: SandboxRecord,
  asked: CheckedEndpoint,
  ctx: Ctx,
  name = sandbox.name,
): Promise<EndpointRecord> {
  return undoable(async (undo) => {
    const ep = await makeEndpoint(cnm, net, { ...sandbox, endpoint: name }, asked, ctx, undo);
    return joinEndpoint(cnm, ep, sandbox.id, ctx);
  });
}

/**
 * Takes back a connect: leaves and deletes. An endpoint that exists by itself leaves and stays. When it returns the names
 * resolve no longer. The caller holds the sandbox's lock.
 */
export async function detach(cnm: Cnm, id: EndpointId): Promise<void> {
  const ep = cnm.state.endpointById(id);
  if (ep?.boundTo !== undefined) await endEndpoint(cnm, id);
  else if (ep?.sandbox !== undefined) await leaveEndpoint(cnm, id);
}

export function checkModes(cnm: Cnm, net: NetworkRecord, sandbox: SandboxRecord): void {
  const kind = driverOf(cnm, net).capabilities.sandbox;
  if (kind === 'host') {
    throw new CnmError(
      'not_supported_here',
      'cannot connect container to host network - container must be created in host network mode',
    );
  }
  if (sandbox.mode === 'host')
    throw new CnmError(
      'not_supported_here',
      'container sharing network namespace with the host cannot be connected to any other network',
    );
  const present = cnm.state.endpointsOfSandbox(sandbox.id).flatMap((ep) => cnm.state.networkById(ep.network) ?? []);
  const isPrivate = present.some((other) => driverOf(cnm, other).capabilities.sandbox === 'none');
  if (isPrivate || (kind === 'none' && present.length > 0)) {
    throw new CnmError(
      'not_supported_here',
      'container cannot be connected to multiple networks with one of the networks in private (none) mode',
    );
  }
}
