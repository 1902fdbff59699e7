/**
 * Published host ports that another process has taken, which it can while the keeper that holds them is dead. The keeper tries
 * to get them back; here that is told as events and to the log, and looked up for whoever inspects.
 */

import { familyOf, type SandboxId } from '../base/index.ts';
import type { HoldConflict } from '../keeper/index.ts';
import type { Cnm } from './context.ts';
import type { EventLog } from './events.ts';
import type { EndpointRecord } from './records.ts';

const keyOf = ({ owner, protocol, address, port }: HoldConflict): string => `${owner} ${protocol} ${address} ${port}`;

const placeOf = ({ protocol, address, port }: HoldConflict): string =>
  `${familyOf(address) === 6 ? `[${address}]` : address}:${port}/${protocol}`;

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process has it',
  EADDRNOTAVAIL: 'the host does not have this address any more',
};

/** For people. */
export const conflictText = (conflict: HoldConflict): string =>
  `host port ${placeOf(conflict)} is not held: ${REASONS[conflict.errno] ?? conflict.errno}`;

export class Conflicts {
  readonly #cnm: Cnm;
  readonly #events: EventLog;
  #told = new Map<string, HoldConflict>();

  constructor(cnm: Cnm, events: EventLog) {
    this.#cnm = cnm;
    this.#events = events;
  }

  /** Tells of what is now, and of every change from now on. */
  start(): void {
    this.#cnm.keeper.onConflicts = () => this.#look();
    this.#look();
  }

  stop(): void {
    this.#cnm.keeper.onConflicts = undefined;
  }

  ofSandbox(id: SandboxId): readonly HoldConflict[] {
    return this.#cnm.keeper.conflicts.filter((one) => one.owner === id);
  }

  /** Those of the ports that are published through the endpoint. */
  ofEndpoint(ep: EndpointRecord): readonly HoldConflict[] {
    return this.#cnm.keeper.conflicts.filter(
      (one) =>
        one.owner === ep.sandbox &&
        ep.bindings.some(
          ({ protocol, hostAddress, hostPort }) =>
            protocol === one.protocol && hostAddress === one.address && hostPort === one.port,
        ),
    );
  }

  #look(): void {
    const now = new Map(this.#cnm.keeper.conflicts.map((one) => [keyOf(one), one]));
    const before = this.#told;
    this.#told = now;
    for (const [key, one] of now) if (!before.has(key)) this.#tell(one, true);
    for (const [key, one] of before) if (!now.has(key)) this.#tell(one, false);
  }

  /** A sandbox that was removed has lost its ports on purpose. */
  #tell(conflict: HoldConflict, isLost: boolean): void {
    const sandbox = this.#cnm.state.sandboxById(conflict.owner);
    if (sandbox?.phase !== 'ready') return;
    const { protocol, address, port, errno } = conflict;
    const { log } = this.#cnm.env;
    const subject = { sandbox: sandbox.id, name: sandbox.name, protocol, address, port, errno };
    if (isLost) log.error(subject, 'another process has a published host port: it is tried for until it is free');
    else log.warn(subject, 'a published host port is held again');
    this.#events.add([
      {
        type: 'sandbox',
        action: isLost ? 'port-lost' : 'port-regained',
        id: sandbox.id,
        attributes: { ...sandbox.labels, name: sandbox.name, hostPort: placeOf(conflict), reason: errno },
      },
    ]);
  }
}
