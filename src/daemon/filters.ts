/** Engine API filters: parsing and matching (spec 02 §3.1, §3.7). */

import { CnmError, type EndpointJson, parseDuration, shown } from '../base/index.ts';
import type { CnmEvent, NetworkController, NetworkRecord, SandboxRecord } from '../cnm/index.ts';
import { isPredefined } from '../cnm/index.ts';
import { type FilterValues, isPossible, possibleValues } from './filter-values.ts';

/** Values by key. Values of one key are or-ed, keys are and-ed. */
export type Filters = ReadonlyMap<string, readonly string[]>;

/** Longest filter value, characters: what is matched with it stays cheap. */
const MAX_VALUE = 1024;
/** Most values of one key. */
const MAX_VALUES = 100;

/**
 * Parses `{"name":["a"]}` and the older `{"name":{"a":true}}`. Throws bad_filter, naming the keys that work, and the values of
 * those that take only some.
 */
export function parseFilters(text: string | undefined, known: readonly string[], possible: FilterValues = {}): Filters {
  if (text === undefined || text === '') return new Map();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new CnmError('bad_filter', `invalid filter: ${shown(text)} is not JSON`);
  }
  if (value === null) return new Map();
  if (typeof value !== 'object' || Array.isArray(value))
    throw new CnmError('bad_filter', 'invalid filter: it must be a JSON object');
  return new Map(
    Object.entries(value).map(([key, values]) => {
      if (!known.includes(key)) throw new CnmError('bad_filter', `invalid filter '${shown(key)}': there are ${known.join(', ')}`);
      return [key, valuesOf(key, values, possible)];
    }),
  );
}

function valuesOf(key: string, values: unknown, possible: FilterValues): string[] {
  const list: unknown[] = Array.isArray(values)
    ? values
    : values !== null && typeof values === 'object'
      ? Object.keys(values)
      : [undefined];
  if (list.length > MAX_VALUES) throw new CnmError('bad_filter', `invalid filter '${key}': more than ${MAX_VALUES} values`);
  return list.map((item) => {
    if (typeof item !== 'string' || item.length > MAX_VALUE) {
      throw new CnmError(
        'bad_filter',
        `invalid filter '${key}': values must be text: a list of text, each up to ${MAX_VALUE} characters`,
      );
    }
    if (!isPossible(possible, key, item))
      throw new CnmError('bad_filter', `invalid filter: '${key}'='${shown(item)}': use ${possibleValues(possible, key)}`);
    return item;
  });
}

export const NETWORK_FILTERS = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'] as const;
export const SANDBOX_FILTERS = ['id', 'label', 'name', 'network'] as const;
export const ENDPOINT_FILTERS = ['id', 'name', 'network', 'sandbox', 'state'] as const;
export const EVENT_FILTERS = [
  'container',
  'endpoint',
  'event',
  'label',
  'network',
  'sandbox',
  'scope',
  'service',
  'type',
] as const;
export const PRUNE_FILTERS = ['label', 'label!', 'until'] as const;

/** True for `value` itself, or when the pattern matches somewhere in it. */
function matches(pattern: string, value: string): boolean {
  return value === pattern || linearMatch(pattern, value);
}

/**
 * The reference takes a regular expression here. A user's expression must not be able to stall the daemon: anchors and
 * plain text are honoured, dots and `.*` too, anything else is compared as text.
 */
function linearMatch(pattern: string, value: string): boolean {
  const fromStart = pattern.startsWith('^');
  const toEnd = pattern.endsWith('$') && !pattern.endsWith('\\$');
  const body = pattern.slice(fromStart ? 1 : 0, toEnd ? -1 : undefined);
  const pieces = piecesOf(body);
  let at = 0;
  for (const [i, piece] of pieces.entries()) {
    const isFirst = i === 0;
    const isLast = i === pieces.length - 1;
    if (isLast && toEnd) {
      const start = value.length - piece.length;
      if (start < at || !pieceAt(piece, value, start) || (isFirst && fromStart && start !== 0)) return false;
      at = value.length;
    } else {
      const found = isFirst && fromStart ? (pieceAt(piece, value, 0) ? 0 : -1) : findPiece(piece, value, at);
      if (found < 0) return false;
      at = found + piece.length;
    }
  }
  return true;
}

