/**
 * Chooses host ports (spec 05 §3). The choice is made here, in memory; whether the host really lets us have the port is
 * known only to whoever binds it, so each choice is tried through a callback and the next port taken when it is refused.
 */

import {
  CnmError,
  KernelError,
  familyOf,
  shortId,
  undoable,
  type Address,
  type PortRange,
  type SandboxId,
} from '../base/index.ts';
import type { HoldAnswer, HoldRequest, PortHold } from '../keeper/index.ts';
import { collides, groupPorts, isExact, type HostSide, type PortGroup, type WantedPort } from './spec.ts';
import { PortTable } from './table.ts';

/** How often a range or an ephemeral request moves on after a refused bind. */
const ATTEMPTS = 10;

/** A host port that is ours now, and where it leads. Has the shape of the driver contract's HeldPort. */
export interface AllocatedPort {
  readonly hold: PortHold;
  /** Port inside the sandbox. */
  readonly port: number;
}

/** Holds exactly these groups for the owner and says for each whether it could, as KeeperLink.holds does. */
export type TryHold = (groups: readonly HoldRequest[]) => Promise<readonly HoldAnswer[]>;

export interface AllocatorOptions {
  readonly ephemeral: PortRange;
  /** Skipped where no port is named; a named port or range may use them. */
  readonly reserved: ReadonlySet<number>;
  /** The sandbox's name, for errors. */
  readonly nameOf?: (owner: SandboxId) => string | undefined;
}

/** A group with the port that is being tried. */
interface Choice {
  readonly group: PortGroup;
  /** Held already: another process that has it now does not make the call fail, since the keeper goes on trying. */
  readonly isOurs: boolean;
  hostPort: number;
  attempts: number;
}

/** Calls for one owner never overlap; calls for different owners may. */
export class PortAllocator {
  readonly #options: AllocatorOptions;
  readonly #table = new PortTable();
  readonly #owned = new Map<SandboxId, readonly AllocatedPort[]>();
  /** Last port handed out, by first address, protocol and range. */
  readonly #cursors = new Map<string, number>();

  constructor(options: AllocatorOptions) {
    this.#options = options;
  }

  /**
   * Makes the owner's host ports be those of `wanted`, all or nothing; ports it has already and still wants stay. All
   * ports are tried in one call of `tryHold`, and in one more for each round of refusals. Throws port_taken,
   * ports_exhausted, bad_address (not an address of this host), syscall_failed; the owner has then what it had before.
   */
  async allocate(
    owner: SandboxId,
    wanted: readonly WantedPort[],
    host: HostSide,
    tryHold: TryHold,
  ): Promise<readonly AllocatedPort[]> {
    const before = this.#owned.get(owner) ?? [];
    for (const { hold } of before) this.#table.give(owner, hold.protocol, hold.addresses, hold.port);
    const choices: Choice[] = [];
    return undoable(async (undo) => {
      undo.add('host ports as before', () => {
        for (const choice of choices) this.#give(owner, choice);
        this.adopt(owner, before);
      });
      const spare = [...before];
      for (const group of groupPorts(wanted, host)) choices.push(this.#choose(owner, group, spare, choices));
      if (choices.length === 0 && before.length === 0) return [];

      undo.add('holds as before', () => tryHold(ours(before)));
      await this.#hold(owner, choices, tryHold);
      const allocated = choices.map(({ group, hostPort }) => ({
        hold: { owner, protocol: group.protocol, addresses: group.addresses, port: hostPort },
        port: group.port,
      }));
      this.#remember(owner, allocated);
      return allocated;
    });
  }

  /** Takes ports over that are held already, as at a start. Repeatable. */
  adopt(owner: SandboxId, held: readonly AllocatedPort[]): void {
    this.release(owner);
    for (const { hold } of held) this.#table.take(owner, hold.protocol, hold.addresses, hold.port);
    this.#remember(owner, held);
  }

  /** Forgets the owner's ports; closing their sockets is the caller's. Unknown owner: no error. */
  release(owner: SandboxId): void {
    for (const { hold } of this.#owned.get(owner) ?? []) this.#table.give(owner, hold.protocol, hold.addresses, hold.port);
    this.#owned.delete(owner);
  }

  #remember(owner: SandboxId, held: readonly AllocatedPort[]): void {
    if (held.length > 0) this.#owned.set(owner, held);
    else this.#owned.delete(owner);
  }

  async #hold(owner: SandboxId, choices: readonly Choice[], tryHold: TryHold): Promise<void> {
    for (let round = 0; round <= ATTEMPTS; round++) {
      const answers = await tryHold(
        choices.map(({ group, hostPort, isOurs }) => ({
          protocol: group.protocol,
          addresses: group.addresses,
          port: hostPort,
          ...(isOurs && { isOurs }),
        })),
      );
      if (answers.length !== choices.length) {
        throw new CnmError('internal', `asked for ${choices.length} port groups, ${answers.length} were answered`);
      }
      let isComplete = true;
      for (const [i, choice] of choices.entries()) {
        const answer = answers[i];
        if (answer === undefined || answer.ok || choice.isOurs) continue;
        isComplete = false;
        this.#moveOn(owner, choice, answer);
      }
      if (isComplete) return;
    }
    throw new CnmError('internal', `port groups were refused in ${ATTEMPTS + 1} rounds`);
  }

