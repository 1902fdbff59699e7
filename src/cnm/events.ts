/**
 * What happened, told in the engine's words (spec 02 §4): made from the changes of records, in the one place where records
 * change. Keeps the last ones, for who asks later. Streams and filters are the daemon's.
 */

import type { Env, SandboxId } from '../base/index.ts';
import { isGatewayEndpoint } from './gateway-names.ts';
import type { EndpointRecord, Membership, NetworkRecord, SandboxRecord, ServiceRecord } from './records.ts';

/** Everything that can be told: filters know these words. */
export const EVENT_ACTIONS = [
  'create',
  'destroy',
  'prune',
  'connect',
  'disconnect',
  'join',
  'leave',
  'start',
  'die',
  'health',
  'update',
  'remove',
  'port-lost',
  'port-regained',
  'lease-lost',
  'lease-regained',
] as const;
type EventAction = (typeof EVENT_ACTIONS)[number];

export interface CnmEvent {
  readonly type: 'network' | 'endpoint' | 'sandbox' | 'service';
  readonly action: EventAction;
  /** Of the thing that it happened to; empty for a prune, which happens to none. */
  readonly id: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** Of the sandbox that the attributes have by its id: for filters, since the engine's events do not tell it. */
  readonly sandboxName?: string;
  /** Nanoseconds since the epoch; no two events have the same. */
  readonly timeNano: bigint;
}

type Told = Omit<CnmEvent, 'timeNano'>;

/** One record before and after a change; absent: it was not there, or is not any more. */
export type RecordChange =
  | { readonly kind: 'network'; readonly before: NetworkRecord | undefined; readonly after: NetworkRecord | undefined }
  | { readonly kind: 'endpoint'; readonly before: EndpointRecord | undefined; readonly after: EndpointRecord | undefined }
  | { readonly kind: 'sandbox'; readonly before: SandboxRecord | undefined; readonly after: SandboxRecord | undefined }
  | { readonly kind: 'service'; readonly before: ServiceRecord | undefined; readonly after: ServiceRecord | undefined };

/** Events that are kept. */
const KEPT = 256;
/** What they may hold in labels and names, characters. */
const KEPT_CHARACTERS = 8 * 1024 * 1024;
const NANOS_PER_MS = 1_000_000n;
/** A clock that is set back by less than this is taken for one that stands still, nanoseconds: by more, its new time is the true one. */
const TIED_NANOS = 1000n * NANOS_PER_MS;

export class EventLog {
  readonly #env: Env;
  readonly #kept: CnmEvent[] = [];
  readonly #listeners = new Set<(event: CnmEvent) => void>();
  #last = 0n;
  #size = 0;

  constructor(env: Env) {
    this.#env = env;
  }

