/** Processes by the network namespace that they are in, and whether a process is still the one that it was. */

import { readFileSync, readdirSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Longest wait for processes to be gone after SIGKILL, in looks and milliseconds between them. */
const LOOKS = 100;
const LOOK_MS = 50;

/** Identity of a file, or of a namespace; undefined when there is none. */
function identity(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** Pids of all processes whose network namespace is at one of the paths. Never those of our own namespace. */
function processesIn(paths: readonly string[]): number[] {
  const wanted = new Set(paths.map(identity).filter((one) => one !== undefined));
  wanted.delete(identity('/proc/self/ns/net') ?? '');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && wanted.has(identity(`/proc/${name}/ns/net`) ?? ''))
    .map(Number);
}

/** SIGKILL to everything in these namespaces, until nothing is left. */
export async function endProcessesIn(paths: readonly string[]): Promise<void> {
  for (let look = 0; look < LOOKS; look++) {
    const pids = processesIn(paths);
    if (pids.length === 0) return;
    for (const pid of pids) endProcess(pid);
    await sleep(LOOK_MS);
  }
  throw new Error(`processes ${processesIn(paths).join(', ')} do not end`);
}

/** SIGKILL; one that has ended by itself is no error. */
export function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Ended by itself.
  }
}

/** When a process began, in the kernel's ticks: with its pid, what no other process has. Undefined when it is gone. */
export function beginOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // After the name in brackets, which may hold anything: state is field 3, start time field 22 (proc(5)).
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
