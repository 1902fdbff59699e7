/**
 * The keeper process: `--run-dir DIR`. One per run directory. It ends by itself when nobody needs it, but not as the
 * service of a manager (NOTIFY_SOCKET), which brings it back and keeps its sockets meanwhile.
 */

import { existsSync, openSync, realpathSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../base/index.ts';
import {
  askForSlices,
  growSlowly,
  inheritedDescriptors,
  libc,
  ServiceManager,
  restartWithOnly,
  startWatchdog,
  withstandSignals,
} from '../kernel/index.ts';
import { KeeperConnection } from './connection.ts';
import { keeperPaths, makeFolders, type KeeperPaths } from './files.ts';
import { Holds, restoreHolds } from './holds.ts';
import { KeptSockets } from './kept.ts';
import { LeftHeap, LOOK_MS } from './left-heap.ts';
import { keeperLog as log } from './log.ts';
import { Sandboxes } from './sandboxes.ts';
import { noteManaged, noteServing } from './managed.ts';
import { KeeperServer } from './server.ts';
import { KeeperState } from './state.ts';
import { EXIT_USAGE, KEPT, SUPERVISED, Supervision } from './supervise.ts';

/** Time with nothing held and no daemon connected after which the keeper ends, milliseconds. */
const IDLE_MS = 5000;
const IDLE_CHECK_MS = 500;
/** A flood of forwarded names makes a collection at every step of growth, and a neighbour's question waits for it. */
const GROWTH_PERCENT = 300;
/** Who asks for a name waits for both threads of the keeper, and they for the processor. Linux's own choice is 0.7 ms, on many processors 2.8. */
const SLICE_US = 200;
/** Silence of either thread after which the kernel ends the keeper, so that another is started, and pause between two signs of life. */
const HANG_MS = 15_000;
const BEAT_MS = 1000;
/** Share of the main thread's time below which it has time for what a flood has left. */
const IDLE_UTILIZATION = 0.05;
/** Time for a dying predecessor to let go of the lock, and pause between two looks, milliseconds. */
const LOCK_MS = 1000;
const LOCK_PAUSE_MS = 5;

function fail(error: unknown): never {
  log.error({ error: messageOf(error), stack: error instanceof Error ? (error.stack ?? '') : '' }, 'keeper: ends');
  // Not process.exit: it would wait for the loop's thread, which may be blocked.
  process.kill(process.pid, 'SIGKILL');
  throw error;
}

function argumentsOf(args: readonly string[]): { readonly runDir: string; readonly isSupervised: boolean } {
  const [flag, runDir, supervised, ...rest] = args;
  const isSound = supervised === undefined || supervised === SUPERVISED;
  if (flag === '--run-dir' && runDir !== undefined && runDir.startsWith('/') && isSound && rest.length === 0)
    return { runDir, isSupervised: supervised === SUPERVISED };
  process.stderr.write('usage: keeper --run-dir /ABSOLUTE/DIR\n');
  process.exit(EXIT_USAGE);
}

function askForTurns(): void {
  try {
    askForSlices(SLICE_US);
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'keeper: the scheduler lets it wait like others');
  }
}

function shedPrivileges(): void {
  try {
    restartWithOnly(
      KEPT,
      inheritedDescriptors(process.env).map(({ fd }) => fd),
    );
  } catch (error) {
    // A container may not let us; serving with more rights is better than not serving.
    log.warn({ error: messageOf(error) }, 'keeper: keeps its privileges');
  }
}

/** Needs nobody who watches, hence works while no daemon runs too. Time in which the machine is suspended does not count. */
function watch(sandboxes: Sandboxes): void {
  try {
    const watchdog = startWatchdog(HANG_MS);
    let isAsked = false;
    setInterval(() => {
      if (isAsked) return;
      isAsked = true;
      void sandboxes.beat().then(() => {
        isAsked = false;
        watchdog.feed();
      });
    }, BEAT_MS);
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'keeper: nobody notices when it hangs, but a daemon');
  }
}

/** Gives back what a flood has left on this thread's heap, when the flood is over. */
function giveBack(): void {
  const heap = new LeftHeap();
  let before = performance.eventLoopUtilization();
  setInterval(() => {
    const { utilization } = performance.eventLoopUtilization(before);
    before = performance.eventLoopUtilization();
    if (utilization < IDLE_UTILIZATION && heap.isDue) void heap.collect();
  }, LOOK_MS);
}

