/** What a scenario is, and how scenarios run one after the other on one lab. */

import type { Lab, LabOptions } from './lab.ts';

export interface Scenario {
  readonly name: string;
  /** What is true when it ends, in one line. */
  readonly about: string;
  /** Fewest hosts that it needs. */
  readonly hosts: number;
  /** Throws when something does not hold. Answers figures, with their units. What it made the lab takes away. */
  run(lab: Lab, size: Size): Promise<string>;
}

/** How much scenarios do. Chances are seeded, so that a run can be had again. */
export interface Size {
  readonly seed: number;
  /** Sandboxes that `churn` starts. */
  readonly churn: number;
  /** Rounds of `race`. */
  readonly rounds: number;
  /** Services of `many-services`, each with twenty members. */
  readonly services: number;
  /** How long etcd is away, and how long the storm lasts, milliseconds. */
  readonly awayMs: number;
  readonly stormMs: number;
}

export const FULL: Size = { seed: 1, churn: 200, rounds: 30, services: 50, awayMs: 30_000, stormMs: 60_000 };
/** For a run of all tests. */
export const SMALL: Size = { seed: 1, churn: 30, rounds: 5, services: 10, awayMs: 6000, stormMs: 12_000 };

export interface Verdict {
  readonly name: string;
  /** Undefined when it held. */
  readonly error?: Error;
  readonly figures: string;
  readonly ms: number;
}

/** Seconds of silence after which a host is taken for dead, while scenarios run. */
export const SCENARIO_LEASE_S = 3;

/**
 * Runs one scenario and takes away what it made. A lab that cannot be cleaned is a failure of the scenario too, and no lab
 * for a further one: `isUsable` tells.
 */
export async function runScenario(lab: Lab, scenario: Scenario, size: Size): Promise<Verdict & { readonly isUsable: boolean }> {
  const begin = performance.now();
  let error: Error | undefined;
  let figures = '';
  try {
    figures = await scenario.run(lab, size);
  } catch (thrown) {
    error = asError(thrown);
  }
  const ms = performance.now() - begin;
  let isUsable = true;
  try {
    await lab.reset();
  } catch (thrown) {
    isUsable = false;
    error ??= new Error(`the lab could not be cleaned after it: ${asError(thrown).message}`);
  }
  return { name: scenario.name, ...(error !== undefined && { error }), figures, ms, isUsable };
}

/** One line of a verdict. */
export function verdictLine({ name, error, figures, ms }: Verdict): string {
  const seconds = `${(ms / 1000).toFixed(1)} s`.padStart(7);
  const words = error === undefined ? figures : error.message.trim().replaceAll(/\s*\n\s*/g, ' | ');
  return `${error === undefined ? 'holds ' : 'FAILED'} ${name.padEnd(20)} ${seconds}  ${words}`;
}

/** Options of a lab on which scenarios run. */
export const scenarioLab = (hosts: number, underlay: LabOptions['underlay']): LabOptions => ({
  hosts,
  underlay,
  leaseSeconds: SCENARIO_LEASE_S,
});

const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)));