/** Characters of a pattern; null stands for any one. */
type Piece = readonly (string | null)[];

/** Splits at `.*`; a backslash takes the meaning from the character behind it. */
function piecesOf(body: string): Piece[] {
  const pieces: (string | null)[][] = [[]];
  for (const [token] of body.matchAll(/\.\*|\\[^]|[^]/g)) {
    if (token === '.*') pieces.push([]);
    else pieces.at(-1)?.push(token === '.' ? null : token.length === 2 ? (token[1] ?? '') : token);
  }
  return pieces;
}

function findPiece(piece: Piece, value: string, from: number): number {
  for (let start = from; start + piece.length <= value.length; start++) if (pieceAt(piece, value, start)) return start;
  return -1;
}

function pieceAt(piece: Piece, value: string, start: number): boolean {
  if (start + piece.length > value.length) return false;
  for (let i = 0; i < piece.length; i++) if (piece[i] !== null && piece[i] !== value[start + i]) return false;
  return true;
}

const hasLabel = (labels: Readonly<Record<string, string>>, wanted: string): boolean => {
  const at = wanted.indexOf('=');
  const key = at < 0 ? wanted : wanted.slice(0, at);
  return Object.hasOwn(labels, key) && (at < 0 || labels[key] === wanted.slice(at + 1));
};

const any = (values: readonly string[] | undefined, test: (value: string) => boolean): boolean =>
  values === undefined || values.length === 0 || values.some(test);

/** Whether the network passes. Throws bad_filter for a `dangling` that is neither true nor false. */
export function networkMatches(filters: Filters, net: NetworkRecord, controller: NetworkController): boolean {
  return (
    any(filters.get('driver'), (v) => v === net.driver) &&
    any(filters.get('id'), (v) => matches(v, net.id)) &&
    any(filters.get('name'), (v) => matches(v, net.name)) &&
    (filters.get('label') ?? []).every((v) => hasLabel(net.labels, v)) &&
    any(filters.get('scope'), (v) => v === net.scope) &&
    any(filters.get('type'), (v) => typeMatches(v, net)) &&
    danglingMatches(filters.get('dangling'), net, controller)
  );
}

const typeMatches = (value: string, net: NetworkRecord): boolean => isPredefined(net.name) === (value === 'builtin');

function danglingMatches(values: readonly string[] | undefined, net: NetworkRecord, controller: NetworkController): boolean {
  if (values === undefined) return true;
  return danglingValue(values) === (!isPredefined(net.name) && controller.endpointsOfNetwork(net.id).length === 0);
}

function danglingValue(values: readonly string[]): boolean {
  const [value, ...more] = values;
  const wanted = value === 'true' || value === '1' ? true : value === 'false' || value === '0' ? false : undefined;
  if (wanted === undefined || more.length > 0)
    throw new CnmError('bad_filter', `invalid filter 'dangling=${shown(values.join(','))}': use true or false`);
  return wanted;
}

/** Checks `dangling` also where no network would be compared with it. */
export function checkDangling(filters: Filters): void {
  const dangling = filters.get('dangling');
  if (dangling !== undefined) danglingValue(dangling);
}

export function sandboxMatches(filters: Filters, sandbox: SandboxRecord, networks: readonly NetworkRecord[]): boolean {
  return (
    any(filters.get('id'), (v) => sandbox.id.startsWith(v)) &&
    any(filters.get('name'), (v) => matches(v, sandbox.name)) &&
    (filters.get('label') ?? []).every((v) => hasLabel(sandbox.labels, v)) &&
    any(filters.get('network'), (v) => networks.some((net) => net.name === v || net.id.startsWith(v)))
  );
}

