/** Create and delete a sandbox: namespace, files, endpoints; all or nothing (spec 01 §3). */

import { hostname as hostHostname } from 'node:os';
import { join } from 'node:path';
import {
  type Address,
  type SandboxId,
  CnmError,
  attemptAll,
  codeOf,
  newSandboxId,
  quoted,
  shortId,
  tryAddress,
  undoable,
  parseNameserver,
} from '../base/index.ts';
import type { Ctx } from '../driver/index.ts';
import { MAX_UPSTREAMS_LISTED } from '../keeper/index.ts';
import { type Netns, createNetns, pinNetns, removeNetnsPin, removeResolverRedirect, retireNetnsPin } from '../kernel/index.ts';
import { type PortBindingsInput, parsePortBindings } from '../portmap/index.ts';
import { type Caller, isHostsOwn, openForCaller } from './callers.ts';
import { type Cnm, contextOf, driverOf, refuseWhenClosing, stillWanted } from './context.ts';
import { attach, checkConnect, detach } from './endpoints.ts';
import { createFiles, removeFiles } from './files.ts';
import { bringGateway, usesGatewayBridge } from './gateway-bridge.ts';
import { tryOpenSandboxNetns } from './join.ts';
import { type NetworkRecord, OWN, RECORD_SCHEMA, type SandboxRecord } from './records.ts';
import { checkResolverOptions, checkResolverWords } from './resolver-words.ts';
import { type CheckedEndpoint, type EndpointSpec, checkHostname, checkSandboxName } from './spec.ts';
import { resolverTable } from './steps/resolver.ts';

/** A sandbox as asked for; text as the user wrote it. */
export interface SandboxSpec {
  readonly name: string;
  readonly hostname?: string;
  /** Path of a namespace to adopt. */
  readonly netns?: string;
  /** In the order asked for; the first is joined first. Absent or empty: the default network. */
  readonly networks?: readonly (readonly [network: string, settings: EndpointSpec])[];
  readonly portBindings?: PortBindingsInput;
  readonly dns?: readonly string[];
  readonly dnsSearch?: readonly string[];
  readonly dnsOptions?: readonly string[];
  /** `name:address`, `name=address`; `host-gateway` stands for the default bridge's address. */
  readonly extraHosts?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly autoRemove?: boolean;
}

interface Plan {
  readonly record: SandboxRecord;
  readonly connections: readonly { readonly net: NetworkRecord; readonly asked: CheckedEndpoint }[];
  readonly warnings: readonly string[];
}

/** Creates a sandbox and joins it to all its networks. On an error nothing is left. */
export async function createSandbox(
  cnm: Cnm,
  spec: SandboxSpec,
  signal?: AbortSignal,
  caller: Caller = 'trusted',
): Promise<{ record: SandboxRecord; warnings: readonly string[] }> {
  refuseWhenClosing(cnm);
  const ctx = contextOf(signal);
  for (const [term] of spec.networks ?? []) await cnm.shared?.catchUp(term);
  const plan = planOf(cnm, spec);
  return cnm.locks.run(`name:sandbox:${spec.name}`, () =>
    cnm.locks.run(`sandbox:${plan.record.id}`, async () => {
      const other = cnm.state.allSandboxes().find((s) => s.name === spec.name);
      if (other !== undefined) {
        throw new CnmError(
          'name_taken',
          `the sandbox name ${JSON.stringify(spec.name)} is in use by sandbox ${shortId(other.id)}`,
        );
      }
      return { record: await build(cnm, plan, caller, ctx), warnings: plan.warnings };
    }),
  );
}

