/**
 * What daemon and keeper say to each other: JSON, one message a line, over a unix socket. Both ends of every message and
 * the checks on what arrives.
 */

import { CnmError, isCnmError, messageOf, tryAddress, type ErrorCode } from '../base/index.ts';
import type { HoldAnswer, HoldConflict, HoldRequest, NameRecord, PeerNames, PortHold, SandboxWish } from './contract.ts';

/** A keeper with another version is asked to end, and one of ours takes over from the files. */
export const PROTOCOL_VERSION = 5;

/** Longest message either way, octets. */
export const MAX_MESSAGE_OCTETS = 16 * 1024 * 1024;

/** Sandboxes, endpoints and host port sockets that one keeper takes. */
export const MAX_SANDBOXES = 16_384;
export const MAX_ENDPOINTS = 131_072;
export const MAX_HELD_SOCKETS = 131_072;
/** Conflicts that the keeper lists. */
export const MAX_TOLD_CONFLICTS = 1024;

const MAX_NAMES = 256;
const MAX_ADDRESSES = 256;
/** A port may be published on some thousand addresses, each in a binding of its own. */
const MAX_HOLD_ADDRESSES = 2048;
const MAX_NETWORKS = 1024;
/** Nameservers of a sandbox. */
export const MAX_UPSTREAMS_LISTED = 64;
const MAX_GROUPS = 65_536;

export type Table = 'sandboxes' | 'names' | 'peers' | 'holds';
export const TABLES: readonly Table[] = ['sandboxes', 'names', 'peers', 'holds'];

/** Value of one entry of each table. */
export interface TableValues {
  readonly sandboxes: SandboxWish;
  readonly names: NameRecord;
  readonly peers: PeerNames;
  readonly holds: readonly HoldRequest[];
}

/** One entry as it lies in its file and travels: `revision` tells two writes of one key apart, and nothing else. */
export interface Entry<T extends Table = Table> {
  readonly id: string;
  readonly revision: string;
  readonly value: TableValues[T];
}

export type Request =
  | { readonly op: 'hello' }
  | {
      readonly op: 'put';
      readonly table: Table;
      readonly id: string;
      readonly revision: string;
      readonly value: TableValues[Table];
    }
  | { readonly op: 'drop'; readonly table: Table; readonly id: string }
  | { readonly op: 'inventory' }
  /** Answered by a keeper that does not hang. */
  | { readonly op: 'ping' }
  /** The keeper lets go of everything and ends. Understood by every version. */
  | { readonly op: 'retire' };

export type ChangeRequest = Extract<Request, { op: 'put' | 'drop' }>;

/** Answer to ping. */
export interface Pulse {
  readonly conflicts: readonly HoldConflict[];
}

export interface Hello extends Pulse {
  readonly version: number;
  readonly pid: number;
  /** Process that brings the keeper back. */
  readonly supervisor: number;
  /** A service manager does that. */
  readonly isManaged: boolean;
  /** Revision of every entry, by `table/id`. */
  readonly revisions: Readonly<Record<string, string>>;
}

/** Answer to inventory. */
export interface Inventory extends Pulse {
  readonly sandboxes: readonly string[];
  readonly endpoints: readonly string[];
  readonly peers: readonly string[];
  readonly holds: readonly PortHold[];
}

export interface Ports {
  readonly udp: number;
  readonly tcp: number;
}

/** Answers to put: ports for sandboxes, one answer a group for holds, null for the others. */
export type PutAnswer = Ports | readonly HoldAnswer[] | null;

export type Reply =
  | { readonly seq: number; readonly ok: Hello | Inventory | Pulse | PutAnswer }
  | { readonly seq: number; readonly error: { readonly code: ErrorCode; readonly message: string } };

export const keyOf = (table: Table, id: string): string => `${table}/${id}`;

/** What an error looks like on the socket. */
export function errorReply(seq: number, error: unknown): Reply {
  return { seq, error: { code: isCnmError(error) ? error.code : 'internal', message: messageOf(error) } };
}

/** Cuts a byte stream into lines of at most `limit` octets. */
export class LineReader {
  readonly #limit: number;
  #parts: Buffer[] = [];
  #size = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Lines that `chunk` completes. Throws bad_request when one is too long; the stream is of no use then. */
  push(chunk: Buffer): readonly string[] {
    const lines: string[] = [];
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      this.#keep(rest.subarray(0, end));
      lines.push(Buffer.concat(this.#parts).toString('utf8'));
      this.#parts = [];
      this.#size = 0;
      rest = rest.subarray(end + 1);
    }
    if (rest.length > 0) this.#keep(rest);
    return lines;
  }

  #keep(part: Buffer): void {
    this.#size += part.length;
    if (this.#size > this.#limit) throw new CnmError('bad_request', `message longer than ${this.#limit} octets`);
    this.#parts.push(part);
  }
}

type Fields = Readonly<Record<string, unknown>>;

function refuse(what: string): never {
  throw new CnmError('bad_request', `invalid keeper message: ${what}`);
}

function fields(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(what);
  return value as Fields;
}

function list(value: unknown, limit: number, what: string): readonly unknown[] {
  if (!Array.isArray(value) || value.length > limit) refuse(what);
  return value;
}

function text(value: unknown, what: string, limit = 4096): string {
  if (typeof value !== 'string' || value.length === 0 || value.length > limit) refuse(what);
  return value;
}

function port(value: unknown, lowest: number, what: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < lowest || value > 65_535) refuse(what);
  return value;
}

