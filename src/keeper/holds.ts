/** Host ports kept ours by sockets that are bound and serve nobody. Groups are all or nothing. */

import { errnoOf, type Address, type SandboxId } from '../base/index.ts';
import { libc, openTcpHold, openUdpSocket } from '../kernel/index.ts';
import type { HoldAnswer, HoldRequest, PortHold } from './contract.ts';
import { MAX_HELD_SOCKETS } from './protocol.ts';

interface Held {
  readonly request: HoldRequest;
  readonly descriptors: readonly number[];
}

const keyOf = ({ protocol, port, addresses }: HoldRequest): string => `${protocol} ${port} ${[...addresses].sort().join(' ')}`;

function open(protocol: HoldRequest['protocol'], address: Address, port: number): number {
  return protocol === 'tcp' ? openTcpHold({ address, port }) : openUdpSocket({ address, port, dropAll: true });
}

export class Holds {
  readonly #owners = new Map<SandboxId, Map<string, Held>>();
  #sockets = 0;

  /**
   * Makes `groups` the whole set of `owner`, in the namespace of this thread: unlisted ones are closed first, held ones stay
   * untouched, new ones are bound. One answer a group, in order. A group listed twice is in use the second time.
   */
  set(owner: SandboxId, groups: readonly HoldRequest[]): readonly HoldAnswer[] {
    const before = this.#owners.get(owner) ?? new Map<string, Held>();
    const wanted = new Set(groups.map(keyOf));
    for (const [key, held] of before) if (!wanted.has(key)) this.#close(held);
    const now = new Map<string, Held>();
    const answers = groups.map((request): HoldAnswer => {
      const key = keyOf(request);
      const kept = now.has(key) ? undefined : before.get(key);
      const made = kept ?? this.#open(request);
      if ('errno' in made) return made;
      now.set(key, made);
      return { ok: true };
    });
    if (now.size > 0) this.#owners.set(owner, now);
    else this.#owners.delete(owner);
    return answers;
  }

  list(): readonly PortHold[] {
    return [...this.#owners].flatMap(([owner, groups]) => [...groups.values()].map(({ request }) => ({ ...request, owner })));
  }

  get isEmpty(): boolean {
    return this.#owners.size === 0;
  }

  closeAll(): void {
    for (const owner of this.#owners.keys()) this.set(owner, []);
  }

  #open(request: HoldRequest): Held | (HoldAnswer & { ok: false }) {
    const descriptors: number[] = [];
    for (const address of request.addresses) {
      try {
        if (this.#sockets + descriptors.length >= MAX_HELD_SOCKETS)
          throw Object.assign(new Error('too many holds'), { errno: 'EMFILE' });
        descriptors.push(open(request.protocol, address, request.port));
      } catch (error) {
        descriptors.forEach(libc.close);
        return { ok: false, address, errno: errnoOf(error) ?? 'EIO' };
      }
    }
    this.#sockets += descriptors.length;
    return { request, descriptors };
  }

  #close({ descriptors }: Held): void {
    descriptors.forEach(libc.close);
    this.#sockets -= descriptors.length;
  }
}
