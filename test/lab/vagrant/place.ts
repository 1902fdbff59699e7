/**
 * Namespaces of a run for libvirt and its machines: of network, mounts and processes. All in them ends with the first process, which
 * ends when this one does, however that happens. Files are in one folder, which a later run removes if a killed one left it.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Options, execa } from 'execa';
import type { Outcome } from '../commands.ts';
import { beginOf } from '../processes.ts';
import { until } from '../wait.ts';

/** Disks of machines are too large for memory. */
const RUNS = '/var/tmp';
const PREFIX = 'patchbay-vagrant-';
const READY_MS = 60_000;

/**
 * Folders of libvirt's are its own here. It wants a user that Debian's package of its service makes. Machines run as root of these
 * namespaces, without control groups. The shell stays the first process, since it takes leave of orphans, for which libvirt waits. What
 * it waits for reads its stdin, which ends with the process of the run.
 */
const HOLD = `set -e
mount -t sysfs sysfs /sys
mount -t tmpfs run /run
for folder in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
  mkdir -p $folder
  mount -t tmpfs libvirt $folder
done
mkdir /var/lib/libvirt/images
mount --bind "$1/images" /var/lib/libvirt/images
{ cat /etc/passwd; echo 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin'; } >/run/passwd
{ cat /etc/group; echo 'libvirt-qemu:x:64055:'; } >/run/group
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
END
printf 'unix_sock_group = "root"\\nauth_unix_rw = "none"\\nauth_unix_ro = "none"\\n' >/etc/libvirt/libvirtd.conf
ip link set lo up
libvirtd >"$1/libvirtd.log" 2>&1 &
exec 3<&0
cat <&3 >/dev/null &
wait $!
`;

export class Place {
  readonly folder: string;
  #holder: ChildProcess | undefined;
  /** First process in the namespaces, by its pid outside. */
  #first: number | undefined;

  private constructor() {
    this.folder = join(RUNS, `${PREFIX}${process.pid}-${beginOf(process.pid)}`);
  }

  /** libvirt serves when it resolves. `onBegin` is told of it before anything is made. */
  static async open(onBegin: (place: Place) => void): Promise<Place> {
    sweep();
    const place = new Place();
    onBegin(place);
    for (const name of ['images', 'home']) mkdirSync(join(place.folder, name), { recursive: true, mode: 0o700 });
    const own = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', HOLD, 'sh', place.folder];
    const holder = spawn('unshare', own, { stdio: ['pipe', 'inherit', 'inherit'], detached: true });
    place.#holder = holder;
    const list = (): Promise<string> =>
      execa('pgrep', ['-P', String(holder.pid)], { reject: false }).then((found) => found.stdout);
    await until('the namespaces are there', async () => /^\d+$/.test(await list()), READY_MS);
    place.#first = Number(await list());
    const serves = async (): Promise<boolean> => (await place.run('virsh', ['-c', 'qemu:///system', 'version'])).exitCode === 0;
    await until('libvirt serves', serves, READY_MS);
    return place;
  }

  /** Runs a program in the namespaces, with nothing of the user's Vagrant. */
  async run(command: string, args: readonly string[], options: Options = {}): Promise<Outcome> {
    const at = ['-t', String(this.#first), '-n', '-m', '-p', `--wd=${this.folder}`, command, ...args];
    const env = { HOME: join(this.folder, 'home'), ...options.env };
    const found = await execa('nsenter', at, { reject: false, stdin: 'ignore', ...options, env });
    return {
      stdout: String(found.all ?? found.stdout ?? ''),
      stderr: String(found.stderr ?? ''),
      exitCode: found.exitCode ?? -1,
    };
  }

  write(name: string, text: string): string {
    writeFileSync(join(this.folder, name), text, { mode: 0o600 });
    return join(this.folder, name);
  }

  /** Ends all in it. Repeatable. */
  async close(): Promise<void> {
    const holder = this.#holder;
    this.#holder = undefined;
    if (holder?.pid !== undefined && holder.exitCode === null && holder.signalCode === null) {
      const gone = once(holder, 'exit');
      // The first process dies with it, and with that one all others.
      holder.kill('SIGKILL');
      await gone;
    }
    if (this.#first !== undefined) await until('all in it has ended', () => beginOf(this.#first ?? 0) === undefined, READY_MS);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Removes folders of runs that were killed. */
function sweep(): void {
  for (const name of readdirSync(RUNS)) {
    const [, pid, begin] = /^patchbay-vagrant-(\d+)-(\d+)$/.exec(name) ?? [];
    if (pid !== undefined && beginOf(Number(pid)) !== begin) rmSync(join(RUNS, name), { recursive: true, force: true });
  }
}
