/** Which host ports are ours, per protocol and address, and who has them. */

import type { Address, SandboxId } from '../base/index.ts';
import type { Protocol } from '../keeper/index.ts';
import { collides } from './spec.ts';

interface Seat {
  readonly address: Address;
  readonly owner: SandboxId;
}

export class PortTable {
  readonly #seats = new Map<string, Seat[]>();

  /** Who has the port on an address that collides with one of `addresses`; undefined: free. */
  holder(protocol: Protocol, addresses: readonly Address[], port: number): Seat | undefined {
    return this.#seats.get(`${protocol} ${port}`)?.find((seat) => addresses.some((address) => collides(seat.address, address)));
  }

  take(owner: SandboxId, protocol: Protocol, addresses: readonly Address[], port: number): void {
    const key = `${protocol} ${port}`;
    const seats = this.#seats.get(key) ?? [];
    this.#seats.set(key, [...seats, ...addresses.map((address) => ({ address, owner }))]);
  }

  give(owner: SandboxId, protocol: Protocol, addresses: readonly Address[], port: number): void {
    const key = `${protocol} ${port}`;
    const left = (this.#seats.get(key) ?? []).filter((seat) => seat.owner !== owner || !addresses.includes(seat.address));
    if (left.length > 0) this.#seats.set(key, left);
    else this.#seats.delete(key);
  }
}
