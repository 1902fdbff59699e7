/** Join and leave: the steps in order, each with its undo; leave is the same list backwards (spec 01 §3). */

import { type EndpointId, type SandboxId, CnmError, attemptAll, errnoOf, shortId, undoable } from '../base/index.ts';
import type { Ctx } from '../driver/index.ts';
import { type Netns, openNetns } from '../kernel/index.ts';
import type { Attachment, JoinStep } from './attachment.ts';
import { type Cnm, contextOf, driverOf, stillWanted } from './context.ts';
import type { EndpointRecord, SandboxRecord } from './records.ts';
import type { StateChange } from './state.ts';
import { clusterStep, peersStep } from './steps/cluster.ts';
import { externalStep } from './steps/external.ts';
import { filesStep } from './steps/files.ts';
import { gatewayStep } from './steps/gateway.ts';
import { intendedJoin, linkStep } from './steps/link.ts';
import { dnsNamesOf, namesStep } from './steps/names.ts';
import { portsStep } from './steps/ports.ts';
import { resolverStep } from './steps/resolver.ts';
import { clientStep, memberStep } from './steps/services.ts';

export const joinSteps: readonly JoinStep[] = [
  resolverStep,
  peersStep,
  clientStep,
  linkStep,
  gatewayStep,
  externalStep,
  portsStep,
  namesStep,
  filesStep,
  memberStep,
  clusterStep,
];

/**
 * Joins a ready endpoint to a sandbox; its record is written on the way. The caller holds the sandbox's lock. Throws
 * already_joined and the steps' errors; nothing is left then.
 */
export async function joinEndpoint(cnm: Cnm, ep: EndpointRecord, sandboxId: SandboxId, ctx: Ctx): Promise<EndpointRecord> {
  const sandbox = sandboxRecord(cnm, sandboxId);
  if (ep.phase !== 'ready') {
    throw new CnmError(
      'already_joined',
      `endpoint ${ep.name} (${shortId(ep.id)}) is ${ep.phase}: another sandbox is attached to it`,
    );
  }
  using netns = openSandboxNetns(sandbox);
  const a = attachment(cnm, ctx, { ...ep, sandbox: sandboxId, phase: 'joining' }, sandbox, netns);
  // Awaited here: the namespace must stay open until the last undo.
  return await undoable(async (undo) => {
    a.ep = { ...a.ep, join: await intendedJoin(a), dnsNames: dnsNamesOf(a.net, ep, sandbox) };
    await cnm.state.commit({ endpoints: [a.ep] });
    undo.add('forget join', () => cnm.state.takeBack({ endpoints: [ep], sandboxes: [withoutProcessLoss(cnm, a.sandbox)] }));
    undo.add('names are gone', () => a.named);
    for (const step of joinSteps) {
      // Registered first: a step that fails half-way undoes itself, and undo accepts what was never made.
      undo.add(step.label, () => step.undo(a));
      await step.do(a);
      stillWanted(ctx);
    }
    await a.named;
    stillWanted(ctx);
    a.ep = { ...a.ep, phase: 'joined' };
    await commitAll(a, [a.ep]);
    return a.ep;
  });
}

/** Takes an endpoint out of its sandbox. Every step is tried; on an error the record stays `leaving` and the call may be repeated. */
export async function leaveEndpoint(cnm: Cnm, id: EndpointId): Promise<EndpointRecord> {
  const ep = joinedRecord(cnm, id);
  return withdraw(cnm, { ...ep, phase: 'leaving' }, async (a, left) => {
    await commitAll(a, [left], undefined, writing(a));
    return left;
  });
}

/**
 * The same for an endpoint that is deleted at once, by `unmake`: its record goes with the last write. A start that finds it
 * half-way deletes it. When `unmake` fails, the endpoint has left and is to be deleted again.
 */
export async function leaveForGood(cnm: Cnm, id: EndpointId, unmake: (left: EndpointRecord) => Promise<unknown>): Promise<void> {
  const ep = joinedRecord(cnm, id);
  await withdraw(cnm, { ...ep, phase: 'leaving', boundTo: ep.sandbox }, async (a, left) => {
    try {
      await unmake(left);
    } catch (error) {
      await commitAll(a, [{ ...left, phase: 'deleting' }], undefined, writing(a));
      throw error;
    }
    await commitAll(a, [], id, writing(a));
  });
}

