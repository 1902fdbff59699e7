/**
 * Starts a process inside a sandbox: the child is forked while this thread is in the sandbox's network namespace, then
 * mounts the sandbox's three files over /etc in a mount namespace of its own and sets its hostname. The process keeps the
 * pid that spawn answered: everything in between replaces itself by exec.
 */

import { type ChildProcess, type IOType, spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import { CnmError, codeOf, errnoOf, messageOf } from '../base/index.ts';
import { libc, type Netns, openNetns } from '../kernel/index.ts';

type Stdio = IOType | number;

/** Where and with what view a process is started. */
export interface Place {
  readonly netns: string;
  readonly hostname: string;
  readonly hosts: string;
  readonly resolvConf: string;
  readonly hostnameFile: string;
  readonly outputLog: string;
}

/** Spawned, with its view; the command itself begins when it is let go, and never when this program ends before. */
export interface Held {
  readonly child: ChildProcess;
  letGo(): void;
}

// A file that this machine does not have cannot be mounted over; the process then does without it, as outside.
const SCRIPT = `
over() { if [ -e "$2" ]; then mount --bind "$1" "$2" || exit 125; fi; }
over "$1" /etc/hosts; over "$2" /etc/resolv.conf; over "$3" /etc/hostname
printf %s "$4" >/proc/sys/kernel/hostname || exit 125
read -r go <&3 || exit 125
shift 4; exec "$@" 3<&-`;

/** Spawns `command` in the sandbox. `slave`: unmounts of the machine reach the process, its own mounts stay its own. */
export function spawnInSandbox(
  place: Place,
  command: readonly string[],
  options: { stdio: readonly [Stdio, Stdio, Stdio]; detached: boolean },
): Held {
  using netns = visible(place.netns);
  const view = [place.hosts, place.resolvConf, place.hostnameFile, place.hostname];
  const args = ['--mount', '--uts', '--propagation', 'slave', '--', 'sh', '-c', SCRIPT, 'sh', ...view, ...command];
  const gate = libc.pipe();
  try {
    const child = netns.run(() => spawn('unshare', args, { ...options, stdio: [...options.stdio, gate.read] }));
    return { child, letGo: () => open(gate.write) };
  } finally {
    closeSync(gate.read);
  }
}

/** The daemon's answer named it, so that it is there for the daemon. */
function visible(path: string): Netns {
  try {
    return openNetns(path);
  } catch (error) {
    if (codeOf(error) !== 'bad_netns') throw error;
    const why = 'the daemon mounts it where this command does not see it; run the command in the mount namespace of the daemon';
    throw new CnmError('bad_netns', `${messageOf(error)}: ${why}, or the daemon in none of its own`);
  }
}

/** Writes to a pipe whose reader may have ended. */
function open(gate: number): void {
  try {
    writeSync(gate, '\n');
  } catch (error) {
    if (errnoOf(error) !== 'EPIPE') throw error;
  } finally {
    closeSync(gate);
  }
}

/**
 * Tells the pid to `declare` and lets the command begin: what is short has been seen too. Throws what `declare` does, with the
 * process ended; not for one that ended by itself, which had no command yet and says why.
 */
export async function declareAndBegin({ child, letGo }: Held, declare: (pid: number) => Promise<void>): Promise<void> {
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  try {
    await declare(child.pid as number);
  } catch (error) {
    child.kill('SIGKILL');
    await ended;
    if (child.signalCode === 'SIGKILL') throw error;
  } finally {
    letGo();
  }
}
