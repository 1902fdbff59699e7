/**
 * The part of etcd's API, version 3, that we speak (etcd 3.4 and newer): messages by field number, as protobufjs reads them, and
 * their types here. 64-bit numbers are texts, so that none is rounded.
 */

/** Field: its type and number; `[]` after a type: repeated. */
type Fields = Readonly<Record<string, readonly [type: string, id: number]>>;

const HEADER = { header: ['ResponseHeader', 1] } as const;
const RANGE = { key: ['bytes', 1], range_end: ['bytes', 2] } as const;

const MESSAGES: Readonly<Record<string, Fields>> = {
  ResponseHeader: { cluster_id: ['uint64', 1], member_id: ['uint64', 2], revision: ['int64', 3] },
  KeyValue: {
    key: ['bytes', 1],
    create_revision: ['int64', 2],
    mod_revision: ['int64', 3],
    value: ['bytes', 5],
    lease: ['int64', 6],
  },
  RangeRequest: { ...RANGE, limit: ['int64', 3], revision: ['int64', 4] },
  RangeResponse: { ...HEADER, kvs: ['KeyValue[]', 2], more: ['bool', 3] },
  PutRequest: { key: ['bytes', 1], value: ['bytes', 2], lease: ['int64', 3] },
  PutResponse: HEADER,
  DeleteRangeRequest: RANGE,
  DeleteRangeResponse: { ...HEADER, deleted: ['int64', 2] },
  Compare: {
    result: ['int32', 1],
    target: ['int32', 2],
    key: ['bytes', 3],
    create_revision: ['int64', 5],
    mod_revision: ['int64', 6],
    range_end: ['bytes', 64],
  },
  RequestOp: { request_put: ['PutRequest', 2], request_delete_range: ['DeleteRangeRequest', 3] },
  TxnRequest: { compare: ['Compare[]', 1], success: ['RequestOp[]', 2] },
  TxnResponse: { ...HEADER, succeeded: ['bool', 2] },
  WatchCreateRequest: { ...RANGE, start_revision: ['int64', 3], progress_notify: ['bool', 4], fragment: ['bool', 8] },
  WatchRequest: { create_request: ['WatchCreateRequest', 1] },
  Event: { type: ['int32', 1], kv: ['KeyValue', 2] },
  WatchResponse: {
    ...HEADER,
    created: ['bool', 3],
    canceled: ['bool', 4],
    compact_revision: ['int64', 5],
    cancel_reason: ['string', 6],
    fragment: ['bool', 7],
    events: ['Event[]', 11],
  },
  LeaseGrantRequest: { TTL: ['int64', 1], ID: ['int64', 2] },
  LeaseGrantResponse: { ...HEADER, ID: ['int64', 2], TTL: ['int64', 3] },
  LeaseRevokeRequest: { ID: ['int64', 1] },
  LeaseRevokeResponse: HEADER,
  LeaseKeepAliveRequest: { ID: ['int64', 1] },
  LeaseKeepAliveResponse: { ...HEADER, ID: ['int64', 2], TTL: ['int64', 3] },
};

/** Fields of which a message has one at most. */
const ONE_OF: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  Compare: { target_union: ['create_revision', 'mod_revision'] },
  RequestOp: { request: ['request_put', 'request_delete_range'] },
  WatchRequest: { request_union: ['create_request'] },
};

const SERVICES = {
  KV: {
    Range: { requestType: 'RangeRequest', responseType: 'RangeResponse' },
    Txn: { requestType: 'TxnRequest', responseType: 'TxnResponse' },
  },
  Watch: {
    Watch: { requestType: 'WatchRequest', responseType: 'WatchResponse', requestStream: true, responseStream: true },
  },
  Lease: {
    LeaseGrant: { requestType: 'LeaseGrantRequest', responseType: 'LeaseGrantResponse' },
    LeaseRevoke: { requestType: 'LeaseRevokeRequest', responseType: 'LeaseRevokeResponse' },
    LeaseKeepAlive: {
      requestType: 'LeaseKeepAliveRequest',
      responseType: 'LeaseKeepAliveResponse',
      requestStream: true,
      responseStream: true,
    },
  },
} as const;

/** What proto-loader's `fromJSON` takes. */
export function descriptor(): object {
  const message = (name: string, fields: Fields): object => ({
    fields: Object.fromEntries(
      Object.entries(fields).map(([field, [type, id]]) => [
        field,
        type.endsWith('[]') ? { rule: 'repeated', type: type.slice(0, -2), id } : { type, id },
      ]),
    ),
    ...(ONE_OF[name] && {
      oneofs: Object.fromEntries(Object.entries(ONE_OF[name]).map(([union, members]) => [union, { oneof: members }])),
    }),
  });
  return {
    nested: {
      etcdserverpb: {
        nested: {
          ...Object.fromEntries(Object.entries(MESSAGES).map(([name, fields]) => [name, message(name, fields)])),
          ...Object.fromEntries(Object.entries(SERVICES).map(([name, methods]) => [name, { methods }])),
        },
      },
    },
  };
}

export interface ResponseHeader {
  readonly cluster_id: string;
  readonly revision: string;
}

export interface KeyValue {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly create_revision: string;
  readonly mod_revision: string;
}

export interface RangeResponse {
  readonly header: ResponseHeader;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
}

/** CompareResult EQUAL; CompareTarget CREATE and MOD. */
export const COMPARE = { equal: 0, create: 1, mod: 2 } as const;

export interface Compare {
  readonly result: number;
  readonly target: number;
  readonly key: Buffer;
  readonly range_end?: Buffer;
  readonly create_revision?: string;
  readonly mod_revision?: string;
}

export interface RequestOp {
  readonly request_put?: { readonly key: Buffer; readonly value: Buffer; readonly lease?: string };
  readonly request_delete_range?: { readonly key: Buffer };
}

export interface TxnResponse {
  readonly header: ResponseHeader;
  readonly succeeded: boolean;
}

/** Type of an event that is no put. */
export const EVENT_DELETE = 1;

export interface WatchResponse {
  readonly header: ResponseHeader;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compact_revision: string;
  readonly cancel_reason: string;
  readonly fragment: boolean;
  readonly events: readonly { readonly type: number; readonly kv: KeyValue }[];
}

export interface LeaseResponse {
  readonly header: ResponseHeader;
  readonly ID: string;
  /** Seconds; 0: it has run out. */
  readonly TTL: string;
}
