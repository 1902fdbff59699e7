/** Bundles a program of the lab (Node 20 runs no TypeScript) and runs it in this process, with the same arguments. */
import { mkdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { rolldown } from 'rolldown';

const root = new URL('../..', import.meta.url).pathname;

/** `entry` is below test/lab. */
export async function runBundled(entry) {
  const folder = join(root, 'node_modules/.cache/patchbay');
  mkdirSync(folder, { recursive: true });
  const build = await rolldown({
    input: join(root, 'test/lab', entry),
    platform: 'node',
    external: ['koffi', 'netlink', 'classic-level'],
    transform: { target: 'node20' },
  });
  // Another one may be starting at this moment.
  const file = join(folder, `${dirname(entry).replaceAll('.', 'lab')}-${basename(entry, '.ts')}-${process.pid}.mjs`);
  await build.write({ file, format: 'esm' });
  await build.close();
  process.env.PATCHBAY_DIST = join(root, 'dist/');
  process.once('exit', () => rmSync(file, { force: true }));
  await import(file);
}