  add(all: readonly Told[]): void {
    for (const told of all) {
      const now = BigInt(Math.trunc(this.#env.now())) * NANOS_PER_MS;
      const isTied = now <= this.#last && this.#last - now < TIED_NANOS;
      this.#last = isTied ? this.#last + 1n : now;
      const event = { ...told, timeNano: this.#last };
      this.#kept.push(event);
      this.#size += sizeOf(event);
      while (this.#kept.length > KEPT || (this.#size > KEPT_CHARACTERS && this.#kept.length > 1)) this.#forget();
      for (const listener of this.#listeners) listener(event);
    }
  }

  #forget(): void {
    const oldest = this.#kept.shift();
    if (oldest !== undefined) this.#size -= sizeOf(oldest);
  }

  /** The last ones, oldest first. */
  recent(): readonly CnmEvent[] {
    return [...this.#kept];
  }

  /** `listener` must not throw, and must not take long. Answers what ends it. */
  subscribe(listener: (event: CnmEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}

const sizeOf = ({ attributes, sandboxName = '' }: CnmEvent): number =>
  Object.entries(attributes).reduce((sum, [key, value]) => sum + key.length + value.length, sandboxName.length);

/** What events name by their ids. */
export interface Known {
  networkById(id: EndpointRecord['network']): NetworkRecord | undefined;
  serviceById(id: ServiceRecord['id']): ServiceRecord | undefined;
  sandboxById(id: SandboxRecord['id']): SandboxRecord | undefined;
}

/** What one change means for users. Half-made things that are taken back say nothing. Pure. */
export function eventsOf(change: RecordChange, known: Known): readonly Told[] {
  if (change.kind === 'network') return ofNetwork(change.before, change.after);
  if (change.kind === 'sandbox') return ofSandbox(change.before, change.after);
  if (change.kind === 'service') return ofService(change.before, change.after, known);
  return [...ofEndpoint(change.before, change.after, known), ...ofMembers(change.before, change.after, known)];
}

function ofService(before: ServiceRecord | undefined, after: ServiceRecord | undefined, known: Known): Told[] {
  const service = after ?? before;
  if (service === undefined) return [];
  const action = after === undefined ? 'remove' : 'create';
  const isNews = after === undefined ? before?.phase !== 'creating' : after.phase === 'ready' && before?.phase !== 'ready';
  return isNews ? [{ type: 'service', action, id: service.id, attributes: aboutService(service, known) }] : [];
}

function aboutService(service: ServiceRecord, known: Known): Record<string, string> {
  const networkName = known.networkById(service.network)?.name;
  return { ...service.labels, name: service.name, network: service.network, ...(networkName !== undefined && { networkName }) };
}

/** Members come and go, drain, and are found well or ill; told by the host that has them. */
function ofMembers(before: EndpointRecord | undefined, after: EndpointRecord | undefined, known: Known): Told[] {
  const ep = after ?? before;
  if (ep === undefined || (before?.services === undefined && after?.services === undefined)) return [];
  const was = new Map((before?.services ?? []).map((one) => [one.service, one]));
  const is = new Map((after?.services ?? []).map((one) => [one.service, one]));
  return [...new Set([...was.keys(), ...is.keys()])].flatMap((id) => {
    const service = known.serviceById(id);
    const [old, now] = [was.get(id), is.get(id)];
    if (service === undefined || old?.state === now?.state) return [];
    const isJudged = (one: Membership | undefined): boolean => one !== undefined && one.state !== 'draining';
    const action = isJudged(old) && isJudged(now) ? 'health' : 'update';
    const attributes = { ...aboutService(service, known), member: ep.name, endpoint: ep.id, state: now?.state ?? 'removed' };
    return [{ type: 'service', action, id, attributes }];
  });
}

function ofNetwork(before: NetworkRecord | undefined, after: NetworkRecord | undefined): Told[] {
  const net = after ?? before;
  if (net === undefined) return [];
  const attributes = { name: net.name, type: net.driver };
  const tell = (action: EventAction): Told[] => [{ type: 'network', action, id: net.id, attributes }];
  if (after?.phase === 'ready' && before?.phase !== 'ready') return tell('create');
  // The engine says nothing about the end of a configuration.
  if (after === undefined && before?.phase !== 'creating' && !net.configOnly) return tell('destroy');
  return [];
}

function ofSandbox(before: SandboxRecord | undefined, after: SandboxRecord | undefined): Told[] {
  const sandbox = after ?? before;
  if (sandbox === undefined) return [];
  const attributes = { ...sandbox.labels, name: sandbox.name };
  const tell = (action: EventAction): Told[] => [{ type: 'sandbox', action, id: sandbox.id, attributes }];
  if (after === undefined) return before?.phase === 'creating' ? [] : tell('destroy');
  if (after.phase === 'ready' && before?.phase !== 'ready') return tell('create');
  if (after.process !== undefined && after.process.startTime !== before?.process?.startTime) return tell('start');
  if (after.exited === true && before?.exited !== true) return tell('die');
  return [];
}

function ofEndpoint(before: EndpointRecord | undefined, after: EndpointRecord | undefined, known: Known): Told[] {
  const ep = after ?? before;
  if (ep === undefined) return [];
  const net = known.networkById(ep.network);
  const own = { name: ep.name, network: ep.network, ...(net && { networkName: net.name }) };
  const named = (id: SandboxId | undefined): { readonly sandboxName?: string } => {
    const sandbox = id === undefined ? undefined : known.sandboxById(id);
    return sandbox === undefined ? {} : { sandboxName: sandbox.name };
  };
  const tell = (action: EventAction, sandbox?: SandboxId): Told => ({
    type: 'endpoint',
    action,
    id: ep.id,
    attributes: { ...own, ...(sandbox !== undefined && { container: sandbox }) },
    ...named(sandbox),
  });
  const network = (action: EventAction, sandbox: SandboxId): Told[] =>
    // The engine says nothing of what comes and goes by itself.
    net === undefined || isGatewayEndpoint(ep, net)
      ? []
      : [
          {
            type: 'network',
            action,
            id: net.id,
            attributes: { container: sandbox, name: net.name, type: net.driver },
            ...named(sandbox),
          },
        ];
  const left = (sandbox: SandboxId): Told[] => [tell('leave', sandbox), ...network('disconnect', sandbox)];
  // One that is made for a sandbox is there when it has joined; a join that fails takes it back.
  const isOfConnect = ep.boundTo !== undefined;
  const isOut = before?.phase === 'leaving' && before.sandbox !== undefined && after?.sandbox === undefined;
  if (after === undefined) {
    if (before?.phase === 'creating' || (isOfConnect && before?.phase === 'ready')) return [];
    return [...(isOut ? left(before.sandbox) : []), tell('destroy')];
  }
  if (after.phase === 'ready' && before?.phase === 'creating' && !isOfConnect) return [tell('create')];
  if (after.phase === 'joined' && before?.phase !== 'joined' && after.sandbox !== undefined) {
    const made = isOfConnect && before?.phase === 'joining' ? [tell('create')] : [];
    return [...made, tell('join', after.sandbox), ...network('connect', after.sandbox)];
  }
  if (isOut) return left(before.sandbox);
  return [];
}
