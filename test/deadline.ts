/** Ends a run that may take no longer, so that every test that is under way still takes its namespaces and processes away. */

import type { TestProject } from 'vitest/node';

/** After this many minutes no further test begins; those that did not are told as not run. Default: no end. */
const MINUTES = Number(process.env['PATCHBAY_TEST_MINUTES'] ?? Number.NaN);

/** Every project asks for one; it is one run. */
export default function deadline({ name, vitest }: TestProject): (() => void) | undefined {
  if (Number.isNaN(MINUTES) || name !== 'house') return undefined;
  const timer = setTimeout(() => {
    process.stderr.write(`${MINUTES} minutes are over: no further test begins\n`);
    void vitest.cancelCurrentRun('keyboard-input');
  }, MINUTES * 60_000);
  return () => clearTimeout(timer);
}
