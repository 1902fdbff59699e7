/** One sandbox floods its resolver: its neighbour gets every answer. The times are printed; `npm run bench` measures them. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { quantile } from '../bench/figures.ts';
import { FLOODS, floodSandboxes, neighbourOf, type FloodKind } from '../bench/flood.ts';
import { Lab } from '../e2e/lab.ts';

let lab: Lab;
let at: { loud: string; quiet: string; folder: string };
beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', 'net');
  at = { ...(await floodSandboxes(lab, 'net')), folder: lab.folder };
});
afterAll(async () => {
  await lab.close();
});

const shown = (values: readonly number[]): string =>
  [0.5, 0.99].map((p) => `p${100 * p} ${quantile(values, p).toFixed(2)} ms`).join(', ');

test.each(
  (Object.keys(FLOODS) as FloodKind[]).flatMap((kind) => ['target', 'host.example'].map((name) => [kind, name] as const)),
)('a flood of %s: no question of the neighbour for %s is lost', { timeout: 120_000 }, async (kind, name) => {
  const { sent, lost, latenciesMs, floorMs } = await neighbourOf(at, kind, name);
  process.stdout.write(`flood of ${kind}, ${name}: ${shown(latenciesMs)}; bare server: ${shown(floorMs)}\n`);
  expect(sent).toBeGreaterThan(50);
  expect({ lost, answered: latenciesMs.length }).toEqual({ lost: 0, answered: sent });
});