function planOf(cnm: Cnm, spec: SandboxSpec): Plan {
  checkSandboxName(spec.name);
  if (spec.hostname) checkHostname(spec.hostname);
  const wanted = spec.networks !== undefined && spec.networks.length > 0 ? spec.networks : defaultNetwork(cnm);
  const nets = wanted.map(([term, settings]) => ({ net: cnm.state.network(term), settings }));
  const kinds = nets.map(({ net }) => driverOf(cnm, net).capabilities.sandbox);
  const mode = kinds.includes('host') ? 'host' : 'own';
  const alone = kinds.includes('host') ? 'host' : kinds.includes('none') ? 'none' : undefined;
  if (alone !== undefined && nets.length > 1) {
    throw new CnmError('not_supported_here', `network ${alone} cannot be combined with other networks`);
  }
  if (mode === 'host' && spec.netns)
    throw new CnmError('bad_netns', 'a namespace cannot be given together with the host network');
  const { wanted: publish, exposed } = parsePortBindings(spec.portBindings ?? {});
  const warnings: string[] = [];
  if (publish.length > 0 && (alone !== undefined || nets.every(({ net }) => net.internal))) {
    warnings.push(
      `Published ports are discarded when using ${alone === undefined ? 'internal networks only' : `${alone} network mode`}`,
    );
  }
  const mute = nets.filter(({ net }) => !net.internal && driverOf(cnm, net).external === undefined).map(({ net }) => net);
  if (
    publish.length > 0 &&
    alone === undefined &&
    mute.length > 0 &&
    !mute.every((net) => usesGatewayBridge(cnm, net)) &&
    nets.every(({ net }) => net.internal || mute.includes(net))
  ) {
    const words = mute.map((net) => `${net.name} (${net.driver})`).join(', ');
    warnings.push(
      `Published ports are discarded: ${words} has no port mapping, its sandboxes are reached by their own addresses`,
    );
  }
  const dns = spec.dns ?? [];
  if (dns.length > MAX_UPSTREAMS_LISTED)
    throw new CnmError('bad_address', `${dns.length} nameservers, up to ${MAX_UPSTREAMS_LISTED} are allowed`);
  const id = newSandboxId();
  const record: SandboxRecord = {
    schema: RECORD_SCHEMA,
    owner: OWN,
    id,
    name: spec.name,
    phase: 'creating',
    created: cnm.state.stamp(cnm.env.now()),
    hostname: spec.hostname || (mode === 'host' ? hostHostname() : shortId(id)),
    key: join(cnm.runDir, 'netns', shortId(id)),
    ...(spec.netns && { adopted: spec.netns }),
    mode,
    publish: alone === undefined ? publish : [],
    exposed,
    held: [],
    heldFamilies: { v4: false, v6: false },
    dns: dns.map(parseNameserver),
    dnsSearch: checkResolverWords(spec.dnsSearch ?? [], 'search domain'),
    dnsOptions: checkResolverOptions(spec.dnsOptions ?? []),
    extraHosts: extraHosts(cnm, spec.extraHosts ?? []),
    labels: spec.labels ?? {},
    autoRemove: spec.autoRemove ?? false,
  };
  return { record, connections: connectionsOf(cnm, record, nets), warnings };
}

function defaultNetwork(cnm: Cnm): readonly (readonly [string, EndpointSpec])[] {
  const fallback = cnm.state.networks().some((n) => n.name === 'bridge') ? 'bridge' : 'none';
  return [[fallback, {}]];
}

function connectionsOf(
  cnm: Cnm,
  record: SandboxRecord,
  nets: readonly { net: NetworkRecord; settings: EndpointSpec }[],
): Plan['connections'] {
  const seen = new Set<string>();
  const all = nets.map(({ net, settings }) => {
    if (seen.has(net.id)) throw new CnmError('bad_request', `network ${net.name} is named twice`);
    seen.add(net.id);
    return { net, asked: checkConnect(cnm, net, record, settings) };
  });
  // The first one keeps its place, it is the one that eth0 belongs to; the others go by name (spec 01 I1).
  const [first, ...rest] = all;
  return first === undefined ? [] : [first, ...rest.sort((a, b) => (a.net.name < b.net.name ? -1 : 1))];
}

function extraHosts(cnm: Cnm, texts: readonly string[]): { name: string; address: Address }[] {
  return texts.flatMap((text) => {
    const [, name, value = ''] = /^([^:=\s]+)[:=](.+)$/.exec(text) ?? [];
    const bad = (): never => {
      throw new CnmError(
        'bad_address',
        `invalid add-host ${quoted(text)}: use name:address, with one IP address or host-gateway`,
      );
    };
    if (name === undefined) return bad();
    checkHostname(name);
    if (value === 'host-gateway') return gatewaysOfHost(cnm).map((address) => ({ name, address }));
    const address = tryAddress(value.replace(/^\[(.*)\]$/, '$1'));
    return address === undefined ? bad() : [{ name, address }];
  });
}

function gatewaysOfHost(cnm: Cnm): Address[] {
  const addresses =
    cnm.state
      .networks()
      .find((n) => n.name === 'bridge')
      ?.pools.flatMap((pool) => pool.gateway ?? []) ?? [];
  if (addresses.length === 0)
    throw new CnmError('bad_option', 'host-gateway needs the default bridge network, and there is none');
  return addresses;
}

