/** Create and delete a network (spec 01 §3). */

import {
  CnmError,
  type NetworkId,
  attemptAll,
  familyOf,
  isUnspecified,
  newNetworkId,
  prefixAddress,
  shortId,
  shown,
  tryPrefix,
  undoable,
} from '../base/index.ts';
import { type Ctx, labels } from '../driver/index.ts';
import { type Caller, checkHostOptions } from './callers.ts';
import { type Cnm, contextOf, driverNetwork, driverOf, refuseWhenClosing, stillWanted } from './context.ts';
import { overlappedRoute } from './exclusions.ts';
import { GATEWAY_NETWORK } from './gateway-names.ts';
import { refuseInUse } from './in-use.ts';
import { type NetworkRecord, OWN, RECORD_SCHEMA } from './records.ts';
import { type NetworkSpec, checkIpam, checkNetworkName, familiesOf, isPredefined } from './spec.ts';
import { addressingOf, releasePools, requestPools } from './steps/addresses.ts';

/** The IPAM driver whose addresses all hosts share. */
const SHARED_IPAM = 'cluster';

export interface CreatedNetwork {
  readonly record: NetworkRecord;
  /** Something that the user should know although it worked; empty otherwise. */
  readonly warning: string;
}

/** Creates a user's network. Errors: name_taken, predefined_network, bad_…, pool_overlap, pools_exhausted, no_driver, not_permitted and the driver's own. */
export async function createNetwork(
  cnm: Cnm,
  spec: NetworkSpec,
  signal?: AbortSignal,
  caller: Caller = 'trusted',
): Promise<CreatedNetwork> {
  checkNetworkName(spec.name);
  if (isPredefined(spec.name) || spec.name === 'default') {
    throw new CnmError('predefined_network', `operation is not permitted on predefined ${spec.name} network`);
  }
  return makeNetwork(cnm, spec, contextOf(signal), caller);
}

/** Like createNetwork, for predefined names too. */
export async function makeNetwork(cnm: Cnm, asked: NetworkSpec, ctx: Ctx, caller: Caller = 'trusted'): Promise<CreatedNetwork> {
  refuseWhenClosing(cnm);
  const spec = mergeConfigFrom(cnm, asked);
  const draft = await draftOf(cnm, spec);
  return cnm.locks.run(`name:network:${spec.name}`, async () => {
    const other = cnm.state.allNetworks().find((n) => n.name === spec.name);
    if (other !== undefined) throw new CnmError('name_taken', `network with name ${spec.name} already exists`);
    if (draft.configOnly) return { record: await storeConfigOnly(cnm, draft), warning: '' };
    await checkHostOptions(cnm, draft, caller);
    // Asked before the bridge's own route is there.
    const warning = await warningFor(cnm, draft, spec);
    return { record: await build(cnm, draft, ctx), warning };
  });
}

async function draftOf(cnm: Cnm, spec: NetworkSpec): Promise<NetworkRecord> {
  const enabled = familiesOf(spec);
  const config = checkIpam(spec.ipam?.config ?? [], enabled);
  const driverName = spec.driver === undefined || spec.driver === '' || spec.driver === 'default' ? 'bridge' : spec.driver;
  const configOnly = spec.configOnly ?? false;
  if (configOnly && (spec.ingress || spec.internal || spec.attachable || spec.scope)) {
    throw new CnmError(
      'config_only',
      'configuration network can only contain network specific fields; ingress, internal, attachable and scope are not',
    );
  }
  const driver = await cnm.drivers.resolve(configOnly ? 'null' : driverName);
  checkScope(spec, driver.capabilities.scope, driver.name);
  const isShared = cnm.shared !== undefined && !configOnly && driver.cluster !== undefined;
  if (isShared && spec.name === GATEWAY_NETWORK)
    throw new CnmError('bad_name', `invalid name ${spec.name}: each host has a network of its own of that name, its way outside`);
  const ipamDriver = ipamDriverFor(spec, isShared);
  if (driver.capabilities.scope === 'global' && cnm.drivers.isForeign(driver.name))
    throw new CnmError('scope_refused', `driver ${driver.name} has global scope, which needs a cluster, and there is none`);
  const usesIpam = !configOnly && driver.capabilities.addressing === 'ipam';
  const ipam = usesIpam ? await cnm.ipams.resolve(ipamDriver) : undefined;
  return {
    schema: RECORD_SCHEMA,
    owner: OWN,
    id: spec.id ?? newNetworkId(),
    name: spec.name,
    phase: 'creating',
    created: cnm.state.stamp(cnm.env.now()),
    driver: driver.name,
    scope: driver.capabilities.scope,
    ...(isShared && { shared: true }),
    enableIPv4: enabled.v4,
    enableIPv6: enabled.v6,
    internal: spec.internal ?? false,
    attachable: spec.attachable ?? false,
    ingress: spec.ingress ?? false,
    configOnly,
    configFrom: spec.configFrom ?? '',
    ipam: {
      driver: ipamDriver,
      options: spec.ipam?.options ?? {},
      config,
      ...(ipam && { replays: ipam.capabilities.requiresReplay }),
      ...(ipam?.capabilities.requiresMac && { needsMac: true }),
    },
    pools: [],
    options: spec.options ?? {},
    labels: spec.labels ?? {},
    driverState: null,
  };
}

