/** Real engines to be tested against, unpacked and never installed: this Debian's own, and the newest one that its mirror has. */

import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { fetchPeers } from '../bench/peer-packages.ts';

const OLD_FOLDER = '/var/cache/patchbay-test/engine-stable';
const APT_LIMIT_MS = 300_000;

export type Generation = 'stable' | 'newest';

/** Folders with the engine's programs, in the order of PATH. */
export async function enginePrograms(generation: Generation): Promise<readonly string[]> {
  // Also installs what both take from the machine: runc and busybox.
  const peers = await fetchPeers();
  if (generation === 'newest') return [peers.sbin, peers.bin];
  if (!existsSync(join(OLD_FOLDER, 'usr/sbin/dockerd'))) await unpackStable();
  return [join(OLD_FOLDER, 'usr/sbin'), join(OLD_FOLDER, 'usr/bin')];
}

async function unpackStable(): Promise<void> {
  mkdirSync(OLD_FOLDER, { recursive: true });
  const options = { cwd: OLD_FOLDER, timeout: APT_LIMIT_MS };
  await execa('apt-get', ['-qq', 'update'], options);
  await execa('apt-get', ['-qq', 'download', 'docker.io', 'containerd'], options);
  for (const name of readdirSync(OLD_FOLDER).filter((one) => one.endsWith('.deb'))) {
    await execa('dpkg', ['-x', name, OLD_FOLDER], options);
    rmSync(join(OLD_FOLDER, name));
  }
}
