import { defineConfig } from 'vitest/config';

const isGuest = process.env['PATCHBAY_VM'] === '1';

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  test: {
    include: ['test/**/*.test.ts'],
    // For a virtual machine's kernel; test/vm/guest.test.ts boots one and runs them there.
    exclude: isGuest ? [] : ['test/vm/inside/**'],
    // Two cores; kernel tests live in namespaces of their own and may run side by side.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
  },
});
