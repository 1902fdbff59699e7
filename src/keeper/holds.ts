/**
 * Host ports kept ours by sockets that are bound and serve nobody. A group that is asked for is all or nothing. One that is
 * ours already stays wished when another process has it: what can be bound is bound, the rest is tried again and again.
 */

import { errnoOf, isUnspecified, type Address, type Logger, type SandboxId } from '../base/index.ts';
import { isBroadcast, libc, openTcpHold, openUdpSocket } from '../kernel/index.ts';
import type { HoldAnswer, HoldConflict, HoldRequest, PortHold } from './contract.ts';
import { readEntries, type KeeperPaths } from './files.ts';
import type { KeptSockets } from './kept.ts';
import { MAX_HELD_SOCKETS, MAX_TOLD_CONFLICTS } from './protocol.ts';

/** Pause between two rounds of tries for what another process has, milliseconds: doubled from the first to the last. */
const FIRST_RETRY_MS = 20;
const LAST_RETRY_MS = 1000;
/** Groups of one round. */
const MAX_TRIES_A_ROUND = 1024;

interface Held {
  readonly owner: SandboxId;
  readonly request: HoldRequest;
  readonly descriptors: Map<Address, number>;
  /** Addresses that could not be bound, with the errno's name. */
  readonly missing: Map<Address, string>;
}

type Refused = HoldAnswer & { readonly ok: false };

const keyOf = ({ protocol, port, addresses }: HoldRequest): string => `${protocol} ${port} ${[...addresses].sort().join(' ')}`;

function open(protocol: HoldRequest['protocol'], address: Address, port: number): number {
  return protocol === 'tcp' ? openTcpHold({ address, port }) : openUdpSocket({ address, port, dropAll: true });
}

export class Holds {
  readonly #log: Logger;
  readonly #kept: KeptSockets;
  readonly #owners = new Map<SandboxId, Map<string, Held>>();
  /** Those with something missing, the next to be tried first. */
  readonly #incomplete = new Set<Held>();
  #sockets = 0;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_RETRY_MS;

  constructor(log: Logger, kept: KeptSockets) {
    this.#log = log;
    this.#kept = kept;
  }

  /**
   * Makes `groups` the whole set of `owner`, in the namespace of this thread: unlisted ones are closed first, held ones stay
   * untouched, new ones are bound. One answer a group, in order. A group listed twice is in use the second time. A broadcast address
   * counts as none of the host's: nobody reaches a port on it, though it can be bound.
   */
  set(owner: SandboxId, groups: readonly HoldRequest[]): readonly HoldAnswer[] {
    const before = this.#owners.get(owner) ?? new Map<string, Held>();
    const wanted = new Set(groups.map(keyOf));
    for (const [key, held] of before) if (!wanted.has(key)) this.#close(held);
    const now = new Map<string, Held>();
    const asked = new Set(groups.flatMap(({ isOurs, addresses }) => (isOurs === true ? [] : addresses)));
    const nobodys = new Set([...asked].filter((address) => !isUnspecified(address) && isBroadcast(address)));
    const answers = groups.map((request): HoldAnswer => {
      const key = keyOf(request);
      const isRepeated = now.has(key);
      const kept = isRepeated ? undefined : before.get(key);
      const held = kept ?? { owner, request, descriptors: new Map(), missing: new Map() };
      const isOurs = request.isOurs === true && !isRepeated;
      const nobody = isOurs ? undefined : request.addresses.find((address) => nobodys.has(address));
      const failure: Refused | undefined =
        nobody === undefined ? this.#bind(held, isOurs) : { ok: false, address: nobody, errno: 'EADDRNOTAVAIL' };
      if (failure !== undefined && !isOurs) this.#close(held);
      else now.set(key, held);
      return failure ?? { ok: true };
    });
    if (now.size > 0) this.#owners.set(owner, now);
    else this.#owners.delete(owner);
    // Who only looked whether the port is free has it for a moment.
    this.#pauseMs = FIRST_RETRY_MS;
    this.#schedule();
    return answers;
  }