function address(value: unknown, what: string): void {
  if (typeof value !== 'string' || tryAddress(value) !== value) refuse(what);
}

/** File names are made of ids. */
function id(value: unknown): string {
  const checked = text(value, 'id', 128);
  if (!/^[A-Za-z0-9_-]+$/.test(checked)) refuse('id');
  return checked;
}

function answers(names: unknown, addresses: unknown): void {
  for (const name of list(names, MAX_NAMES, 'names')) text(name, 'name');
  for (const one of list(addresses, MAX_ADDRESSES, 'addresses')) address(one, 'address');
}

const CHECKS: { readonly [T in Table]: (value: unknown) => void } = {
  sandboxes(value) {
    const { netns, view, upstreams, ports } = fields(value, 'sandbox');
    text(fields(netns, 'netns').path, 'netns.path');
    text(fields(netns, 'netns').identity, 'netns.identity');
    for (const network of list(fields(view, 'view').networks, MAX_NETWORKS, 'view.networks')) {
      text(fields(network, 'network').id, 'network.id');
      text(fields(network, 'network').name, 'network.name');
    }
    if (typeof fields(view, 'view').forwardsFromHost !== 'boolean') refuse('view.forwardsFromHost');
    for (const upstream of list(upstreams, MAX_UPSTREAMS_LISTED, 'upstreams')) {
      const { address: at, port: number, at: place, mark } = fields(upstream, 'upstream');
      address(at, 'upstream.address');
      if (number !== undefined) port(number, 1, 'upstream.port');
      if (place !== 'host' && place !== 'sandbox') refuse('upstream.at');
      if (mark !== undefined && (!Number.isInteger(mark) || Number(mark) < 1 || Number(mark) > 0x7fff_ffff))
        refuse('upstream.mark');
    }
    port(fields(ports, 'ports').udp, 0, 'ports.udp');
    port(fields(ports, 'ports').tcp, 0, 'ports.tcp');
  },
  names(value) {
    const { network, networkName, names, addresses } = fields(value, 'names');
    text(network, 'network');
    text(networkName, 'networkName');
    answers(names, addresses);
  },
  peers(value) {
    const { network, networkName, endpoints } = fields(value, 'peers');
    text(network, 'network');
    text(networkName, 'networkName');
    for (const endpoint of list(endpoints, MAX_ENDPOINTS, 'endpoints')) {
      const { id: name, names, addresses, hasNoPointer } = fields(endpoint, 'endpoint');
      id(name);
      if (hasNoPointer !== undefined && typeof hasNoPointer !== 'boolean') refuse('endpoint.hasNoPointer');
      answers(names, addresses);
    }
  },
  holds(value) {
    for (const group of list(value, MAX_GROUPS, 'holds')) {
      const { protocol, addresses, port: number, isOurs } = fields(group, 'hold');
      if (protocol !== 'tcp' && protocol !== 'udp') refuse('hold.protocol');
      if (list(addresses, MAX_HOLD_ADDRESSES, 'hold.addresses').length === 0) refuse('hold.addresses');
      for (const one of list(addresses, MAX_HOLD_ADDRESSES, 'hold.addresses')) address(one, 'hold.address');
      port(number, 1, 'hold.port');
      if (isOurs !== undefined && typeof isOurs !== 'boolean') refuse('hold.isOurs');
    }
  },
};

function parsed(line: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    refuse('no JSON');
  }
  return fields(value, 'no object');
}

/** Checks one entry read from its file. Throws bad_request. */
export function parseEntry<T extends Table>(table: T, line: string): Entry<T> {
  const { id: name, revision, value } = parsed(line);
  CHECKS[table](value);
  return { id: id(name), revision: text(revision, 'revision', 64), value: value as TableValues[T] };
}

/** Checks one line from a daemon. Throws bad_request. */
export function parseRequest(line: string): { readonly seq: number; readonly request: Request } {
  const message = parsed(line);
  const { seq, op, table } = message;
  if (typeof seq !== 'number' || !Number.isSafeInteger(seq)) refuse('seq');
  if (op === 'hello' || op === 'inventory' || op === 'ping' || op === 'retire') return { seq, request: { op } };
  if (op !== 'put' && op !== 'drop') refuse('op');
  const known = TABLES.find((one) => one === table) ?? refuse('table');
  if (op === 'drop') return { seq, request: { op, table: known, id: id(message.id) } };
  CHECKS[known](message.value);
  const value = message.value as TableValues[Table];
  return { seq, request: { op, table: known, id: id(message.id), revision: text(message.revision, 'revision', 64), value } };
}

/** The number of a change that is refused for what it says; undefined for what is no request at all. */
export function seqOf(line: string): number | undefined {
  try {
    const { seq, op } = parsed(line);
    return Number.isSafeInteger(seq) && (op === 'put' || op === 'drop') ? Number(seq) : undefined;
  } catch {
    return undefined;
  }
}

/** Reads one line from a keeper. It is of our own making, hence only its frame is checked. Throws bad_request. */
export function parseReply(line: string): Reply {
  const message = parsed(line);
  if (typeof message.seq !== 'number' || !('ok' in message || 'error' in message)) refuse('reply');
  return message as unknown as Reply;
}
