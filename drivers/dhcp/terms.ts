/** How long a lease holds and when it is asked for again (RFC 2131 §4.4.5). Pure. */

import type { Reply } from './message.ts';

/** Milliseconds since the lease was asked for; Infinity: never. */
export interface Terms {
  /** T1: the server that gave it is asked. */
  readonly renewMs: number;
  /** T2: any server is asked. */
  readonly rebindMs: number;
  /** The end. */
  readonly leaseMs: number;
}

export type Stage = 'bound' | 'renewing' | 'rebinding' | 'expired';

const FOREVER_SECONDS = 0xffffffff;
/** Shorter ones, which no server means, are taken as this: nobody is asked all the time. */
const MIN_LEASE_SECONDS = 10;
const MIN_RENEW_SECONDS = 1;
const RENEW_PART = 0.5;
const REBIND_PART = 0.875;
const MS = 1000;

/** Undefined when the answer has no term. Times that are in no order are those that the RFC proposes. */
export function termsOf({ leaseSeconds, renewSeconds, rebindSeconds }: Reply): Terms | undefined {
  if (leaseSeconds === undefined) return undefined;
  if (leaseSeconds === FOREVER_SECONDS) return { renewMs: Infinity, rebindMs: Infinity, leaseMs: Infinity };
  const lease = Math.max(leaseSeconds, MIN_LEASE_SECONDS);
  const within = (given: number | undefined, from: number, part: number): number =>
    given !== undefined && given >= from && given < lease ? given : Math.max(from, lease * part);
  const renew = within(renewSeconds, MIN_RENEW_SECONDS, RENEW_PART);
  const rebind = within(rebindSeconds, renew, REBIND_PART);
  return { renewMs: renew * MS, rebindMs: Math.max(renew, rebind) * MS, leaseMs: lease * MS };
}

export function stageAt({ renewMs, rebindMs, leaseMs }: Terms, ageMs: number): Stage {
  if (ageMs >= leaseMs) return 'expired';
  if (ageMs >= rebindMs) return 'rebinding';
  return ageMs >= renewMs ? 'renewing' : 'bound';
}

/** Pauses between tries, milliseconds. */
export interface Patience {
  readonly leastMs: number;
  /** Once the network shows that nobody answers: it is soon to show that somebody does. */
  readonly mostMs: number;
}

/**
 * Age at which the next try is due after one at `ageMs` that nobody answered: half-way to the next stage, and not sooner than
 * after the least pause; when a stage begins at the latest. Past the end after every least pause.
 */
export function nextTry(terms: Terms, ageMs: number, { leastMs, mostMs }: Patience): number {
  const half = (end: number, most: number): number => Math.min(end, ageMs + Math.max(Math.min((end - ageMs) / 2, most), leastMs));
  switch (stageAt(terms, ageMs)) {
    case 'bound':
      return terms.renewMs;
    case 'renewing':
      return half(terms.rebindMs, Infinity);
    case 'rebinding':
      return half(terms.leaseMs, mostMs);
    case 'expired':
      return ageMs + leastMs;
  }
}
