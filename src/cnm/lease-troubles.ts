/**
 * Leases that a server elsewhere does not prolong. The address stays; that it is in danger is told as events and to the log, and
 * looked up for whoever inspects.
 */

import type { EndpointId } from '../base/index.ts';
import type { LeaseTrouble } from '../ipam/index.ts';
import type { Cnm } from './context.ts';
import type { EventLog } from './events.ts';
import type { EndpointRecord } from './records.ts';

export class LeaseTroubles {
  readonly #cnm: Cnm;
  readonly #events: EventLog;
  #told = new Map<string, LeaseTrouble>();

  constructor(cnm: Cnm, events: EventLog) {
    this.#cnm = cnm;
    this.#events = events;
  }

  /** Tells of what is now, and of every change from now on. */
  start(): void {
    for (const watch of this.#watches()) watch.onTroubles = () => this.#look();
    this.#look();
  }

  stop(): void {
    for (const watch of this.#watches()) watch.onTroubles = undefined;
  }

  /** In words. */
  ofEndpoint({ id }: EndpointRecord): readonly string[] {
    const trouble = this.#told.get(id);
    return trouble === undefined ? [] : [trouble.text];
  }

  #watches() {
    return this.#cnm.ipams.all().flatMap(({ watch }) => watch ?? []);
  }

  #look(): void {
    const now = new Map(this.#watches().flatMap(({ troubles }) => troubles.map((one) => [one.owner, one] as const)));
    const before = this.#told;
    this.#told = now;
    for (const [owner, one] of now) if (before.get(owner)?.kind !== one.kind) this.#tell(one, true);
    for (const [owner, one] of before) if (!now.has(owner)) this.#tell(one, false);
  }

  /** An endpoint that was removed has lost its lease on purpose. */
  #tell({ owner, address, kind, text }: LeaseTrouble, isTrouble: boolean): void {
    const ep = this.#cnm.state.endpointById(owner as EndpointId);
    if (ep === undefined || (ep.phase !== 'ready' && ep.phase !== 'joined')) return;
    const net = this.#cnm.state.networkById(ep.network);
    const { log } = this.#cnm.env;
    const subject = { endpoint: ep.id, name: ep.name, network: ep.network, address, kind };
    if (isTrouble) log.error({ ...subject, problem: text }, 'the lease of an endpoint is in danger: its address is kept');
    else log.warn(subject, 'the lease of an endpoint is prolonged again');
    this.#events.add([
      {
        type: 'endpoint',
        action: isTrouble ? 'lease-lost' : 'lease-regained',
        id: ep.id,
        attributes: { name: ep.name, network: ep.network, ...(net && { networkName: net.name }), address, reason: kind },
      },
    ]);
  }
}