  #choose(owner: SandboxId, group: PortGroup, spare: AllocatedPort[], chosen: readonly Choice[]): Choice {
    const exact = isExact(group) ? group.hostPorts?.from : undefined;
    const seat = exact === undefined ? undefined : this.#table.holder(group.protocol, group.addresses, exact);
    // What the owner had before is given back by now: a seat of its own is of this very request.
    if (seat?.owner === owner) throw twice(group, chosen);
    const kept = spare.findIndex(({ hold, port }) => port === group.port && fits(hold, group));
    const [old] = kept < 0 ? [] : spare.splice(kept, 1);
    const hostPort = old?.hold.port ?? this.#nextFree(group);
    this.#table.take(owner, group.protocol, group.addresses, hostPort);
    return { group, isOurs: old !== undefined, hostPort, attempts: 1 };
  }

  /** Takes the next port after a refused bind. Throws when this refusal is final. */
  #moveOn(owner: SandboxId, choice: Choice, answer: Extract<HoldAnswer, { ok: false }>): void {
    const { group } = choice;
    if (answer.errno !== 'EADDRINUSE' || isExact(group) || choice.attempts >= ATTEMPTS) throw refusal(choice, answer);
    this.#give(owner, choice);
    choice.hostPort = this.#nextFree(group);
    choice.attempts++;
    this.#table.take(owner, group.protocol, group.addresses, choice.hostPort);
  }

  #give(owner: SandboxId, { group, hostPort }: Choice): void {
    this.#table.give(owner, group.protocol, group.addresses, hostPort);
  }

  /** Next free port after the last one handed out, wrapping (spec 05 A5). */
  #nextFree(group: PortGroup): number {
    const { from, to } = group.hostPorts ?? this.#options.ephemeral;
    const key = [group.addresses[0], group.protocol, from, to].join(' ');
    const size = to - from + 1;
    const start = (this.#cursors.get(key) ?? from - 1) + 1;
    for (let i = 0; i < size; i++) {
      const port = from + ((start - from + i) % size);
      if (group.hostPorts === undefined && this.#options.reserved.has(port)) continue;
      if (this.#table.holder(group.protocol, group.addresses, port) !== undefined) continue;
      this.#cursors.set(key, port);
      return port;
    }
    throw this.#occupied(group, { from, to });
  }

  #occupied(group: PortGroup, { from, to }: PortRange): CnmError {
    const first = group.addresses[0] as Address;
    if (!isExact(group)) {
      return new CnmError(
        'ports_exhausted',
        `all ports are allocated: no ${group.protocol} port of ${from}-${to} is free on ${group.addresses.join(' and ')}`,
      );
    }
    const seat = this.#table.holder(group.protocol, group.addresses, from);
    const name = seat === undefined ? undefined : (this.#options.nameOf?.(seat.owner) ?? shortId(seat.owner));
    return new CnmError(
      'port_taken',
      `Bind for ${endpoint(first, from)} failed: port is already allocated: ` +
        `${endpoint(seat?.address ?? first, from)}/${group.protocol} is published by sandbox ${name ?? 'unknown'}`,
    );
  }
}

/** A host port that the same request names for another binding too. */
function twice(group: PortGroup, chosen: readonly Choice[]): CnmError {
  const port = group.hostPorts?.from ?? 0;
  const clash = chosen
    .filter(({ group: other, hostPort }) => other.protocol === group.protocol && hostPort === port)
    .flatMap(({ group: other }) => other.addresses.map((seat) => ({ seat, of: other.port })))
    .find(({ seat }) => group.addresses.some((address) => collides(seat, address)));
  const address =
    group.addresses.find((one) => clash !== undefined && collides(clash.seat, one)) ?? (group.addresses[0] as Address);
  return new CnmError(
    'port_taken',
    `Bind for ${endpoint(address, port)} failed: port is already allocated: the sandbox would publish ` +
      `${endpoint(clash?.seat ?? address, port)}/${group.protocol} for its port ${clash?.of ?? group.port} and ` +
      `${endpoint(address, port)}/${group.protocol} for its port ${group.port}`,
  );
}

/** The wish for ports that an owner has already. */
export const ours = (held: readonly AllocatedPort[]): readonly HoldRequest[] =>
  held.map(({ hold: { protocol, addresses, port } }) => ({ protocol, addresses, port, isOurs: true }));

/** True when the hold is what the group asks for. */
function fits(hold: PortHold, group: PortGroup): boolean {
  const range = group.hostPorts;
  return (
    hold.protocol === group.protocol &&
    hold.addresses.length === group.addresses.length &&
    group.addresses.every((address) => hold.addresses.includes(address)) &&
    (range === undefined || (hold.port >= range.from && hold.port <= range.to))
  );
}

const endpoint = (address: Address, port: number): string =>
  familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;

const HINTS: Readonly<Record<string, string>> = {
  EACCES: 'ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE',
  EMFILE: 'each host port is an open file of the keeper: raise its limit, by LimitNOFILE of its unit or ulimit -n',
};

function refusal({ group, hostPort, attempts }: Choice, answer: { readonly address: Address; readonly errno: string }): CnmError {
  const where = `${endpoint(answer.address, hostPort)}/${group.protocol}`;
  if (answer.errno === 'EADDRINUSE') {
    const tried = attempts > 1 ? ` (and so for the ${attempts - 1} ports tried before)` : '';
    return new CnmError(
      'port_taken',
      `failed to bind host port ${where}: address already in use by a process outside our sandboxes${tried}`,
    );
  }
  if (answer.errno === 'EADDRNOTAVAIL') {
    return new CnmError('bad_address', `failed to bind host port ${where}: ${answer.address} is not an address of this host`);
  }
  return new KernelError('bind', `host port ${where}`, answer.errno, HINTS[answer.errno]);
}
