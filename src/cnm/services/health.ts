/** Looks at the members of this host, each in its service's interval, and says how they are. */

import { setTimeout as sleep } from 'node:timers/promises';
import { type EndpointId, type ServiceId, messageOf } from '../../base/index.ts';
import { Turnstile } from '../../kernel/index.ts';
import type { Cnm } from '../context.ts';
import { tryOpenSandboxNetns } from '../join.ts';
import type { HealthCheck, Membership } from '../records.ts';
import { addressesOf, membershipOf } from './members.ts';
import { probe } from './probe.ts';

/** Commands that run at once; the others wait. Other looks cost a socket. */
const AT_ONCE = 16;
/** Longest pause before one that is starting is looked at again, milliseconds: it is wanted as soon as it serves. */
const STARTING_MS = 1000;

/** How a member is found. Not said of one that drains. */
export type Verdict = Extract<Membership['state'], 'starting' | 'healthy' | 'unhealthy'>;

/** Told of each verdict that differs from what the record says. Must not reject. */
type Tell = (endpoint: EndpointId, service: ServiceId, verdict: Verdict) => Promise<void>;

export class Health {
  readonly #cnm: Cnm;
  readonly #tell: Tell;
  readonly #loops = new Map<string, { readonly check: string; readonly stop: AbortController }>();
  readonly #commands = new Turnstile(AT_ONCE);
  /** What was wrong at the last look, by endpoint and service. */
  readonly #problems = new Map<string, string>();

  constructor(cnm: Cnm, tell: Tell) {
    this.#cnm = cnm;
    this.#tell = tell;
  }

  problemOf(endpoint: EndpointId, service: ServiceId): string | undefined {
    return this.#problems.get(keyOf(endpoint, service));
  }

  /** Looks are begun for members that have none, and ended for those that are no members any more. */
  settle(): void {
    const wanted = new Map<string, { endpoint: EndpointId; service: ServiceId; check: HealthCheck }>();
    const { state } = this.#cnm;
    for (const { id: service, phase, network, health } of state.allServices()) {
      if (health === undefined || phase !== 'ready') continue;
      for (const ep of state.endpointsOfNetwork(network)) {
        const membership = ep.phase === 'joined' ? membershipOf(ep, service) : undefined;
        if (membership === undefined || membership.state === 'draining') continue;
        wanted.set(keyOf(ep.id, service), { endpoint: ep.id, service, check: health });
      }
    }
    for (const [key, { stop }] of this.#loops) if (!wanted.has(key)) this.#end(key, stop);
    for (const [key, { endpoint, service, check }] of wanted) {
      if (this.#loops.has(key)) continue;
      const stop = new AbortController();
      this.#loops.set(key, { check: JSON.stringify(check), stop });
      this.#look(endpoint, service, check, stop.signal).catch((error: unknown) =>
        this.#cnm.env.log.error({ endpoint, service, error: messageOf(error) }, 'a member is not looked at any more'),
      );
    }
  }

  stop(): void {
    for (const [key, { stop }] of this.#loops) this.#end(key, stop);
  }

  #end(key: string, stop: AbortController): void {
    stop.abort();
    this.#loops.delete(key);
    this.#problems.delete(key);
  }

  async #look(endpoint: EndpointId, service: ServiceId, check: HealthCheck, signal: AbortSignal): Promise<void> {
    const begun = performance.now();
    let failures = 0;
    while (!signal.aborted) {
      const look = (): Promise<string | undefined> => this.#probe(endpoint, check, signal);
      const problem = await (check.probe.kind === 'command' ? this.#commands.pass(look) : look());
      if (signal.aborted) return;
      const key = keyOf(endpoint, service);
      if (problem === undefined) this.#problems.delete(key);
      else this.#problems.set(key, problem);
      const ep = this.#cnm.state.endpointById(endpoint);
      const before = ep && membershipOf(ep, service)?.state;
      const isEarly = before !== 'healthy' && performance.now() - begun < check.startPeriodMs;
      failures = problem === undefined ? 0 : isEarly ? failures : failures + 1;
      const verdict = problem === undefined ? 'healthy' : failures >= check.retries ? 'unhealthy' : before;
      if (verdict !== undefined && verdict !== 'draining' && verdict !== before) await this.#tell(endpoint, service, verdict);
      const pause = verdict === 'starting' ? Math.min(check.intervalMs, STARTING_MS) : check.intervalMs;
      await sleep(pause, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  async #probe(endpoint: EndpointId, check: HealthCheck, signal: AbortSignal): Promise<string | undefined> {
    const ep = this.#cnm.state.endpointById(endpoint);
    const sandbox = ep?.sandbox === undefined ? undefined : this.#cnm.state.sandboxById(ep.sandbox);
    if (ep === undefined || sandbox === undefined) return 'it is in no sandbox';
    // Open until the look is over: its sockets are made inside.
    using netns = tryOpenSandboxNetns(sandbox);
    if (netns === undefined) return 'its network namespace is gone';
    return await probe(netns, addressesOf(ep)[0], check, signal);
  }
}

const keyOf = (endpoint: EndpointId, service: ServiceId): string => `${endpoint}/${service}`;
