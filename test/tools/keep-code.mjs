/**
 * Keeps what V8 makes of the programs in dist/ for the Node that runs this, see docs/decisions/0031-kept-code.md. The build does it for its own Node; by
 * hand: `node test/tools/keep-code.mjs`.
 */
import { join } from 'node:path';
import { execa } from 'execa';

const dist = join(new URL('../..', import.meta.url).pathname, 'dist');

/** As src/kernel/memory.ts starts them: V8 takes the code under no other flags. */
const SMALL = ['--max-semi-space-size=2'];
const NONE = [];
const flagsOf = {
  'network-run.js': NONE,
  'network-launch.js': NONE,
  'patchbayd-serve.js': SMALL,
  'keeper-process.js': SMALL,
  'keeper-worker-thread.js': SMALL,
};

export const keptParts = Object.keys(flagsOf);

export async function keepCode() {
  const script = 'require(process.argv[1]).keep(process.argv[2], process.argv[3])';
  for (const [part, flags] of Object.entries(flagsOf))
    await execa(process.execPath, [...flags, '-e', script, join(dist, 'kept-code.js'), dist, part], {
      env: { NODE_OPTIONS: '' },
    });
}

if (process.argv[1] === new URL(import.meta.url).pathname) await keepCode();
