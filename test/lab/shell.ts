/** A shell in a lab: `network` is that of host 1, `host I COMMAND` runs on host I, and the verbs of the lab are commands. */

import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serveVerbs } from './control.ts';
import type { Lab } from './lab.ts';
import { DIST } from './places.ts';
import { VERBS } from './verbs.ts';

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** What the shell reads first. */
export function rcText(lab: Lab, control: string): string {
  const program = `${quoted(process.execPath)} ${quoted(join(DIST, 'network.js'))}`;
  const verbs = Object.entries(VERBS).map(
    ([name]) => `${name}() { curl -s --fail-with-body --unix-socket "$LAB_CONTROL" --data-raw "$*" http://lab/${name}; }`,
  );
  return [
    '[ -z "$PS1" ] || [ ! -r ~/.bashrc ] || . ~/.bashrc',
    `export LAB_FOLDER=${quoted(lab.run.folder)} LAB_CONTROL=${quoted(control)} LAB_PREFIX=${quoted(lab.run.namespaceOf(''))}`,
    `export NETWORK_HOST=unix://$LAB_FOLDER/host1/pb.sock`,
    `network() { ${program} "$@"; }`,
    'host() {',
    '  local place=host$1; shift',
    '  [ -e "/run/netns/$LAB_PREFIX$place" ] || { echo "there is no $place" >&2; return 1; }',
    '  if [ "$1" = network ]; then shift; set -- ' + program + ' "$@"; fi',
    '  NETWORK_HOST=unix://$LAB_FOLDER/$place/pb.sock nsenter --net="/run/netns/$LAB_PREFIX$place" "$@"',
    '}',
    'underlay() { nsenter --net="/run/netns/${LAB_PREFIX}lan" "$@"; }',
    'daemon-log() { cat "$LAB_FOLDER/host$1/daemon.log"; }',
    'verbs() { cat "$LAB_FOLDER/verbs"; }',
    ...verbs,
    '[ -z "$PS1" ] || PS1="lab \\w# "',
    '',
  ].join('\n');
}

/** One line a verb. */
export function helpText(lab: Lab): string {
  const own: [string, string][] = [
    ['network ARGS', 'the command line tool, against host 1'],
    ['host I COMMAND…', `a command on host I, 1 to ${lab.hosts.length}; network there speaks to its daemon`],
    ['underlay COMMAND…', 'a command where the wire is, such as tcpdump'],
    ['daemon-log I', 'what the daemon of host I has logged'],
    ...Object.entries(VERBS).map(([name, { words, about }]): [string, string] => [`${name} ${words}`.trim(), about]),
    ['verbs', 'this list'],
    ['exit', 'takes everything away'],
  ];
  return own.map(([name, about]) => `  ${name.padEnd(20)} ${about}\n`).join('');
}

/** Resolves with the shell's exit code when it ends. Without a terminal it reads commands from stdin. */
export async function openShell(lab: Lab): Promise<number> {
  const at = (name: string): string => join(lab.run.folder, name);
  const server = await serveVerbs(lab, at('control.sock'));
  writeFileSync(at('rc'), rcText(lab, at('control.sock')));
  writeFileSync(at('verbs'), helpText(lab));
  if (process.stdin.isTTY) process.stdout.write(`\n${helpText(lab)}\n`);
  const args = process.stdin.isTTY ? ['--rcfile', at('rc'), '-i'] : ['-s'];
  const shell = spawn('bash', args, { stdio: 'inherit', env: { ...process.env, BASH_ENV: at('rc') } });
  const end = (): void => void shell.kill('SIGHUP');
  lab.commands.signal.addEventListener('abort', end);
  try {
    return await new Promise<number>((resolve, reject) => {
      shell.once('error', reject);
      shell.once('exit', (code) => resolve(code ?? 1));
    });
  } finally {
    lab.commands.signal.removeEventListener('abort', end);
    server.close();
    server.closeAllConnections();
  }
}
