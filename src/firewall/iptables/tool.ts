/** Runs iptables-restore and iptables-save, and their IPv6 twins, inside the host's namespace. */

import { execa } from 'execa';
import { CnmError, errnoOf, messageOf, type IpFamily } from '../../base/index.ts';
import type { Netns } from '../../kernel/index.ts';

/** Seconds a restore waits for others' xtables lock. */
const LOCK_WAIT_SECONDS = 10;
/** Longest life of one child, milliseconds: the lock's wait and the largest change. */
const CHILD_LIMIT_MS = 30_000;
/** Octets of a child's output. */
const MAX_OUTPUT = 64 * 1024 * 1024;

export interface ToolOptions {
  readonly host: Netns;
  /**
   * Descriptor of the daemon's flock. The child inherits it, so that a successor waits until the child of a killed daemon has
   * ended and cannot commit behind its back.
   */
  readonly lockFd?: number;
}

export const program = (family: IpFamily, verb: 'restore' | 'save'): string =>
  `${family === 4 ? 'iptables' : 'ip6tables'}-${verb}`;

/** A flush would take others' rules; seconds that others' xtables lock is waited for. */
const RESTORE_FLAGS = ['--noflush', '-w', String(LOCK_WAIT_SECONDS)] as const;

/** What iptables-save prints of all tables. */
export const saveRules = (options: ToolOptions, family: IpFamily): Promise<string> => run(options, program(family, 'save'), []);

/** Feeds one text to iptables-restore; tables are committed one by one. Throws firewall_failed, kernel_lacks. */
export async function restoreRules(options: ToolOptions, family: IpFamily, text: string): Promise<void> {
  await run(options, program(family, 'restore'), RESTORE_FLAGS, text);
}

/** Throws kernel_lacks when the family's tool is missing or does not take our kinds of rules. */
export async function probeRules(options: ToolOptions, family: IpFamily): Promise<void> {
  const text =
    '*filter\n-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT\nCOMMIT\n*nat\n-A POSTROUTING -m addrtype --src-type LOCAL -j MASQUERADE\nCOMMIT\n';
  try {
    await run(options, program(family, 'restore'), [...RESTORE_FLAGS, '--test'], text);
  } catch (error) {
    if (error instanceof CnmError && error.code === 'kernel_lacks') throw error;
    throw new CnmError('kernel_lacks', `${program(family, 'restore')} does not work here: ${messageOf(error)}`, { cause: error });
  }
}

/** How every child is started; execa's own types of descriptors know one digit only, any number works. */
const runOptions = ({ lockFd }: ToolOptions) => ({
  reject: false as const,
  stripFinalNewline: false as const,
  env: { LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
  stdio: ['pipe', 'pipe', 'pipe', ...(lockFd === undefined ? [] : [lockFd as 3])] as const,
});

/**
 * Starts an iptables-restore that reads one change after another. It repeats comments on stdout, line by line: by itself it
 * buffers what it prints to a pipe until it ends, stdbuf forbids it that.
 */
export function startRestore(options: ToolOptions, family: IpFamily) {
  const start = () =>
    execa('stdbuf', ['-oL', program(family, 'restore'), ...RESTORE_FLAGS, '-v'], { ...runOptions(options), buffer: false });
  let child: ReturnType<typeof start> | undefined;
  options.host.run(() => {
    child = start();
  });
  if (child === undefined) throw new CnmError('internal', `${program(family, 'restore')} was not started`);
  return child;
}

async function run(options: ToolOptions, command: string, args: readonly string[], input = ''): Promise<string> {
  const start = () =>
    execa(command, args, {
      ...runOptions(options),
      input,
      timeout: CHILD_LIMIT_MS,
      forceKillAfterDelay: 1000,
      maxBuffer: MAX_OUTPUT,
    });
  let child: ReturnType<typeof start> | undefined;
  // The child is started on this thread before execa returns, hence in the host's namespace.
  options.host.run(() => {
    child = start();
  });
  const result = await child;
  if (result === undefined) throw new CnmError('internal', `${command} was not started`);
  if (!result.failed) return result.stdout;
  throw failureOf(command, result, result.stderr, input);
}

/** `before`: lines that the tool had read when it got `input`. */
export function failureOf(command: string, result: unknown, stderr: string, input: string, before = 0): CnmError {
  const { code, cause, shortMessage } = result as { code?: string; cause?: unknown; shortMessage?: string };
  if (errnoOf(cause) === 'ENOENT' || code === 'ENOENT') {
    return new CnmError('kernel_lacks', `${command} is not installed; the packet filter needs it (package iptables)`);
  }
  return new CnmError(
    'firewall_failed',
    `${command} failed: ${failureText(stderr, shortMessage ?? 'no message', input, before)}`,
  );
}

/** The tool's own words, with the line that it names. */
function failureText(stderr: string, shortMessage: string, input: string, before: number): string {
  const words = stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('Try `'))
    .join('; ');
  const number = Number(/line:? (\d+)/.exec(words)?.[1]);
  const line = Number.isNaN(number) ? undefined : input.split('\n')[number - 1 - before];
  return `${words === '' ? shortMessage : words}${line === undefined ? '' : ` (${line})`}`;
}
