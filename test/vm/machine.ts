/**
 * A virtual machine that does one job on Debian's kernel. It sees this machine's files and writes nothing to them, has no
 * network but what it makes itself, and is switched off after the job.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
/** Where the set-up unpacks kernel and first file system. */
const MACHINE = '/var/cache/patchbay-test/machine';

/** Where releases of Debian have it. */
const VIRTIOFSD = ['/usr/lib/qemu/virtiofsd', '/usr/libexec/virtiofsd'];
const MEMORY = '3072M';
const CORES = 2;
/** For a file server to listen, milliseconds. */
const SOCKET_LIMIT_MS = 10_000;

/** The job's own root is the first one of the machine: else a container's namespaces would lead to the one that it boots from. */
const PLAIN_BOOT = `
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
/bin/sh /job/script >/job/output 2>&1
echo $? >/job/status
sync
busybox poweroff -f
`;

export interface JobOutcome {
  /** Exit status of the script; undefined when it did not come to its end. */
  readonly status: number | undefined;
  /** What the script printed; where it did not come to its end, also the last words of the machine and of its kernel. */
  readonly output: string;
  /** What the script wrote to /job, by name. */
  readonly files: Readonly<Record<string, string | undefined>>;
}

export interface Job {
  /** A shell script. */
  readonly script: string;
  /**
   * A shell script that becomes the machine's first process. It has `script` run, its output and status written, and switches off.
   * Default: that and nothing else.
   */
  readonly boot?: string;
  /** Files that are read from /job afterwards. */
  readonly wanted: readonly string[];
  /** From boot to power-off, milliseconds. */
  readonly limitMs: number;
}

/** Does a job in a machine of its own. Throws when the machine cannot be started. */
export async function inMachine({ script, boot = PLAIN_BOOT, wanted, limitMs }: Job): Promise<JobOutcome> {
  const virtiofsd = VIRTIOFSD.find((path) => existsSync(path));
  if (virtiofsd === undefined) throw new Error(`there is no ${VIRTIOFSD.join(', nor ')}: the set-up installs it`);
  const folder = mkdtempSync('/tmp/pbv-');
  const children: ChildProcess[] = [];
  try {
    const job = join(folder, 'job');
    const console = join(folder, 'console');
    mkdirSync(job);
    writeFileSync(join(job, 'script'), script);
    writeFileSync(join(job, 'boot'), boot);
    const shares: string[] = [];
    // What is read again and again, such as each program, stays in the machine's memory; what comes back is seen at once.
    for (const [tag, source, cache] of [
      ['machine', '/', 'always'],
      ['job', job, 'auto'],
    ] as const) {
      const socket = join(folder, `${tag}.sock`);
      const serve = ['-f', `--socket-path=${socket}`, '-o', `source=${source}`, '-o', 'sandbox=chroot', '-o', `cache=${cache}`];
      children.push(spawn(virtiofsd, serve, { stdio: 'ignore' }));
      await appears(socket);
      shares.push('-chardev', `socket,id=${tag},path=${socket}`, '-device', `vhost-user-fs-pci,chardev=${tag},tag=${tag}`);
    }
    // Emulated: nested virtualisation is often there by half, and then it fails late.
    const machine = spawn('qemu-system-x86_64', [...machineFlags(console), ...shares], { stdio: ['ignore', 'ignore', 'pipe'] });
    children.push(machine);
    let complaint = '';
    machine.stderr.on('data', (data: Buffer) => (complaint += data.toString()));
    await switchedOff(machine, limitMs);
    const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, 'utf8') : undefined);
    const status = text(join(job, 'status'));
    const output = text(join(job, 'output')) ?? '';
    return {
      status: status === undefined ? undefined : Number(status),
      output: status === undefined ? `${output}\n${complaint}\n${text(console) ?? ''}` : output,
      files: Object.fromEntries(wanted.map((name) => [name, text(join(job, name))])),
    };
  } finally {
    await Promise.all(children.map(end));
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Of the processor no more than programs need: wide vectors are slow to emulate. */
const machineFlags = (console: string): string[] =>
  [
    '-nodefaults -no-user-config -display none -no-reboot -nic none',
    `-machine q35 -accel tcg,thread=multi -cpu Nehalem -smp ${CORES} -m ${MEMORY}`,
    `-object memory-backend-memfd,id=memory,size=${MEMORY},share=on -numa node,memdev=memory`,
    `-kernel ${MACHINE}/kernel -initrd ${MACHINE}/initramfs -serial file:${console}`,
  ]
    .flatMap((line) => line.split(' '))
    .concat('-append', 'console=ttyS0 rdinit=/init quiet mitigations=off net.ifnames=0 panic=-1');

async function switchedOff(machine: ChildProcess, limitMs: number): Promise<void> {
  const waiting = new AbortController();
  const gone = new Promise<void>((resolve, reject) => {
    machine.once('exit', () => resolve());
    machine.once('error', reject);
  });
  await Promise.race([gone, sleep(limitMs, undefined, { signal: waiting.signal }).catch(() => {})]);
  waiting.abort();
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGKILL');
  await gone;
}

async function appears(socket: string): Promise<void> {
  const deadline = performance.now() + SOCKET_LIMIT_MS;
  while (!existsSync(socket)) {
    if (performance.now() > deadline) throw new Error(`virtiofsd does not listen at ${socket}`);
    await sleep(20);
  }
}
