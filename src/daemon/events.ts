/** `GET /events`: what happened lately and what happens from now on, one JSON object a line (spec 02 §4). */

import type { ServerResponse } from 'node:http';
import { CnmError } from '../base/index.ts';
import type { CnmEvent } from '../cnm/index.ts';
import { EVENT_FILTERS, eventMatches, parseFilters, parseTime } from './filters.ts';
import { EVENT_VALUES, OVERFLOW } from './filter-values.ts';
import type { DaemonParts, Request, Route, Stream } from './route.ts';

/** Clients that follow at the same time. */
const MAX_STREAMS = 100;
/** What may wait for a client that does not read, octets. */
const MAX_WAITING = 1024 * 1024;
/** For such a client to read the last word, milliseconds. */
const FAREWELL_MS = 60_000;
/** Pause between two looks whether `until` is over, milliseconds: the clock may be set meanwhile. */
const LOOK_MS = 10_000;
const NANOS_PER_MS = 1_000_000n;

interface Wish {
  /** Nanoseconds since the epoch. */
  readonly since?: bigint;
  readonly until?: bigint;
  matches(event: CnmEvent): boolean;
  /** One event as it goes over the wire. */
  line(event: Told): string;
}

type Told = Omit<CnmEvent, 'type' | 'action'> & { readonly type: string; readonly action: string };

export function eventRoutes(parts: DaemonParts): Route[] {
  const open = { count: 0 };
  return [
    {
      method: 'GET',
      path: '/events',
      handle(request) {
        const { contentType, begin } = formOf(request);
        const wish = { ...wishOf(request, parts.now()), line: (event: Told) => `${begin}${lineOf(event)}\n` };
        if (open.count >= MAX_STREAMS) throw new CnmError('too_busy', `${MAX_STREAMS} clients follow the events already`);
        return { status: 200, stream: { contentType, start: (out) => follow(parts, wish, out, open) } };
      },
    },
  ];
}

function wishOf({ query }: Request, now: number): Omit<Wish, 'line'> {
  const filters = parseFilters(query['filters'], EVENT_FILTERS, EVENT_VALUES);
  const [since, until] = (['since', 'until'] as const).map((name) => timeOf(name, query[name], now));
  if (since !== undefined && until !== undefined && since > until)
    throw new CnmError('bad_request', '`since` time cannot be after `until` time');
  return {
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
    matches: (event) => eventMatches(filters, event),
  };
}

/** Up to nine digits behind the point are taken exactly: so events tell their times. */
function timeOf(name: string, text: string | undefined, now: number): bigint | undefined {
  if (text === undefined || text === '') return undefined;
  const match = /^(\d{1,12})(?:\.(\d{1,9}))?$/.exec(text);
  if (match !== null) return BigInt(`${match[1]}${(match[2] ?? '').padEnd(9, '0')}`);
  const [, before = text, digits = '', zone = ''] = /^(\d{4}-.*:\d{2})\.(\d{1,9})(Z|[+-]\d{2}:\d{2})?$/.exec(text) ?? [];
  return BigInt(Math.trunc(parseTime(name, before + zone, now))) * NANOS_PER_MS + BigInt(digits.padEnd(9, '0'));
}

const JSON_SEQUENCE = 'application/json-seq';
/** RFC 7464: in front of each object. */
const RECORD_SEPARATOR = '\u001e';

function formOf({ headers, version }: Request): { contentType: Stream['contentType']; begin: string } {
  const accepted = (headers.accept ?? '').split(',').map((part) => part.split(';')[0]?.trim());
  const [, minor] = version.split('.');
  const usual = Number(minor) >= 52 ? 'application/jsonl' : 'application/json';
  const found = accepted.find(
    (type) => type === JSON_SEQUENCE || type === 'application/x-ndjson' || type === 'application/jsonl',
  );
  return { contentType: found ?? usual, begin: found === JSON_SEQUENCE ? RECORD_SEPARATOR : '' };
}

/** The nanoseconds are beyond what a number holds exactly, hence written as digits. */
function lineOf({ type, action, id, attributes, timeNano }: Told): string {
  const seconds = timeNano / (1000n * NANOS_PER_MS);
  const head = JSON.stringify({ Type: type, Action: action, Actor: { ID: id, Attributes: attributes }, scope: 'local' });
  return `${head.slice(0, -1)},"time":${seconds},"timeNano":${timeNano}}`;
}

function follow({ controller, now }: DaemonParts, wish: Wish, out: ServerResponse, open: { count: number }): void {
  const { since, until } = wish;
  let timer: NodeJS.Timeout | undefined;
  const close = (): void => {
    unsubscribe();
    clearTimeout(timer);
  };
  const write = (event: CnmEvent): void => {
    if (until !== undefined && event.timeNano > until) return;
    if (!wish.matches(event)) return;
    if (out.writableLength > MAX_WAITING) return dismiss();
    out.write(wish.line(event));
  };
  /** Who reads too slowly is told what he has missed: everything from now on. */
  const dismiss = (): void => {
    close();
    const timeNano = BigInt(now()) * NANOS_PER_MS;
    const attributes = { reason: 'the client reads too slowly: events were dropped' };
    out.end(wish.line({ type: 'daemon', action: OVERFLOW, id: '', attributes, timeNano }));
    timer = setTimeout(() => out.destroy(), FAREWELL_MS);
  };
  const endAt = (time: bigint): void => {
    const leftMs = Number(time / NANOS_PER_MS) - now();
    if (leftMs <= 0) {
      close();
      return void out.end();
    }
    clearTimeout(timer);
    timer = setTimeout(() => endAt(time), Math.min(leftMs, LOOK_MS));
  };
  open.count++;
  out.once('close', () => {
    open.count--;
    close();
  });
  const unsubscribe = controller.events.subscribe((event) => {
    if (until !== undefined && event.timeNano > until) endAt(until);
    else write(event);
  });
  if (since !== undefined || until !== undefined)
    for (const event of controller.events.recent()) if (since === undefined || event.timeNano >= since) write(event);
  if (until !== undefined) endAt(until);
}
