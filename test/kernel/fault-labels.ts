/**
 * Which undo steps have run, and which steps of deletes have failed, while calls were broken; and which there are in the sources. A
 * step that no case breaks is found so. Only for a test file that replaces the base room by `baseWithLabels`.
 */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type * as base from '../../src/base/index.ts';

/** Labels of undo steps that ran, and of a delete's steps that failed. */
export const seen = { undone: new Set<string>(), failed: new Set<string>() };

export const baseWithLabels = (real: typeof base): typeof base => ({
  ...real,
  undoable: (work) =>
    real.undoable((undo) =>
      work({
        add: (label, step) =>
          undo.add(label, () => {
            seen.undone.add(label);
            return step();
          }),
      }),
    ),
  attemptAll: (steps) =>
    real.attemptAll(
      steps.map(([label, run]) => [
        label,
        async () => {
          try {
            await run();
          } catch (error) {
            seen.failed.add(label);
            throw error;
          }
        },
      ]),
    ),
});

/** What is done of networks of the cluster that engines have: guests-shared-undo breaks it. */
export const OF_HOMES = {
  undo: [
    'leave home',
    'give pool back',
    'guest network is not ready yet',
    'forget peers',
    'withdraw guest',
    'guest is not joined yet',
  ],
  deletes: ['withdraw guest', 'end names of guest', 'forget peers', 'tell keeper', 'tell cluster'],
} as const;
/** What is done of other networks in a cluster: see shared-undo. */
export const IN_CLUSTER = [
  'withdraw from the cluster',
  'forget network in the cluster',
  'release what was not answered',
] as const;

/** Labels in the sources, as patterns: what stands in a template may be anything. */
function labels(pattern: RegExp): string[] {
  const root = join(import.meta.dirname, '../..');
  const sources = [
    'src/cnm',
    'src/cnm/steps',
    'src/cnm/guests',
    'src/portmap',
    'drivers/shared',
    'drivers/bridge',
    'drivers/overlay',
  ].flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.ts'))
      .map((name) => readFileSync(join(root, folder, name), 'utf8')),
  );
  return sources.flatMap((text) => [...text.matchAll(pattern)].map((found) => found[2] ?? ''));
}

export const undoLabels = (): string[] => labels(/undo\.add\(\s*(['`])(.*?)\1/g);
export const deleteLabels = (): string[] => labels(/\[\s*(['`])([^'`\n]+)\1,\s*(?:async )?\(\) =>/g);

export const isAmong = (label: string, all: ReadonlySet<string>): boolean => {
  const parts = label.split(/\$\{[^}]*\}/).map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`));
  const pattern = new RegExp(`^${parts.join('.*')}$`);
  return [...all].some((one) => pattern.test(one));
};
