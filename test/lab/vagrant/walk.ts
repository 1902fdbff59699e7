/** The walk-through of vagrant/README.md, executed: each command where it says, shown with what it printed. */

import { join } from 'node:path';
import { type Step, pattern } from '../../e2e/page.ts';
import type { Outcome } from '../commands.ts';
import type { Place } from './place.ts';

/** Processors are emulated: for `vagrant` and for a command on a machine, milliseconds. */
const VAGRANT_MS = 30 * 60_000;
const COMMAND_MS = 6 * 60_000;

export interface Walk {
  readonly place: Place;
  /** Environment of Vagrant. */
  readonly env: Readonly<Record<string, string>>;
  readonly say: (text: string) => void;
}

/** Answers how many steps did not end well, or did not print what the page says. */
export async function walk(walk: Walk, steps: readonly Step[]): Promise<number> {
  let failed = 0;
  for (const step of steps) {
    walk.say(`${step.where === '' ? '$' : `${step.where}#`} ${step.command}`);
    const begin = performance.now();
    const { stdout: output, exitCode } = step.where === '' ? await typed(walk, step) : await onMachine(walk, step);
    // What was overwritten on the line by a progress of Vagrant's is not shown.
    const text = output
      .replaceAll(/^.*\r(?!\n)/gm, '')
      .replaceAll('\r', '')
      .replace(/\n$/, '')
      .replaceAll(/ +$/gm, '');
    // On the page `…` may stand for a refusal too.
    const isSo = exitCode === 0 && pattern(step.expected).test(text);
    if (text !== '') walk.say(text.replaceAll(/^/gm, '    '));
    walk.say(`    ${isSo ? 'as on the page' : notSo(step, exitCode)}, ${seconds(begin)} s\n`);
    if (!isSo) failed++;
  }
  return failed;
}

const notSo = ({ line, expected }: Step, exitCode: number): string =>
  `ended with ${exitCode}, NOT as on the page, line ${line}:\n${expected.join('\n')}`;

const seconds = (begin: number): string => ((performance.now() - begin) / 1000).toFixed(1);

async function typed({ place, env }: Walk, { command }: Step): Promise<Outcome> {
  const outcome = await place.run('sh', ['-c', `exec 2>&1; ${command}`], { env, timeout: VAGRANT_MS });
  const { stdout, exitCode } = outcome;
  if (exitCode !== 0) throw new Error(`${command} ended with ${exitCode}:\n${stdout.slice(-4000)}`);
  return outcome;
}

/** By ssh itself: Vagrant's takes seconds to start. */
async function onMachine({ place, env }: Walk, { where, command }: Step): Promise<Outcome> {
  const known = await place.run('vagrant', ['ssh-config', where], { env, timeout: COMMAND_MS });
  const config = place.write('ssh-config', known.stdout);
  const quoted = `'${`exec 2>&1; ${command}`.replaceAll("'", `'\\''`)}'`;
  const args = ['-n', '-F', config, where, `sudo sh -c ${quoted}`];
  const { stdout, stderr, exitCode } = await place.run('ssh', args, { timeout: COMMAND_MS });
  return { stdout: stdout + stderr, stderr, exitCode };
}

/** Environment in which Vagrant knows this run only. */
export const vagrantEnv = (place: Place, settings: Readonly<Record<string, string>>): Record<string, string> => ({
  VAGRANT_HOME: join(place.folder, 'home/.vagrant.d'),
  VAGRANT_DOTFILE_PATH: join(place.folder, 'home/machines'),
  VAGRANT_DEFAULT_PROVIDER: 'libvirt',
  VAGRANT_CHECKPOINT_DISABLE: '1',
  VAGRANT_NO_COLOR: '1',
  ...settings,
});
