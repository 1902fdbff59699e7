/** Processes by their control group: what a container runs is in namespaces that nobody has a list of. */

import { existsSync, readFileSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endProcess } from './processes.ts';

const ROOT = '/sys/fs/cgroup';
/** Longest wait for processes to be gone after SIGKILL, in looks and milliseconds between them. */
const LOOKS = 100;
const LOOK_MS = 50;

/** Folders of the group in every hierarchy. */
const foldersOf = (group: string): string[] =>
  [ROOT, ...readdirSync(ROOT).map((name) => join(ROOT, name))]
    .map((root) => join(root, group))
    .filter((path) => existsSync(path));

/** The folder and all below it, the deepest first. */
function tree(folder: string): string[] {
  const below = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...below.flatMap(({ name }) => tree(join(folder, name))), folder];
}

function pidsIn(folder: string): number[] {
  try {
    return readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** SIGKILL to everything in the group and below it, and the group is gone. One that is not there is fine. */
export async function endGroup(group: string): Promise<void> {
  for (let look = 0; look < LOOKS; look++) {
    const folders = foldersOf(group).flatMap(tree);
    if (folders.length === 0) return;
    const pids = folders.flatMap(pidsIn);
    for (const pid of pids) endProcess(pid);
    if (pids.length === 0) for (const folder of folders) remove(folder);
    await sleep(LOOK_MS);
  }
  throw new Error(`control group ${group} does not end`);
}

function remove(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // The kernel has not let go of it yet.
  }
}