function withdraw<T>(
  cnm: Cnm,
  going: EndpointRecord & { readonly sandbox: SandboxId },
  finish: (a: Attachment, left: EndpointRecord) => Promise<T>,
): Promise<T> {
  return cnm.turns.share(async () => {
    await cnm.turns.next();
    const sandbox = sandboxRecord(cnm, going.sandbox);
    using netns = tryOpenSandboxNetns(sandbox);
    const a = attachment(cnm, contextOf(), going, sandbox, netns);
    await writing(a)({ endpoints: [a.ep] });
    const steps = [
      ...[...joinSteps].reverse().map(
        (step) =>
          [
            step.label,
            async () => {
              await cnm.turns.next();
              await step.undo(a);
            },
          ] as const,
      ),
      ['names are gone', () => a.named],
    ] as const;
    try {
      await attemptAll(steps);
    } catch (error) {
      // It may be repeated at some time, or by the next start: until then the others have the ports that the steps gave them.
      await writing(a)({ endpoints: [...a.touched.values()] }).catch((why: unknown) =>
        cnm.env.log.error({ sandbox: sandbox.id, err: why }, 'what a leave has changed before it failed cannot be recorded'),
      );
      throw error;
    }
    const { sandbox: _left, join: _join, services: _services, ...rest } = a.ep;
    await cnm.turns.next();
    return await finish(a, { ...rest, phase: 'ready', dnsNames: dnsNamesOf(a.net, rest), bindings: [] });
  });
}

function joinedRecord(cnm: Cnm, id: EndpointId): EndpointRecord & { readonly sandbox: SandboxId } {
  const ep = cnm.state.endpointById(id);
  if (ep?.sandbox === undefined) throw new CnmError('no_endpoint', `endpoint ${shortId(id)} is not joined`);
  return { ...ep, sandbox: ep.sandbox };
}

function sandboxRecord(cnm: Cnm, id: SandboxId): SandboxRecord {
  const sandbox = cnm.state.sandboxById(id);
  if (sandbox === undefined) throw new CnmError('no_sandbox', `No such sandbox: ${shortId(id)}`);
  return sandbox;
}

export function attachment(cnm: Cnm, ctx: Ctx, ep: EndpointRecord, sandbox: SandboxRecord, netns: Netns | undefined): Attachment {
  const net = cnm.state.networkById(ep.network);
  if (net === undefined) throw new CnmError('no_network', `network ${shortId(ep.network)} not found`);
  // A namespace that others gave outlives the sandbox.
  const isEnding = sandbox.phase === 'deleting' && sandbox.mode === 'own' && sandbox.adopted === undefined;
  return { cnm, ctx, net, driver: driverOf(cnm, net), ...(netns && { netns }), isEnding, ep, sandbox, touched: new Map() };
}

type Writer = (change: StateChange) => Promise<void>;

/** A sandbox that is being made is left only because that has failed, maybe by the very store. */
const writing =
  ({ cnm: { state }, sandbox }: Attachment): Writer =>
  (change) =>
    sandbox.phase === 'creating' ? state.takeBack(change) : state.commit(change);

/** Writes the endpoint, the others that a step touched, and the sandbox, whose process may have ended meanwhile. */
async function commitAll(
  a: Attachment,
  endpoints: readonly EndpointRecord[],
  removed?: EndpointId,
  write: Writer = (change) => a.cnm.state.commit(change),
): Promise<void> {
  await write({
    ...(removed && { remove: { endpoint: removed } }),
    endpoints: [...endpoints, ...a.touched.values()],
    sandboxes: [withoutProcessLoss(a.cnm, a.sandbox)],
  });
}

/** The process fields change outside the sandbox's lock: take them as they are now. */
function withoutProcessLoss(cnm: Cnm, sandbox: SandboxRecord): SandboxRecord {
  const { process: _p, exited: _e, ...rest } = sandbox;
  const now = cnm.state.sandboxById(sandbox.id);
  return { ...rest, ...(now?.process && { process: now.process }), ...(now?.exited !== undefined && { exited: now.exited }) };
}

/** Opens the sandbox's namespace by its pin. Throws bad_netns when it is gone or is another one. */
export function openSandboxNetns(sandbox: SandboxRecord): Netns {
  const netns = tryOpenSandboxNetns(sandbox);
  if (netns === undefined)
    throw new CnmError('bad_netns', `the network namespace of sandbox ${sandbox.name} is gone: ${sandbox.key}`);
  return netns;
}

export function tryOpenSandboxNetns(sandbox: SandboxRecord): Netns | undefined {
  let netns: Netns;
  try {
    netns = openNetns(sandbox.key, { isForLinks: true });
  } catch (error) {
    if (errnoOf(error) !== undefined || (error instanceof Error && 'code' in error && error.code === 'bad_netns'))
      return undefined;
    throw error;
  }
  if (netns.identity === sandbox.identity) return netns;
  netns[Symbol.dispose]();
  return undefined;
}
