/** What scenarios have in common. */

import type { Host } from '../host.ts';

/** Longest wait for a host to be taken for dead, milliseconds: a lease, etcd's own seconds, and a busy machine. */
export const GONE_MS = 40_000;
/** Longest wait for what one host did to be so on all others, milliseconds. */
export const SPREAD_MS = 20_000;

export const ms = (value: number): string => `${Math.round(value)} ms`;

/** Every ordered pair of two different ones. */
export const pairsOf = <T>(all: readonly T[]): [T, T][] =>
  all.flatMap((one) => all.filter((other) => other !== one).map((other): [T, T] => [one, other]));

/** Sandboxes without a process, by the API: quick. Answers status and what the daemon said. */
export async function createBox(
  host: Host,
  name: string,
  network: string,
  ip?: string,
): Promise<{ readonly status: number; readonly message: string }> {
  const Networks = { [network]: ip === undefined ? {} : { IPAMConfig: { IPv4Address: ip } } };
  const { status, json } = await host.api<{ message?: string }>('POST', '/sandboxes/create', { Name: name, Networks });
  return { status, message: json.message ?? '' };
}

/** A source of chances that the same seed gives again (mulberry32): whole numbers from 0 to below `limit`. */
export function chances(seed: number): (limit: number) => number {
  let state = seed | 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

export const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
