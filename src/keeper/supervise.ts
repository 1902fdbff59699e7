/**
 * Starts the keeper under a small shell that brings it back when it dies. The shell is in a session of its own, holds
 * nothing but the log file, and ends when the keeper ends by itself.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { libc, smallStart, type Capability } from '../kernel/index.ts';
import { makeFolders, type KeeperPaths } from './files.ts';

/** Wrong usage: starting again would not help. */
export const EXIT_USAGE = 64;

/** What is left is for entering sandboxes, for host ports below 1024, and for receive buffers beyond the default. */
export const KEPT: readonly Capability[] = ['CAP_SYS_ADMIN', 'CAP_NET_BIND_SERVICE', 'CAP_NET_ADMIN'];

/** Tells a keeper that it has a supervisor, or had one that died before it could look. */
export const SUPERVISED = '--supervised';

/** Name by which a supervisor is told from whoever has its pid now. */
const TITLE = 'patchbay-keeper-supervisor';

/** What a keeper says to a supervisor that watches it when it ends by its own wish. */
const FAREWELL = 'end';

/**
 * With a fourth argument it waits first for the end of a keeper that runs already, which holds the other end of its stdin.
 * Pauses grow when the keeper keeps dying young, so that a broken one does not eat the machine. Exit 0 is its own wish.
 * Otherwise the shell reads nothing. It ignores the terminal's signals. Further arguments are Node's. With those, and where
 * setpriv can take the keeper's rights away, the keeper need not start twice, and is back in half the time.
 */
const SCRIPT = `
node=$1 entry=$2 dir=$3 self=$4 young=0
shift 4
trap '' HUP INT QUIT
if [ -n "$self" ]; then
  read -r word
  if [ "$word" = ${FAREWELL} ]; then exit 0; fi
  exec </dev/null
fi
narrow='setpriv --no-new-privs --bounding-set=-all,${KEPT.map((name) => `+${name.slice(4).toLowerCase()}`).join(',')}'
$narrow true 2>/dev/null || narrow=
while [ -d "$dir" ]; do
  begun=$(date +%s)
  $narrow "$node" "$@" "$entry" --run-dir "$dir" ${SUPERVISED}
  code=$?
  case $code in 0 | ${EXIT_USAGE}) exit 0 ;; esac
  printf '{"time":"%s","level":"error","code":%s,"message":"keeper: died, another is started"}\n' "$(date -u +%FT%TZ)" $code
  if [ $(($(date +%s) - begun)) -gt 5 ]; then young=0; else young=$((young + 1)); fi
  if [ $young -le 10 ]; then sleep 0.02; elif [ $young -le 20 ]; then sleep 1; else sleep 5; fi
done
`;

export interface SuperviseOptions {
  readonly runDir: string;
  /** The built keeper. */
  readonly entry: string;
  readonly execPath: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * Returns at once; the keeper answers on its socket a little later. A second keeper for one directory ends by itself. Answers
 * whether the supervisor that was started still runs.
 */
export function startSupervised(options: SuperviseOptions, paths: KeeperPaths): () => boolean {
  const child = spawnSupervisor(options, paths, false);
  child.unref();
  return () => isRunning(child);
}

const isRunning = ({ pid, exitCode, signalCode }: ChildProcess): boolean =>
  pid !== undefined && exitCode === null && signalCode === null;

/** No process has this pid. */
const NOBODY = -1;

/** Supervision seen by the keeper: when its supervisor is killed, it starts another one for itself. */
export class Supervision {
  readonly #options: SuperviseOptions;
  readonly #paths: KeeperPaths;
  #pid = isSupervisor(process.ppid) ? process.ppid : NOBODY;
  #successor: ChildProcess | undefined;
  readonly #isWanted: boolean;
  /** A service manager brings the keeper back. */
  readonly isManaged: boolean;

  /** A keeper started by hand or by a service manager has no supervisor, and wants none. */
  constructor(options: SuperviseOptions, paths: KeeperPaths, isWanted: boolean, isManaged: boolean) {
    this.#options = options;
    this.#paths = paths;
    this.#isWanted = isWanted;
    this.isManaged = isManaged;
  }

  get pid(): number {
    return this.#pid;
  }

  /** To be called again and again. True when a new supervisor was started. */
  look(): boolean {
    const isThere = this.#successor === undefined ? process.ppid === this.#pid : isRunning(this.#successor);
    if (!this.#isWanted || isThere) return false;
    const child = spawnSupervisor(this.#options, this.#paths, true);
    child.stdin?.on('error', () => {});
    this.#successor = child;
    this.#pid = child.pid ?? 0;
    return true;
  }

  /** This keeper ends by its own wish: it need not come back. Resolves when a successor knows; its parent sees the exit code. */
  async farewell(): Promise<void> {
    const stdin = this.#successor?.stdin;
    if (stdin === undefined || stdin === null || stdin.destroyed) return;
    await new Promise<void>((resolve) => stdin.write(`${FAREWELL}\n`, () => resolve()));
  }
}

function spawnSupervisor(options: SuperviseOptions, paths: KeeperPaths, isForSelf: boolean): ChildProcess {
  makeFolders(paths);
  const log = openSync(paths.log, 'a', 0o600);
  const inherited = inheritable();
  try {
    // A keeper that held the daemon's lock would outlive it and keep its successor out.
    for (const fd of inherited) libc.setInheritable(fd, false);
    const { flags, env } = smallStart({ flags: [], env: options.env });
    const args = [options.execPath, options.entry, options.runDir, isForSelf ? 'self' : '', ...flags];
    const child = spawn('/bin/sh', ['-c', SCRIPT, TITLE, ...args], {
      cwd: '/',
      detached: true,
      stdio: [isForSelf ? 'pipe' : 'ignore', log, log],
      env,
    });
    // Without a shell there is no keeper, which the caller notices by its silence.
    child.on('error', () => {});
    return child;
  } finally {
    for (const fd of inherited) libc.setInheritable(fd, true);
    closeSync(log);
  }
}

/** Descriptors above the standard three that a child would get. */
function inheritable(): readonly number[] {
  const O_CLOEXEC = 0o2000000;
  const found: number[] = [];
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd <= 2) continue;
    try {
      const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
      if (flags !== undefined && (Number.parseInt(flags, 8) & O_CLOEXEC) === 0) found.push(fd);
    } catch {
      // Closed since the listing.
    }
  }
  return found;
}

/** True when `pid` is a supervisor that runs. */
export function isSupervisor(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(TITLE);
  } catch {
    return false;
  }
}
