/**
 * Starts the keeper under a small shell that brings it back when it dies. The shell is in a session of its own, holds
 * nothing but the log file, and ends when the keeper ends by itself.
 */

import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { libc } from '../kernel/index.ts';
import { makeFolders, type KeeperPaths } from './files.ts';

/** Wrong usage: starting again would not help. */
export const EXIT_USAGE = 64;

/** Name by which a supervisor is told from whoever has its pid now. */
const TITLE = 'patchbay-keeper-supervisor';

/**
 * Pauses grow when the keeper keeps dying young, so that a broken one does not eat the machine. Exit 0 is its own wish.
 * The shell reads nothing, and ignores the terminal's signals.
 */
const SCRIPT = `
node=$1 entry=$2 dir=$3 young=0
trap '' HUP INT QUIT
while [ -d "$dir" ]; do
  begun=$(date +%s)
  "$node" "$entry" --run-dir "$dir"
  code=$?
  case $code in 0 | ${EXIT_USAGE}) exit 0 ;; esac
  if [ $(($(date +%s) - begun)) -gt 5 ]; then young=0; else young=$((young + 1)); fi
  if [ $young -le 3 ]; then sleep 0.02; elif [ $young -le 10 ]; then sleep 1; else sleep 5; fi
done
`;

export interface SuperviseOptions {
  readonly runDir: string;
  /** The built keeper. */
  readonly entry: string;
  readonly execPath: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Returns at once; the keeper answers on its socket a little later. A second keeper for one directory ends by itself. */
export function startSupervised(options: SuperviseOptions, paths: KeeperPaths): void {
  makeFolders(paths);
  const log = openSync(paths.log, 'a', 0o600);
  const inherited = inheritable();
  try {
    // A keeper that held the daemon's lock would outlive it and keep its successor out.
    for (const fd of inherited) libc.setInheritable(fd, false);
    const child = spawn('/bin/sh', ['-c', SCRIPT, TITLE, options.execPath, options.entry, options.runDir], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', log, log],
      env: options.env,
    });
    // Without a shell there is no keeper, which the caller notices by its silence.
    child.on('error', () => {});
    child.unref();
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
