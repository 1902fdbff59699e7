/**
 * Starts a process inside a sandbox: the child is forked while this thread is in the sandbox's network namespace, then
 * mounts the sandbox's three files over /etc in a mount namespace of its own and sets its hostname. The process keeps the
 * pid that spawn answered: everything in between replaces itself by exec.
 */

import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { openNetns } from '../kernel/index.ts';

/** Where and with what view a process is started. */
export interface Place {
  readonly netns: string;
  readonly hostname: string;
  readonly hosts: string;
  readonly resolvConf: string;
  readonly hostnameFile: string;
  readonly outputLog: string;
}

// A file that this machine does not have cannot be mounted over; the process then does without it, as outside.
const SCRIPT = `
over() { if [ -e "$2" ]; then mount --bind "$1" "$2" || exit 125; fi; }
over "$1" /etc/hosts; over "$2" /etc/resolv.conf; over "$3" /etc/hostname
printf %s "$4" >/proc/sys/kernel/hostname || exit 125
shift 4; exec "$@"`;

/** Spawns `command` in the sandbox. `slave`: unmounts of the machine reach the process, its own mounts stay its own. */
export function spawnInSandbox(
  place: Place,
  command: readonly string[],
  options: { stdio: StdioOptions; detached: boolean },
): ChildProcess {
  using netns = openNetns(place.netns);
  const view = [place.hosts, place.resolvConf, place.hostnameFile, place.hostname];
  const args = ['--mount', '--uts', '--propagation', 'slave', '--', 'sh', '-c', SCRIPT, 'sh', ...view, ...command];
  return netns.run(() => spawn('unshare', args, options));
}
