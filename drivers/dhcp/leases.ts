/** What is kept of each lease, written before anybody relies on it: it outlives the daemon and the machine's sleep. */

import {
  type Address,
  CnmError,
  type Env,
  type Json,
  type Mac,
  type Prefix,
  makePrefix,
  prefixLength,
} from '../../src/base/index.ts';
import type { PoolId } from '../../src/ipam/index.ts';
import { Collection, type Store } from '../../src/store/index.ts';
import type { Exchange } from './exchange.ts';
import type { Terms } from './terms.ts';

/** Version of the record's shape. */
const SCHEMA = 1;

/** Whose address it is to be, and how the server knows him. */
export interface Client {
  /** Endpoint that has the lease. */
  readonly id: string;
  /** The endpoint's name. */
  readonly name: string;
  readonly pool: PoolId;
  readonly subnet: Prefix;
  readonly parent: string;
  /** Absent: that of the parent. */
  readonly mac?: Mac;
  /** Hexadecimal. */
  readonly clientId: string;
  readonly hostName?: string;
}

/** An address as a server has given it. */
export interface Grant {
  readonly address: Address;
  readonly server: Address;
  /** Where on the wire the server, or the way to it, was last heard. */
  readonly serverMac: Mac;
  /** When it was asked for, milliseconds since the epoch: the terms count from there. */
  readonly askedAt: number;
  readonly terms: Terms;
  /** Identity of the namespace that it was used in last: another one may hang on another wire. */
  readonly home: string;
}

export interface LeaseRecord extends Client {
  readonly schema: number;
  /** Asked for and not confirmed yet: the server may have given it all the same. */
  readonly isAsked: boolean;
  /** Absent: known by its address alone. */
  readonly grant?: Grant;
  readonly address: Address;
  /** The server's words, where it has refused to prolong it. */
  readonly refused?: string;
}

export const prefixOf = ({ address, subnet }: Pick<LeaseRecord, 'address' | 'subnet'>): Prefix =>
  makePrefix(address, prefixLength(subnet));

export const identityOf = ({ mac, clientId, hostName }: Client): Exchange<never>['identity'] => ({
  ...(mac && { mac }),
  clientId: Buffer.from(clientId, 'hex'),
  ...(hostName && { hostName }),
});

export class Leases {
  readonly #store: Store;
  readonly #records: Collection<LeaseRecord>;
  readonly #byId = new Map<string, LeaseRecord>();

  private constructor(store: Store) {
    this.#store = store;
    this.#records = new Collection(store, 'dhcp-lease', codec);
  }

  static async open(store: Store): Promise<Leases> {
    const leases = new Leases(store);
    for (const record of await leases.#records.all()) leases.#byId.set(record.id, record);
    return leases;
  }

  all(): LeaseRecord[] {
    return [...this.#byId.values()];
  }

  get(id: string): LeaseRecord | undefined {
    return this.#byId.get(id);
  }

  async put(record: LeaseRecord): Promise<void> {
    await this.#store.commit({ put: [this.#records.write(record)] });
    this.#byId.set(record.id, record);
  }

  async remove(id: string): Promise<void> {
    await this.#store.commit({ remove: [this.#records.key(id)] });
    this.#byId.delete(id);
  }
}

/** What every record begins as. */
export const recordOf = (client: Client, address: Address): LeaseRecord => ({
  ...client,
  schema: SCHEMA,
  address,
  isAsked: false,
});

/** What has no end is null in the store. */
const never = (ms: unknown): number => (typeof ms === 'number' ? ms : Infinity);

const codec = {
  decode(value: Json): LeaseRecord {
    const record = value as unknown as LeaseRecord;
    if (record.schema > SCHEMA)
      throw new CnmError('store_newer', `a DHCP lease has version ${record.schema}, this program knows ${SCHEMA}`);
    const { grant } = record;
    if (grant === undefined) return record;
    const { renewMs, rebindMs, leaseMs } = grant.terms;
    return {
      ...record,
      grant: { ...grant, terms: { renewMs: never(renewMs), rebindMs: never(rebindMs), leaseMs: never(leaseMs) } },
    };
  },
  encode(record: LeaseRecord): Json {
    if (record.grant === undefined) return record as unknown as Json;
    const { renewMs, rebindMs, leaseMs } = record.grant.terms;
    const finite = (ms: number): number | null => (Number.isFinite(ms) ? ms : null);
    const terms = { renewMs: finite(renewMs), rebindMs: finite(rebindMs), leaseMs: finite(leaseMs) };
    return { ...record, grant: { ...record.grant, terms } } as unknown as Json;
  },
};

/** What all of this room works with. */
export interface DhcpParts {
  readonly env: Env;
  readonly leases: Leases;
  /** Identity of the host's namespace. */
  readonly home: string;
  /** Aborted when the daemon stops. */
  readonly closing: AbortSignal;
}
