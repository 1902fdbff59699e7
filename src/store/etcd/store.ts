/** The Store on an etcd cluster: every commit is one transaction there, and its revision is the cluster's. */

import { randomBytes } from 'node:crypto';
import { CnmError, type EtcdAddress, type Json, codeOf, within } from '../../base/index.ts';
import type { Change, ClusterStore, Entry, Key, Lease, Revision, Transaction } from '../contract.ts';

import { EtcdChannel } from './channel.ts';
import { EtcdLease } from './lease.ts';
import { Markers } from './markers.ts';
import { COMPARE, type Compare, type KeyValue, type RangeResponse, type RequestOp, type TxnResponse } from './protocol.ts';
import { watchEtcd } from './watch.ts';

const CLOSE_MS = 1000;
/** Of one transaction: etcd takes 128, if nobody has told it otherwise, and a marker is among them. */
const MAX_OPERATIONS = 120;

/** As the room's door says. */
export async function openEtcdStore(address: EtcdAddress): Promise<ClusterStore> {
  const channel = new EtcdChannel(address);
  try {
    const { answer } = await channel.call<RangeResponse>('KV', 'Range', { key: Buffer.from(address.prefix), limit: '1' });
    return new EtcdStore(channel, address.prefix, answer.header.cluster_id);
  } catch (error) {
    channel.close();
    throw error;
  }
}

class EtcdStore implements ClusterStore {
  readonly clusterId: string;
  readonly #channel: EtcdChannel;
  readonly #prefix: string;
  readonly #leases = new Set<EtcdLease>();
  readonly #closing = new AbortController();
  /** As watches take it: data made anew or restored are told by a lower one. */
  readonly #latest = { revision: 0 };
  readonly #markers: Markers;
  #fencing: Promise<boolean> | undefined;
  /** The last commit of each key; never rejects. */
  readonly #underWay = new Map<Key, Promise<void>>();

  constructor(channel: EtcdChannel, prefix: string, clusterId: string) {
    this.#channel = channel;
    this.#prefix = prefix;
    this.clusterId = clusterId;
    // Beside the records: no list or watch of them has any.
    this.#markers = new Markers(`${prefix.slice(0, -1)}!commits/${randomBytes(8).toString('hex')}`);
  }

  async get(key: Key): Promise<Entry | undefined> {
    const { kvs } = await this.#range({ key: this.#bytes(key) });
    const [found] = kvs;
    return found && this.#entry(found);
  }

