/** Fresh namespaces that stand for hosts, for every test that needs a kernel. Nothing here touches the machine's own. */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { rolldown } from 'rolldown';
import { afterEach } from 'vitest';
import { createNetns, removeNetnsPin, type Netns } from '../../src/kernel/index.ts';

export interface TestHost {
  /** Namespace with lo up. Closed and unpinned after the test. */
  readonly host: Netns;
  /** Its pin. */
  readonly path: string;
  /** Runs a command inside: execa's promise of `{ stdout, … }`, which is also the child. Killed after the test if still alive. */
  exec(command: string, args: readonly string[], options?: CommandOptions): Command;
}

interface CommandOptions {
  /** Text for standard input. */
  readonly input?: string;
  /** False: a non-zero exit is a result and no error. Default true. */
  readonly reject?: boolean;
}

type Command = ReturnType<typeof start>;

/** Changes with every run; short enough for names of links (15 octets). */
const runPrefix = `pbt-${randomBytes(3).toString('hex')}`;

/** Longest life of one command, milliseconds: emulated processors are some twenty times slower, and WireGuard's changes of keys take minutes. */
const COMMAND_LIMIT_MS = process.env['PATCHBAY_VM'] === '1' ? 600_000 : 25_000;

const folders: string[] = [];
const pins: { readonly path: string; readonly netns: Netns }[] = [];
const children = new Set<Command>();
let made = 0;

function start(path: string, command: string, args: readonly string[], options: CommandOptions) {
  const child = execa('nsenter', [`--net=${path}`, command, ...args], {
    timeout: COMMAND_LIMIT_MS,
    reject: options.reject ?? true,
    ...(options.input === undefined ? {} : { input: options.input }),
  });
  children.add(child);
  const forget = (): void => void children.delete(child);
  child.then(forget, forget);
  return child;
}

/** Whether this kernel grants slices: Linux 6.12 and newer. */
export function hasSlices(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 12);
}

/** Where run directories are: in memory, as /run is. A file that is replaced is written to a disk at once, which takes milliseconds. */
export const MEMORY = '/dev/shm';

/** A folder of its own, removed after the test. */
export function testFolder(parent = tmpdir()): string {
  const folder = mkdtempSync(join(parent, `${runPrefix}-`));
  folders.push(folder);
  return folder;
}

/**
 * Runs a program of its own that imports from the kernel room, `kernel` being the path to it. Bundled first, since this
 * project's sources are no JavaScript.
 */
export async function runProgram(source: (kernel: string) => string) {
  const folder = testFolder();
  const entry = join(folder, 'program.mjs');
  writeFileSync(entry, source(join(import.meta.dirname, '../../src/kernel')));
  const build = await rolldown({
    input: entry,
    platform: 'node',
    external: ['koffi'],
    transform: { target: 'node20' },
    logLevel: 'silent',
  });
  await build.write({ file: join(folder, 'program.cjs'), format: 'cjs' });
  const env = { NODE_PATH: join(import.meta.dirname, '../../node_modules') };
  return execa(process.execPath, [join(folder, 'program.cjs'), folder], { env, timeout: 10_000, reject: false });
}

/** Makes `count` hosts, not connected to each other. Call it in a test or in beforeEach. */
export async function testHosts(count: number): Promise<TestHost[]> {
  const folder = testFolder();
  const hosts: TestHost[] = [];
  for (let i = 0; i < count; i++) {
    const path = join(folder, `${runPrefix}-${++made}`);
    const netns = createNetns(path);
    pins.push({ path, netns });
    const exec: TestHost['exec'] = (command, args, options = {}) => start(path, command, args, options);
    await netns.rtnl().batch([{ op: 'link.set', at: { name: 'lo' }, change: { up: true } }]);
    hosts.push({ host: netns, path, exec });
  }
  return hosts;
}

/** The host at `index`; throws when the test asked for fewer. */
export function hostAt(hosts: readonly TestHost[], index: number): TestHost {
  const host = hosts[index];
  if (host === undefined) throw new Error(`no test host ${index}`);
  return host;
}

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.allSettled(children);
  const failures: unknown[] = [];
  for (const { path, netns } of pins.splice(0).reverse()) {
    try {
      netns[Symbol.dispose]();
      removeNetnsPin(path);
    } catch (error) {
      failures.push(error);
    }
  }
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  if (failures.length > 0) throw new AggregateError(failures, 'clean-up of test hosts failed');
});
