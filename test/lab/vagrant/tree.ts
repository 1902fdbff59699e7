/** What machines get of the checkout: what was built, and the packages that it loads; the others are in the bundles. */

import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Left out of the bundles, since they have native parts. */
const NATIVE = ['koffi', 'netlink', 'classic-level'];

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** Copies it into a folder, which is made. */
export function copyTree(root: string, folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const name of ['dist', 'docs', 'vagrant', 'package.json'])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  const wanted = new Set(NATIVE);
  // Grows while it is walked.
  for (const name of wanted) {
    const from = join(root, 'node_modules', name);
    const manifest = read(join(from, 'package.json'));
    // One for another machine is not installed here.
    if (manifest === undefined) continue;
    cpSync(from, join(folder, 'node_modules', name), { recursive: true, dereference: true });
    for (const list of [manifest.dependencies, manifest.optionalDependencies])
      for (const need of Object.keys(list ?? {})) wanted.add(need);
  }
}

function read(path: string): Manifest | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Manifest;
  } catch {
    return undefined;
  }
}
