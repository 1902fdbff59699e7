/**
 * Keeps this program small. Node's defaults are for one that has its machine for itself; docs/decisions/0016-small-heaps.md
 * has the figures.
 */

import { setFlagsFromString } from 'node:v8';
import { measureMemory } from 'node:vm';

/** Half of the young generation, MiB. Node documents this flag, so that it may stand on a command line. */
const SEMI_SPACE = ['--max-semi-space-size', '2'] as const;
/** How much the old generation may grow before it is collected, percent of what was alive. */
const GROWTH = 20;
/** Heaps of the C library (mallopt(3)): by default each busy thread gets one, and each keeps what a burst took. */
const ARENAS = ['MALLOC_ARENA_MAX', '1'] as const;

interface Start {
  readonly flags: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** What has to be given at the start of the process. What whoever started it has chosen stays. */
export function smallStart({ flags, env }: Start): Start {
  const [flag, mebibytes] = SEMI_SPACE;
  const isChosen = flags.some((one) => one.startsWith(flag)) || env['NODE_OPTIONS']?.includes(flag) === true;
  return {
    flags: isChosen ? flags : [`${flag}=${mebibytes}`, ...flags],
    env: { [ARENAS[0]]: ARENAS[1], ...env },
  };
}

/** True when smallStart would change nothing. */
export function isSmall({ flags, env }: Start): boolean {
  return env[ARENAS[0]] !== undefined && smallStart({ flags, env }).flags.length === flags.length;
}

/** What can be set while the process runs, for all its threads. A Node that does not know the flag goes on without. */
export const growSlowly = (percent = GROWTH): void => setFlagsFromString(`--heap-growing-percent=${percent}`);

/** What V8 has freed it keeps for a while, seconds, and then until a further collection; the first version in which a flag says how long. */
const POOL_TIMEOUT = { flag: '--memory-pool-timeout', usual: 8, since: 14.6 };

/**
 * Collects the calling thread's heap in steps between other work of its event loop, which takes some 3 ms at once where the thread has a processor; a
 * whole collection that is asked for otherwise takes 10 to 15. What the one before has freed goes to the system. Resolves when it is done, or at once
 * where Node cannot do it any more: what it is asked by is no more than experimental.
 */
export async function collectInSteps(): Promise<void> {
  const { emitWarning } = process;
  let done: Promise<unknown> | undefined;
  keepFreedFor(0);
  try {
    // It would say in the log that it is experimental.
    process.emitWarning = () => {};
    done = measureMemory({ mode: 'summary', execution: 'eager' });
  } catch {
    // Then memory stays until it is needed.
  } finally {
    process.emitWarning = emitWarning;
  }
  await done?.catch(() => {});
  keepFreedFor(POOL_TIMEOUT.usual);
}

function keepFreedFor(seconds: number): void {
  const { flag, since } = POOL_TIMEOUT;
  if (Number.parseFloat(process.versions.v8) >= since) setFlagsFromString(`${flag}=${seconds}`);
}