/** Hosts that share a network share its addresses. */
function ipamDriverFor(spec: NetworkSpec, isShared: boolean): string {
  const asked = spec.ipam?.driver || 'default';
  if (!isShared) return asked;
  if (asked === 'default' || asked === SHARED_IPAM) return SHARED_IPAM;
  throw new CnmError(
    'bad_option',
    `a network of the cluster takes its addresses from the IPAM driver ${SHARED_IPAM}, not from ${shown(asked)}: leave the driver out`,
  );
}

function checkScope(spec: NetworkSpec, driverScope: string, driver: string): void {
  if (spec.ingress) throw new CnmError('scope_refused', 'Ingress network can only be global scope, and there is no cluster');
  if (!spec.scope || spec.scope === driverScope) return;
  if (!['local', 'global', 'swarm'].includes(spec.scope)) {
    throw new CnmError('bad_option', `invalid scope ${JSON.stringify(spec.scope)}: use local, global or swarm`);
  }
  throw new CnmError(
    'scope_refused',
    `driver ${driver} has ${driverScope} scope; a network of ${spec.scope} scope cannot be made with it`,
  );
}

/** Takes the network-specific fields from a configuration-only network (spec 01 §4). */
function mergeConfigFrom(cnm: Cnm, spec: NetworkSpec): NetworkSpec {
  if (!spec.configFrom) return spec;
  if (spec.configOnly)
    throw new CnmError('config_only', 'a configuration network cannot depend on another configuration network');
  const source = cnm.state.networks().find((n) => n.name === spec.configFrom && n.configOnly);
  if (source === undefined)
    throw new CnmError('no_network', `configuration network ${JSON.stringify(spec.configFrom)} does not exist`);
  const own =
    (spec.ipam?.config?.length ?? 0) > 0 ||
    Object.keys(spec.options ?? {}).length > 0 ||
    Object.keys(spec.labels ?? {}).length > 0 ||
    spec.enableIPv6 !== undefined ||
    spec.enableIPv4 === false;
  if (own)
    throw new CnmError('config_only', 'user-specified configurations are not supported together with a configuration network');
  return {
    ...spec,
    enableIPv4: source.enableIPv4,
    enableIPv6: source.enableIPv6,
    ipam: { driver: source.ipam.driver, options: source.ipam.options, config: source.ipam.config },
    options: source.options,
    labels: source.labels,
  };
}

async function storeConfigOnly(cnm: Cnm, draft: NetworkRecord): Promise<NetworkRecord> {
  const record = { ...draft, phase: 'ready' as const };
  await cnm.state.commit({ networks: [record], durable: true });
  return record;
}

async function build(cnm: Cnm, draft: NetworkRecord, ctx: Ctx): Promise<NetworkRecord> {
  const driver = driverOf(cnm, draft);
  const usesIpam = driver.capabilities.addressing === 'ipam';
  if (driver.capabilities.singleton && cnm.state.allNetworks().some((n) => n.driver === driver.name && !n.configOnly)) {
    throw new CnmError('singleton_network', `only one instance of ${JSON.stringify(driver.name)} network is allowed`);
  }
  if (usesIpam && !draft.enableIPv4 && !draft.enableIPv6) throw new CnmError('no_family', 'IPv4 or IPv6 must be enabled');
  driver.validateNetwork?.(driverNetwork(draft));
  if (usesIpam) cnm.ipams.get(draft.ipam.driver).validateNetwork?.(addressingOf(cnm, draft));
  return undoable(async (undo) => {
    await cnm.state.commit({ networks: [draft] });
    undo.add('forget record', () => cnm.state.takeBack({ remove: { network: draft.id } }));
    if (draft.shared === true) {
      undo.add('forget network in the cluster', () => cnm.shared?.networks.takeBack(draft));
      await cnm.shared?.networks.claim(draft);
    }
    if (usesIpam && cnm.ipams.get(draft.ipam.driver).capabilities.asksOnParent === true) {
      undo.add('take parent back', () => driver.deleteNetwork(contextOf(), driverNetwork(draft)));
      await driver.prepareParent?.(ctx, driverNetwork(draft));
    }
    const skip = (await driver.skipGwAlloc?.(ctx, draft)) ?? { v4: false, v6: false };
    const pools = usesIpam ? await requestPools(cnm, draft, { skip, aux: driver.auxAddresses?.(draft.options) ?? [] }, undo) : [];
    stillWanted(ctx);
    const leased = { ...draft, pools };
    const planned = await driver.planNetwork?.(ctx, driverNetwork(leased));
    if (planned !== undefined) await cnm.state.commit({ networks: [{ ...leased, driverState: planned.state }] });
    const { state } = await driver.createNetwork(ctx, driverNetwork(leased));
    undo.add('delete network', () => driver.deleteNetwork(contextOf(), driverNetwork({ ...leased, driverState: state })));
    stillWanted(ctx);
    const record: NetworkRecord = { ...leased, driverState: state, phase: 'ready' };
    if (record.shared === true) await cnm.shared?.networks.publish(record);
    await cnm.state.commit({ networks: [record], durable: true });
    return record;
  });
}