/** Whether the run directory is ours. False: a keeper that lives serves it. */
async function tryLock(lock: number): Promise<boolean> {
  const deadline = performance.now() + LOCK_MS;
  while (!libc.tryLockDescriptor(lock)) {
    if (performance.now() > deadline) return false;
    await sleep(LOCK_PAUSE_MS);
  }
  return true;
}

/** A keeper that a daemon has started makes way for the service manager's, which reads the same files. */
async function succeed(paths: KeeperPaths): Promise<void> {
  const connection = await KeeperConnection.open(paths.socket);
  try {
    const { isManaged, pid } = await connection.hello();
    if (isManaged) throw new Error(`keeper ${pid} of another service serves ${paths.folder}`);
    // Else its daemon, which notices its end at once, would start another.
    noteManaged(paths);
    // It may be gone before it has answered.
    void connection.retire().catch(() => {});
    await Promise.race([connection.closed, sleep(LOCK_MS)]);
  } finally {
    connection.close();
  }
}

async function main(): Promise<void> {
  const { runDir, isSupervised } = argumentsOf(process.argv.slice(2));
  // Somebody who removed it while this one was started wants no keeper, and none of its folders.
  if (isSupervised && !existsSync(runDir)) return;
  const paths = keeperPaths(runDir);
  const manager = isSupervised ? undefined : process.env['NOTIFY_SOCKET'];
  const isManaged = manager !== undefined && manager !== '';
  makeFolders(paths);
  // First of all, and before the process starts once more: a daemon sees that one is on its way, however slow.
  if (isManaged) noteManaged(paths);
  // The loop's thread, which is started later, has it from this one.
  askForTurns();
  // Before anything is opened or locked: the process starts once more.
  shedPrivileges();
  const lock = openSync(paths.lock, 'a', 0o600);
  let isOurs = await tryLock(lock);
  if (!isOurs && isManaged) {
    await succeed(paths);
    isOurs = await tryLock(lock);
    if (!isOurs) throw new Error(`another keeper does not let go of ${paths.folder}`);
  }
  // Another keeper serves this directory; its supervisor looks after it.
  if (!isOurs) return;
  if (isManaged) noteManaged(paths);
  else rmSync(paths.managed, { force: true });
  await serve(paths, runDir, isSupervised, isManaged ? manager : undefined);
}

/** `manager`: where the service manager listens. */
async function serve(paths: KeeperPaths, runDir: string, isSupervised: boolean, manager: string | undefined): Promise<void> {
  const program = realpathSync(process.argv[1] ?? '');
  const options = { runDir, entry: program, execPath: process.execPath, env: process.env };
  const supervision = new Supervision(options, paths, isSupervised, manager !== undefined);
  const kept = new KeptSockets(manager, log);
  const holds = new Holds(log, kept);
  // Before the loop is started: what others may snatch comes first.
  const held = restoreHolds(holds, paths, log);
  const sandboxes = await Sandboxes.start(log, kept, join(dirname(program), 'keeper-worker.js'), fail);
  // Not before: V8 takes code that was kept only under the flags with which it was made.
  growSlowly(GROWTH_PERCENT);
  const state = new KeeperState(log, sandboxes, holds, held);
  let isEnding = false;
  const end = async (reason: string): Promise<void> => {
    if (isEnding) return;
    isEnding = true;
    log.info({ reason }, 'keeper: ends');
    server.close();
    await state.close();
    await supervision.farewell();
    process.exit(0);
  };
  const server = new KeeperServer(state, log, supervision, () => void end('a daemon asked for it').catch(fail));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void end(signal).catch(fail));
  await state.restore(paths);
  kept.sweep();
  await server.listen(paths);
  watch(sandboxes);
  giveBack();
  if (manager !== undefined) noteServing(paths);
  const told = new ServiceManager(manager, log);
  told.tell(['READY=1']);
  told.keepAlive(manager === undefined ? {} : process.env);
  log.info({ pid: process.pid, entries: Object.keys(state.revisions).length }, 'keeper: serves');

  let idleSince = performance.now();
  setInterval(() => {
    if (!isEnding && supervision.look())
      log.warn({ supervisor: supervision.pid }, 'keeper: its supervisor is gone, another is started');
    // A service manager would start it again at once.
    if (manager !== undefined || !state.isEmpty || server.connections > 0) idleSince = performance.now();
    if (!server.isReachable) void end('the run directory is gone').catch(fail);
    else if (performance.now() - idleSince >= IDLE_MS) void end('nothing to keep').catch(fail);
  }, IDLE_CHECK_MS);
}

/** Runs until nothing is left to keep, a signal, or a service manager's end of it. */
export function runKeeper(): void {
  withstandSignals();
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  void main().catch(fail);
}
