import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const isGuest = process.env['PATCHBAY_VM'] === '1';

/**
 * Files of several minutes, in the order in which they begin, so that none runs alone at the end. The virtual machines have the processors
 * busy: beside them are those that wait for the most part.
 */
const LONGEST = [
  'vm/guest',
  'engine/restart',
  'lab/lab',
  'kernel/dhcp',
  'e2e/gateway',
  'vm/inside/rekey',
  'vm/units',
  'kernel/guests-shared-undo',
  'kernel/cnm-undo',
  'kernel/cnm-crash',
  'kernel/shared-undo',
  'kernel/services-undo',
  'kernel/services-published-undo',
  'kernel/overlay-crash',
  'e2e/services',
  'engine/verbs',
  'e2e/hard',
  'crash/crash',
  'load/soak',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const place = LONGEST.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
      return place < 0 ? LONGEST.length : place;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

/** Minutes of an emulated processor: for a run of its own. */
const OWN_RUN = process.env['PATCHBAY_VM_WHOLE'] === '1' ? [] : ['test/vm/units.test.ts'];

/** Without kernel and processes: these share their two processes, since to load the house anew for each costs more than the tests. */
const PURE = ['test/unit/**/*.test.ts'];
/** For a virtual machine's kernel; test/vm/guest.test.ts boots one and runs them there. */
const INSIDE = ['test/vm/inside/**/*.test.ts'];

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  test: {
    // Kernel tests live in namespaces of their own and may run side by side. On two cores one more than these, since many wait for most of their time.
    pool: 'forks',
    globalSetup: ['test/deadline.ts'],
    maxWorkers: isGuest ? 2 : 3,
    sequence: { sequencer: LongestFirst },
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    projects: isGuest
      ? [{ extends: true, test: { name: 'inside', include: INSIDE, isolate: false } }]
      : [
          { extends: true, test: { name: 'house', include: ['test/**/*.test.ts'], exclude: [...PURE, ...INSIDE, ...OWN_RUN] } },
          { extends: true, test: { name: 'pure', include: PURE, isolate: false } },
        ],
  },
});
