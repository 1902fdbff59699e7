/** The command line of `npm run lab`. Pure. */

import { parseArgs } from 'node:util';
import { MAX_HOSTS } from './lab.ts';
import type { UnderlayFamily } from './underlay.ts';

export interface Options {
  readonly hosts: number;
  readonly underlay: UnderlayFamily;
  readonly leaseSeconds: number | undefined;
  /** Names of scenarios, or `all`; undefined for a shell. */
  readonly scenarios: readonly string[] | undefined;
  readonly isList: boolean;
  readonly isHelp: boolean;
  readonly seed: number;
  readonly churn: number | undefined;
  readonly rounds: number | undefined;
  readonly awayMs: number | undefined;
  readonly stormMs: number | undefined;
  /** Folder for the logs of a scenario. */
  readonly logs: string | undefined;
}

export const USAGE = `npm run lab -- [OPTIONS]

Hosts in namespaces of their own, each with a daemon, and an etcd of three members; then a shell, or scenarios.

  --hosts N          hosts, 2 to ${MAX_HOSTS} (3)
  --underlay v4|v6   addresses between hosts (v4)
  --node-lease S     seconds of silence after which a host is taken for dead, 3 to 300 (10 in a shell, 3 for scenarios)
  --scenario NAME    run it and end; may repeat; all: every one
  --list             the scenarios
  --help             this
  --seed N           of what scenarios do by chance (1)
  --churn N          sandboxes that churn starts (200)
  --rounds N         rounds of race (30)
  --away S           seconds without etcd (30)
  --storm S          seconds of storm (60)
  --logs FOLDER      keep what daemons and etcd have logged until the end of each scenario
`;

/** Throws an Error whose message is for whoever typed it. */
export function readOptions(args: readonly string[]): Options {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      hosts: text,
      underlay: text,
      'node-lease': text,
      seed: text,
      churn: text,
      rounds: text,
      away: text,
      storm: text,
      logs: text,
      scenario: { type: 'string', multiple: true },
      list: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const whole = (key: keyof typeof values, least: number, most: number): number | undefined => {
    const value = values[key];
    if (typeof value !== 'string') return undefined;
    if (!/^\d{1,9}$/.test(value) || Number(value) < least || Number(value) > most)
      throw new Error(`--${key}: a whole number from ${least} to ${most}`);
    return Number(value);
  };
  const underlay = values.underlay ?? 'v4';
  if (underlay !== 'v4' && underlay !== 'v6') throw new Error('--underlay: v4 or v6');
  const inMs = (seconds: number | undefined): number | undefined => (seconds === undefined ? undefined : seconds * 1000);
  return {
    hosts: whole('hosts', 2, MAX_HOSTS) ?? 3,
    underlay,
    leaseSeconds: whole('node-lease', 3, 300),
    scenarios: values.scenario,
    isList: values.list === true,
    isHelp: values.help === true,
    seed: whole('seed', 0, 999_999_999) ?? 1,
    churn: whole('churn', 1, 100_000),
    rounds: whole('rounds', 1, 100_000),
    awayMs: inMs(whole('away', 1, 3600)),
    logs: values.logs,
    stormMs: inMs(whole('storm', 1, 36_000)),
  };
}
