/** Names of endpoints on other hosts, told a host and network at a time: what one such wish changes in the table. Pure. */

import type { EndpointId } from '../base/index.ts';
import type { NameRecord, PeerNames } from './contract.ts';

type Told = ReadonlyMap<EndpointId, NameRecord>;

const isSame = (a: NameRecord | undefined, b: NameRecord): boolean => a !== undefined && JSON.stringify(a) === JSON.stringify(b);

export class Peers {
  readonly #told = new Map<string, Told>();
  /** By endpoint: whose wish it is of. One that has moved may be told of by its new host first. */
  readonly #holder = new Map<EndpointId, string>();

  ids(): readonly string[] {
    return [...this.#told.keys()];
  }

  has(endpoint: EndpointId): boolean {
    return this.#holder.has(endpoint);
  }

  /** Takes the whole of what `id` stands for; answers what is new, is another, or (null) is gone. */
  set(id: string, names: PeerNames | null): readonly (readonly [EndpointId, NameRecord | null])[] {
    const before: Told = this.#told.get(id) ?? new Map();
    const after = names === null ? new Map<EndpointId, NameRecord>() : recordsOf(names);
    if (names === null) this.#told.delete(id);
    else this.#told.set(id, after);
    const gone = [...before.keys()].filter((endpoint) => !after.has(endpoint) && this.#holder.get(endpoint) === id);
    const changed = [...after].filter(
      ([endpoint, record]) => this.#holder.get(endpoint) !== id || !isSame(before.get(endpoint), record),
    );
    for (const endpoint of gone) this.#holder.delete(endpoint);
    for (const [endpoint] of changed) this.#holder.set(endpoint, id);
    return [...gone.map((endpoint) => [endpoint, null] as const), ...changed];
  }
}

const recordsOf = ({ network, networkName, endpoints }: PeerNames): Map<EndpointId, NameRecord> =>
  new Map(endpoints.map(({ id, ...answers }) => [id, { network, networkName, ...answers }]));