/** Names and ids match by their beginning, as in the reference; labels are the event's attributes. */
export function eventMatches(filters: Filters, event: CnmEvent): boolean {
  const { type, action, id, attributes, sandboxName } = event;
  const begins = (value: string, ...texts: (string | undefined)[]): boolean => texts.some((text) => text?.startsWith(value));
  const itself = (kind: CnmEvent['type']) => (type === kind ? [id, attributes['name']] : []);
  const network = [
    ...itself('network'),
    ...(type === 'endpoint' || type === 'service' ? [attributes['network'], attributes['networkName']] : []),
  ];
  const sandbox = [...itself('sandbox'), attributes['container'], sandboxName];
  return (
    any(filters.get('type'), (v) => v === type) &&
    any(filters.get('event'), (v) => v === action) &&
    any(filters.get('scope'), (v) => v === 'local') &&
    any(filters.get('network'), (v) => begins(v, ...network)) &&
    any(filters.get('endpoint'), (v) => begins(v, ...itself('endpoint'), attributes['endpoint'])) &&
    any(filters.get('service'), (v) => begins(v, ...itself('service'))) &&
    any(filters.get('sandbox'), (v) => begins(v, ...sandbox)) &&
    any(filters.get('container'), (v) => begins(v, ...sandbox)) &&
    (filters.get('label') ?? []).every((v) => hasLabel(attributes, v))
  );
}

export function endpointMatches(filters: Filters, ep: EndpointJson): boolean {
  const names = (value: string, thing: { Id: string; Name: string } | null): boolean =>
    thing !== null && (thing.Name === value || thing.Id.startsWith(value));
  return (
    any(filters.get('id'), (v) => ep.Id.startsWith(v)) &&
    any(filters.get('name'), (v) => matches(v, ep.Name)) &&
    any(filters.get('network'), (v) => names(v, ep.Network)) &&
    any(filters.get('sandbox'), (v) => names(v, ep.Sandbox)) &&
    any(filters.get('state'), (v) => v === ep.State)
  );
}

/** Whether prune may take the network. `now` in milliseconds. */
export function pruneMatcher(filters: Filters, now: number): (net: NetworkRecord) => boolean {
  const until = filters.get('until');
  if (until !== undefined && until.length !== 1)
    throw new CnmError('bad_filter', 'invalid filter: more than one until filter specified');
  const before = until?.[0] === undefined ? undefined : parseTime('until', until[0], now);
  return (net) =>
    (before === undefined || net.created <= before) &&
    (filters.get('label') ?? []).every((v) => hasLabel(net.labels, v)) &&
    !(filters.get('label!') ?? []).some((v) => hasLabel(net.labels, v));
}

/** RFC 3339, Unix seconds with a fraction, or a Go duration before now; milliseconds. */
export function parseTime(what: string, text: string, now: number): number {
  if (/^\d{1,15}(\.\d{1,9})?$/.test(text)) return Number(text) * 1000;
  const duration = parseDuration(text);
  if (duration !== undefined) return now - duration;
  const isTime = /^\d{4}-\d{2}-\d{2}(T[\d:.]+(Z|[+-]\d{2}:\d{2})?)?$/.test(text) && isOfCalendar(text);
  const time = isTime ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time))
    throw new CnmError(
      'bad_filter',
      `invalid ${what} ${JSON.stringify(text)}: use RFC 3339, Unix seconds or a duration such as 10m`,
    );
  return time;
}

/** JavaScript takes the 31st of February for the 2nd of March, and 24 o'clock for the next day's beginning; RFC 3339 §5.7 does not. */
function isOfCalendar(text: string): boolean {
  const day = text.slice(0, 10);
  const date = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day) && !text.startsWith('T24', 10);
}
