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

const program = (family: IpFamily, verb: 'restore' | 'save'): string => `${family === 4 ? 'iptables' : 'ip6tables'}-${verb}`;

/** What iptables-save prints of all tables. */
export const saveRules = (options: ToolOptions, family: IpFamily): Promise<string> => run(options, program(family, 'save'), []);

/** Feeds one text to iptables-restore; tables are committed one by one. Throws firewall_failed, kernel_lacks. */
export async function restoreRules(options: ToolOptions, family: IpFamily, text: string): Promise<void> {
  await run(options, program(family, 'restore'), ['--noflush', '-w', String(LOCK_WAIT_SECONDS)], text);
}

/** Throws kernel_lacks when the family's tool is missing or does not take our kinds of rules. */
export async function probeRules(options: ToolOptions, family: IpFamily): Promise<void> {
  const text =
    '*filter\n-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT\nCOMMIT\n*nat\n-A POSTROUTING -m addrtype --src-type LOCAL -j MASQUERADE\nCOMMIT\n';
  try {
    await run(options, program(family, 'restore'), ['--noflush', '--test', '-w', String(LOCK_WAIT_SECONDS)], text);
  } catch (error) {
    if (error instanceof CnmError && error.code === 'kernel_lacks') throw error;
    throw new CnmError('kernel_lacks', `${program(family, 'restore')} does not work here: ${messageOf(error)}`, { cause: error });
  }
}

async function run({ host, lockFd }: ToolOptions, command: string, args: readonly string[], input = ''): Promise<string> {
  const start = () =>
    execa(command, args, {
      input,
      reject: false,
      timeout: CHILD_LIMIT_MS,
      forceKillAfterDelay: 1000,
      maxBuffer: MAX_OUTPUT,
      stripFinalNewline: false,
      env: { LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
      // execa's types know descriptors of one digit only; any number works.
      ...(lockFd === undefined ? {} : { stdio: ['pipe', 'pipe', 'pipe', lockFd as 3] as const }),
    });
  let child: ReturnType<typeof start> | undefined;
  // The child is started on this thread before execa returns, hence in the host's namespace.
  host.run(() => {
    child = start();
  });
  const result = await child;
  if (result === undefined) throw new CnmError('internal', `${command} was not started`);
  if (!result.failed) return result.stdout;
  if (errnoOf(result.cause) === 'ENOENT' || result.code === 'ENOENT') {
    throw new CnmError('kernel_lacks', `${command} is not installed; the packet filter needs it (package iptables)`);
  }
  throw new CnmError(
    'firewall_failed',
    `${command} failed: ${failureText(result.stderr, result.shortMessage ?? 'no message', input)}`,
  );
}

/** The tool's own words, with the line that it names. */
function failureText(stderr: string, shortMessage: string, input: string): string {
  const words = stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('Try `'))
    .join('; ');
  const number = Number(/line:? (\d+)/.exec(words)?.[1]);
  const line = Number.isNaN(number) ? undefined : input.split('\n')[number - 1];
  return `${words === '' ? shortMessage : words}${line === undefined ? '' : ` (${line})`}`;
}