  async list(prefix: Key): Promise<{ readonly entries: readonly Entry[]; readonly revision: Revision }> {
    const { kvs, header } = await this.#range(rangeOf(this.#bytes(prefix)));
    return { entries: kvs.map((kv) => this.#entry(kv)), revision: Number(header.revision) };
  }

  /** Those of one key happen in the order of their calls: etcd serves calls of one connection side by side. */
  async commit(tx: Transaction): Promise<Revision> {
    const keys = [...(tx.put ?? []), ...(tx.expect ?? [])].map(({ key }) => key).concat(tx.remove ?? []);
    const before = Promise.all(keys.flatMap((key) => this.#underWay.get(key) ?? []));
    const work = before.then(() => this.#commit(tx));
    const settled = work.then(
      () => {},
      () => {},
    );
    for (const key of keys) this.#underWay.set(key, settled);
    try {
      return await work;
    } finally {
      for (const key of keys) if (this.#underWay.get(key) === settled) this.#underWay.delete(key);
    }
  }

  async #commit({ expect = [], expectNone = [], put = [], remove = [] }: Transaction): Promise<Revision> {
    await this.#fence();
    const written = new Map(put.map(({ key, value, lease }) => [key, { text: Buffer.from(JSON.stringify(value)), lease }]));
    // What only removes can be told by what is gone; and an etcd that is full takes nothing that puts.
    const marker = put.length === 0 ? undefined : this.#markers.next();
    const settled = this.#markers.settled(MAX_OPERATIONS - put.length - remove.length);
    const compare: Compare[] = [
      ...(marker === undefined
        ? []
        : [{ result: COMPARE.equal, key: marker, target: COMPARE.create, create_revision: '0' } as const]),
      ...expect.map(({ key, revision }): Compare => {
        const at = { result: COMPARE.equal, key: this.#bytes(key) };
        return revision === undefined
          ? { ...at, target: COMPARE.create, create_revision: '0' }
          : { ...at, target: COMPARE.mod, mod_revision: String(revision) };
      }),
      // Holds of each key that there is.
      ...expectNone.map((prefix): Compare => ({
        result: COMPARE.equal,
        ...rangeOf(this.#bytes(prefix)),
        target: COMPARE.create,
        create_revision: '0',
      })),
    ];
    const success: RequestOp[] = [
      ...[...written].map(([key, { text, lease }]) => ({
        request_put: { key: this.#bytes(key), value: text, ...(lease !== undefined && { lease }) },
      })),
      // etcd takes a key once only.
      ...[...new Set(remove)]
        .filter((key) => !written.has(key))
        .map((key) => ({ request_delete_range: { key: this.#bytes(key) } })),
      ...(marker === undefined ? [] : [{ request_put: { key: marker, value: Buffer.alloc(0) } }]),
      ...settled.map((key) => ({ request_delete_range: { key } })),
    ];
    let answer: TxnResponse;
    let isRepeated: boolean;
    let revision: string | undefined;
    try {
      ({ answer, isRepeated } = await this.#channel.call<TxnResponse>('KV', 'Txn', { compare, success }));
      if (answer.succeeded) revision = answer.header.revision;
      else if (isRepeated) revision = await this.#doneBefore(marker, remove);
    } catch (error) {
      this.#markers.settle(settled);
      if (marker !== undefined && codeOf(error) === 'store_refused') this.#markers.settle([marker]);
      else if (marker !== undefined) this.#markers.doubt(marker);
      throw error;
    }
    if (revision !== undefined) {
      if (marker !== undefined && isRepeated) this.#markers.keep([marker]);
      else if (marker !== undefined) this.#markers.settle([marker]);
      this.#latest.revision = Math.max(this.#latest.revision, Number(answer.header.revision));
      return Number(revision);
    }
    this.#markers.settle(settled);
    if (marker !== undefined && isRepeated) this.#markers.doubt(marker);
    throw new CnmError(
      'stale_revision',
      `a record was changed by another host: ${[...expect.map(({ key }) => key), ...expectNone].join(', ')}`,
    );
  }

  /** Revision of a commit whose first answer was lost; undefined: it did not happen. */
  async #doneBefore(marker: Buffer | undefined, remove: readonly Key[]): Promise<string | undefined> {
    if (marker !== undefined) return (await this.#range({ key: marker })).kvs[0]?.create_revision;
    const left = await Promise.all(remove.map((key) => this.#range({ key: this.#bytes(key) })));
    return left.every(({ kvs }) => kvs.length === 0) ? left[0]?.header.revision : undefined;
  }

  /**
   * What a member that hung has still to do of commits that were given up is done by nobody any more. First of all: whoever looks what
   * such a commit has left must not be overtaken by it.
   */
  async #fence(): Promise<void> {
    while (this.#fencing !== undefined || this.#markers.isDoubtful) {
      this.#fencing ??= this.#putDoubtful().finally(() => (this.#fencing = undefined));
      if (!(await this.#fencing)) return;
    }
  }

  /** False: an etcd that is full takes none, and no commit either that it has still to do. */
  async #putDoubtful(): Promise<boolean> {
    const markers = this.#markers.doubtful(MAX_OPERATIONS);
    const success = markers.map((key) => ({ request_put: { key, value: Buffer.alloc(0) } }));
    try {
      await this.#channel.call<TxnResponse>('KV', 'Txn', { compare: [], success });
    } catch (error) {
      for (const marker of markers) this.#markers.doubt(marker);
      if (codeOf(error) !== 'store_refused') throw error;
      return false;
    }
    this.#markers.keep(markers);
    return true;
  }

  watch(prefix: Key, after: Revision, signal: AbortSignal): AsyncIterable<Change> {
    return watchEtcd(this.#channel, {
      range: rangeOf(this.#bytes(prefix)),
      after,
      latest: this.#latest,
      clusterId: this.clusterId,
      signal: AbortSignal.any([signal, this.#closing.signal]),
      entryOf: (kv) => this.#entry(kv),
      keyOf: (kv) => this.#keyOf(kv),
    });
  }

  async lease(ttlSeconds: number): Promise<Lease> {
    const lease = await EtcdLease.grant(this.#channel, ttlSeconds, () => this.#leases.delete(lease));
    this.#leases.add(lease);
    return lease;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await within(CLOSE_MS, Promise.all(this.#underWay.values()));
    for (const lease of this.#leases) lease.abandon();
    const success = this.#markers.all(MAX_OPERATIONS).map((key) => ({ request_delete_range: { key } }));
    if (success.length > 0)
      await within(
        CLOSE_MS,
        this.#channel.call('KV', 'Txn', { compare: [], success }).catch(() => {}),
      );
    this.#channel.close();
  }

  async #range(request: object): Promise<RangeResponse> {
    await this.#fence();
    return (await this.#channel.call<RangeResponse>('KV', 'Range', request)).answer;
  }

  #bytes(key: Key): Buffer {
    return Buffer.from(this.#prefix + key);
  }

  #keyOf({ key }: KeyValue): Key {
    return key.toString().slice(this.#prefix.length);
  }

  #entry(kv: KeyValue): Entry {
    return { key: this.#keyOf(kv), value: jsonOf(kv.value), revision: Number(kv.mod_revision) };
  }
}

/** Null for what is no JSON: whoever decodes that record refuses it, and those beside it are read all the same. */
function jsonOf(value: Buffer): Json {
  try {
    return JSON.parse(value.toString()) as Json;
  } catch {
    return null;
  }
}

/** All keys that begin with these octets. */
function rangeOf(prefix: Buffer): { readonly key: Buffer; readonly range_end: Buffer } {
  const end = Buffer.from(prefix);
  // A prefix ends in text or a slash, never in the last octet.
  end[end.length - 1] = (end.at(-1) ?? 0) + 1;
  return { key: prefix, range_end: end };
}