async function warningFor(cnm: Cnm, draft: NetworkRecord, spec: NetworkSpec): Promise<string> {
  const driver = driverOf(cnm, draft);
  const own = driver.warning?.(driverNetwork(draft)) ?? '';
  const warnings = [...(own === '' ? [] : [own]), ...unusedSubnets(draft, spec)];
  // A network on a link of the host has its subnet.
  if (driver.capabilities.usesParent === true) return warnings.join('; ');
  for (const { subnet } of draft.ipam.config) {
    // `0.0.0.0/24` stands for any subnet of that size.
    if (subnet === undefined || isUnspecified(prefixAddress(subnet))) continue;
    const route = await overlappedRoute(cnm, subnet, draft.options[labels.bridgeName]);
    if (route !== undefined) warnings.push(`subnet ${subnet} overlaps ${route} of the host`);
  }
  return warnings.join('; ');
}

/** The reference drops subnets of a family that the network does not have, and its clients count on that: it is said only. */
const unusedSubnets = ({ enableIPv4, enableIPv6 }: NetworkRecord, { ipam }: NetworkSpec): string[] =>
  (ipam?.config ?? []).flatMap(({ subnet }) => {
    const prefix = tryPrefix(subnet ?? '');
    if (prefix === undefined) return [];
    const family = familyOf(prefix);
    const isUsed = family === 4 ? enableIPv4 : enableIPv6;
    return isUsed ? [] : [`subnet ${prefix} is not used: the network has no IPv${family}, which --ipv${family} enables`];
  });

/** Deletes a network that nothing uses. Errors: no_network, predefined_network, network_in_use. May be repeated after a failure. */
export async function deleteNetwork(cnm: Cnm, term: string): Promise<NetworkRecord> {
  refuseWhenClosing(cnm);
  await cnm.shared?.catchUp(term);
  const found = networkToDelete(cnm, term);
  if (isPredefined(found.name))
    throw new CnmError('predefined_network', `${found.name} is a pre-defined network and cannot be removed`);
  return cnm.locks.runAll([`name:network:${found.name}`, `network:${found.id}`], () => unmakeNetwork(cnm, found.id));
}

/** Also one whose removal has failed, which nothing else finds. Throws no_network. */
export const networkToDelete = ({ state }: Cnm, term: string): NetworkRecord =>
  state.allNetworks().find((net) => net.phase === 'deleting' && (net.id === term || net.name === term)) ?? state.network(term);

/** Deletes without asking whether it is predefined. The caller holds the network's lock, or nobody else runs yet. */
export async function unmakeNetwork(cnm: Cnm, id: NetworkId): Promise<NetworkRecord> {
  const net = cnm.state.networkById(id);
  if (net === undefined) throw new CnmError('no_network', `network ${shortId(id)} not found`);
  refuseInUse(cnm, net);
  cnm.services?.refuseInUse(net);
  if (net.shared === true) await removeShared(cnm, net);
  if (!net.configOnly) {
    const leaving: NetworkRecord = { ...net, phase: 'deleting' };
    await cnm.state.commit({ networks: [leaving] });
    await attemptAll([
      ['delete network', () => cnm.drivers.find(net.driver)?.deleteNetwork(contextOf(), driverNetwork(net))],
      ['release pools', () => releasePools(cnm, net)],
    ]);
  }
  await cnm.state.commit({ remove: { network: net.id }, durable: true });
  return net;
}

async function removeShared(cnm: Cnm, net: NetworkRecord): Promise<void> {
  // One that another host has made in this moment is not known here yet.
  await cnm.services?.refuseInUseInCluster(net);
  await cnm.shared?.networks.remove(net);
}