  /** Groups that are held on all of their addresses. */
  list(): readonly PortHold[] {
    return [...this.#owners.values()].flatMap((groups) =>
      [...groups.values()]
        .filter(({ missing }) => missing.size === 0)
        .map(({ owner, request: { protocol, addresses, port } }) => ({ protocol, addresses, port, owner })),
    );
  }

  /** What is ours and another process has, the first MAX_TOLD_CONFLICTS of them. */
  conflicts(): readonly HoldConflict[] {
    const found: HoldConflict[] = [];
    for (const { owner, request, missing } of this.#incomplete) {
      const { protocol, port } = request;
      for (const [address, errno] of missing) {
        if (found.length >= MAX_TOLD_CONFLICTS) return found;
        found.push({ owner, protocol, address, port, errno });
      }
    }
    return found;
  }

  /** For the end of the keeper: what a service manager keeps stays held. */
  closeAll(): void {
    clearTimeout(this.#timer);
    for (const groups of this.#owners.values())
      for (const { descriptors } of groups.values()) for (const fd of descriptors.values()) libc.close(fd);
    this.#owners.clear();
    this.#incomplete.clear();
  }

  /** Binds what is not bound yet: all that can be, or up to the first refusal. Answers that one. */
  #bind(held: Held, all: boolean): Refused | undefined {
    let first: Refused | undefined;
    const { protocol, port, addresses } = held.request;
    for (const address of addresses) {
      if (held.descriptors.has(address)) continue;
      try {
        if (this.#sockets >= MAX_HELD_SOCKETS) throw Object.assign(new Error('too many holds'), { errno: 'EMFILE' });
        const fd = this.#kept.take({ protocol, address, port }) ?? open(protocol, address, port);
        this.#kept.keep(fd);
        held.descriptors.set(address, fd);
        this.#sockets++;
        if (held.missing.delete(address))
          this.#log.warn({ owner: held.owner, protocol, address, port }, 'keeper: a host port is held again');
      } catch (error) {
        const errno = errnoOf(error) ?? 'EIO';
        first ??= { ok: false, address, errno };
        if (!all) return first;
        if (!held.missing.has(address))
          this.#log.error(
            { owner: held.owner, protocol, address, port, errno },
            'keeper: another process has a host port of ours, it is tried for until it is free',
          );
        held.missing.set(address, errno);
      }
    }
    if (held.missing.size > 0) this.#incomplete.add(held);
    else this.#incomplete.delete(held);
    return first;
  }

  #schedule(): void {
    if (this.#incomplete.size === 0) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    } else {
      this.#timer ??= setTimeout(() => this.#retry(), this.#pauseMs);
    }
  }

  #retry(): void {
    this.#timer = undefined;
    for (const held of [...this.#incomplete].slice(0, MAX_TRIES_A_ROUND)) {
      // At the end of the row, should it fail again.
      this.#incomplete.delete(held);
      this.#bind(held, true);
    }
    this.#pauseMs = Math.min(this.#pauseMs * 2, LAST_RETRY_MS);
    this.#schedule();
  }

  #close(held: Held): void {
    for (const fd of held.descriptors.values()) this.#kept.close(fd);
    this.#sockets -= held.descriptors.size;
    held.descriptors.clear();
    held.missing.clear();
    this.#incomplete.delete(held);
  }
}

/** Takes up what the files say, which was held. Answers the revision of each owner. */
export function restoreHolds(holds: Holds, paths: KeeperPaths, log: Logger): ReadonlyMap<string, string> {
  const entries = readEntries(paths, 'holds', log);
  for (const { id, value } of entries)
    holds.set(
      id as SandboxId,
      value.map((group) => ({ ...group, isOurs: true })),
    );
  return new Map(entries.map(({ id, revision }) => [id, revision]));
}
