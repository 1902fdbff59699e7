/** Where the set-up unpacked the engines; see test/tools/engines.mjs. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';

const CACHE = '/var/cache/patchbay-test';

export type Generation = 'stable' | 'newest';

/** Folders with the engine's programs, in the order of PATH. */
export function enginePrograms(generation: Generation): readonly string[] {
  const folder = join(CACHE, `engine-${generation}`);
  if (!existsSync(join(folder, 'usr/sbin/dockerd')))
    throw new Error(`there is no engine in ${folder}: node test/tools/prepare.mjs --for engines unpacks it`);
  return [join(folder, 'usr/sbin'), join(folder, 'usr/bin')];
}