async function build(cnm: Cnm, plan: Plan, caller: Caller, ctx: Ctx): Promise<SandboxRecord> {
  const draft = plan.record;
  return undoable(async (undo) => {
    // Looked at before anything is written: a bad path changes nothing.
    using source = draft.adopted === undefined ? undefined : openForCaller(draft.adopted, caller);
    await claim(cnm, draft, source);
    undo.add('forget record', () => cnm.state.takeBack({ remove: { sandbox: draft.id } }));
    using netns = makeNamespace(cnm, draft, source);
    undo.add('remove namespace', () => removeNetnsPin(draft.key));
    // Undone before the pin goes: a socket left in the namespace would keep it alive where nobody can reach it.
    undo.add('release ports and resolver', () => forgetInKeeper(cnm, draft.id));
    if (draft.mode !== 'host') await netns.rtnl().batch([{ op: 'link.set', at: { name: 'lo' }, change: { up: true } }]);
    const placed: SandboxRecord = { ...draft, identity: netns.identity };
    // Registered first: some of the files may be there when the others cannot be written.
    undo.add('remove files', () => removeFiles(cnm, placed));
    createFiles(cnm, placed);
    await cnm.state.commit({ sandboxes: [placed] });
    for (const { net, asked } of plan.connections) {
      const sandbox = cnm.state.sandboxById(draft.id) ?? placed;
      const ep = await attach(cnm, net, sandbox, asked, ctx);
      undo.add(`detach from ${net.name}`, () => detach(cnm, ep.id));
      stillWanted(ctx);
    }
    await bringGateway(cnm, draft.id, {}, ctx, undo);
    const ready: SandboxRecord = { ...(cnm.state.sandboxById(draft.id) ?? placed), phase: 'ready' };
    await cnm.state.commit({ sandboxes: [ready] });
    return ready;
  });
}

function makeNamespace(cnm: Cnm, draft: SandboxRecord, source: Netns | undefined): Netns {
  if (draft.mode === 'host') return pinNetns(cnm.host, draft.key);
  return source === undefined ? createNetns(draft.key) : pinNetns(source, draft.key);
}

/**
 * Writes the first record. Of a given namespace it holds the identity, so that nobody else takes the same one meanwhile.
 * Throws bad_netns for the host's own and for one that is a sandbox already.
 */
async function claim(cnm: Cnm, draft: SandboxRecord, source: Netns | undefined): Promise<void> {
  if (source === undefined) return cnm.state.commit({ sandboxes: [draft] });
  const { identity, path } = source;
  const refuse = (why: string): never => {
    throw new CnmError('bad_netns', `${quoted(path)} ${why}`);
  };
  await cnm.locks.run(`netns:${identity}`, async () => {
    if (identity === cnm.host.identity || isHostsOwn(source)) return refuse("is the host's own network namespace");
    const other = cnm.state.allSandboxes().find((s) => s.identity === identity);
    if (other !== undefined) return refuse(`is the namespace of sandbox ${other.name} already`);
    await cnm.state.commit({ sandboxes: [{ ...draft, identity }] });
  });
}

/**
 * Ends resolver and held ports of a sandbox; the keeper has let go of its sockets when this resolves. Both are tried: a keeper that
 * is away is told of both when it is back.
 */
async function forgetInKeeper(cnm: Cnm, id: SandboxId): Promise<void> {
  await attemptAll([
    ['release resolver', () => cnm.keeper.sandbox(id, null)],
    ['release ports', () => cnm.keeper.holds(id, [])],
  ]);
  cnm.ports.release(id);
}

/** Deletes a sandbox whose process is dealt with. The caller holds its lock. Every step is tried; may be repeated. */
export async function deleteSandbox(cnm: Cnm, id: SandboxId): Promise<void> {
  const sandbox = cnm.state.sandboxById(id);
  if (sandbox === undefined) return;
  await cnm.state.commit({ sandboxes: [{ ...sandbox, phase: 'deleting' }] });
  const endpoints = cnm.state.endpointsOfSandbox(id);
  await attemptAll([
    ...endpoints.map((ep) => [`detach from ${ep.network}`, () => detach(cnm, ep.id)] as const),
    ['release ports and resolver', () => forgetInKeeper(cnm, id)],
    ['clear namespace', () => clearNamespace(cnm, sandbox)],
    ['remove namespace', () => removePin(cnm, sandbox)],
    ['remove files', () => removeFiles(cnm, sandbox)],
  ]);
  await cnm.state.commit({ remove: { sandbox: id } });
}

/** Others may wait for the end of a namespace that they have made, or for links that come back to the host with it. */
function removePin({ env }: Cnm, { key, adopted, mode }: SandboxRecord): void {
  try {
    if (mode === 'own' && adopted === undefined) retireNetnsPin(key);
    else removeNetnsPin(key);
  } catch (error) {
    // Somebody has put another thing in its place, which would keep the sandbox for good.
    if (codeOf(error) !== 'bad_netns') throw error;
    env.log.warn({ path: key, err: error }, 'not one of our pins: it is left where it is');
  }
}

/** An adopted namespace outlives us: what we laid in it is taken back before nobody can reach it. */
async function clearNamespace(cnm: Cnm, sandbox: SandboxRecord): Promise<void> {
  if (sandbox.adopted === undefined) return;
  using netns = tryOpenSandboxNetns(sandbox);
  if (netns === undefined) return;
  await removeResolverRedirect(netns, resolverTable(cnm.mark.tag));
  await cnm.balancer.clear(netns);
}
