/**
 * Bundles bench.ts (Node 20 runs no TypeScript), or with `overlay` as first word overlay/bench.ts, and runs it. `--rounds N` sets
 * how often each figure is taken.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { rolldown } from 'rolldown';
import { keepCode } from '../tools/keep-code.mjs';

const root = new URL('../..', import.meta.url).pathname;
const folder = join(root, 'node_modules/.cache/patchbay');
const [first] = process.argv.slice(2);
const input = first === 'overlay' ? 'test/bench/overlay/bench.ts' : 'test/bench/bench.ts';
mkdirSync(folder, { recursive: true });
const build = await rolldown({
  input: join(root, input),
  platform: 'node',
  external: ['koffi', 'netlink', 'classic-level'],
  transform: { target: 'node20' },
});
// dist/ may have been built by another Node than the one that is measured.
await keepCode();
const file = join(folder, 'bench.mjs');
await build.write({ file, format: 'esm' });
await build.close();
const { exitCode } = await execa(process.execPath, [file, ...process.argv.slice(2)], {
  stdio: 'inherit',
  reject: false,
  env: { PATCHBAY_DIST: join(root, 'dist/') },
});
process.exitCode = exitCode;
