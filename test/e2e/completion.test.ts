/** Completion in real bash, zsh and fish: keys are typed on a terminal, and the shell itself says what its line then is. */

import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Lab, waitUntil } from './lab.ts';

const DIST = new URL('../../dist', import.meta.url).pathname;
const PATIENCE_MS = 40_000;
const RETYPE_MS = 1000;
const AGAIN_MS = 10_000;

/** Control characters: clear the line, ask the shell for its line. */
const CLEAR = '\x15';
const SAY = '\x18\x10';

let lab: Lab;
let bin: string;

beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', 'backend');
  await lab.ok('sandbox', 'create', '--network', 'backend', '-p', '8080:80', 'webserver');
  await lab.ok('sandbox', 'create', '--network', 'bridge', 'other');
  await lab.ok('endpoint', 'create', 'backend', 'lonely');
  await lab.ok('endpoint', 'create', 'backend', 'twice');
  await lab.ok('endpoint', 'create', 'bridge', 'twice');
  bin = join(lab.folder, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'network'), `#!/bin/sh\nexec '${process.execPath}' '${DIST}/network.js' "$@"\n`);
  writeFileSync(join(bin, 'pbt-only-here'), '#!/bin/sh\n');
  for (const name of ['network', 'pbt-only-here']) chmodSync(join(bin, name), 0o755);
  writeFileSync(join(lab.folder, 'a-file-to-find'), '');
}, 120_000);
afterAll(() => lab?.close(), 60_000);

const environment = (): NodeJS.ProcessEnv => ({
  HOME: lab.folder,
  ZDOTDIR: lab.folder,
  // Without it fish makes a folder of its own in /tmp, which stays.
  XDG_RUNTIME_DIR: lab.folder,
  TERM: 'xterm',
  PATH: `${bin}:${process.env['PATH']}`,
  NETWORK_HOST: `unix://${lab.socket}`,
});

/** Start-up file: loads the completion, and writes the line to the report at SAY. */
const SHELLS = {
  bash: (file: string, report: string) => ({
    text: `source <(network completion bash)\nsay() { printf '%s\\n' "$READLINE_LINE" >> ${report}; }\nbind -x '"\\C-x\\C-p": say'\n`,
    command: `bash --rcfile ${file} -i`,
  }),
  zsh: (_file: string, report: string) => ({
    text: `autoload -U compinit; compinit -u -D\nsource <(network completion zsh)
say() { print -r -- "$BUFFER" >> ${report} }; zle -N say; bindkey -e; bindkey '^X^P' say\n`,
    // Its start-up file is .zshrc of ZDOTDIR; -d leaves out those of the machine.
    command: 'zsh -d -i',
  }),
  fish: (file: string, report: string) => ({
    text: `network completion fish | source\nbind \\cx\\cp 'commandline >> ${report}'\n`,
    command: `fish --no-config -i -C 'source ${file}'`,
  }),
};

class Typist {
  readonly #child: ChildProcess;
  readonly #report: string;
  screen = '';

  constructor(shell: keyof typeof SHELLS) {
    this.#report = join(lab.folder, `${shell}.report`);
    const file = join(lab.folder, shell === 'zsh' ? '.zshrc' : `${shell}.rc`);
    const { text, command } = SHELLS[shell](file, this.#report);
    writeFileSync(file, text);
    this.#child = spawn('script', ['-qec', command, '/dev/null'], { env: environment(), cwd: lab.folder });
    this.#child.stdout?.on('data', (chunk: Buffer) => (this.screen += chunk.toString()));
  }

  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  said(): string[] {
    return existsSync(this.#report) ? readFileSync(this.#report, 'utf8').split('\n') : [];
  }

  async ready(): Promise<void> {
    let typed = 0;
    await waitUntil(() => {
      if (this.said().length > 0) return true;
      if (Date.now() - typed > RETYPE_MS) {
        this.type(SAY);
        typed = Date.now();
      }
      return false;
    }, PATIENCE_MS);
  }

  /** The line when the shell was last asked. */
  last(): string | undefined {
    return this.said().at(-2)?.trimEnd();
  }

  /** Types, completes and asks; again after a while, since a busy daemon may have been too slow for the shell. */
  async becomes(typed: string, line: string): Promise<void> {
    let at = 0;
    await waitUntil(() => {
      if (this.last() === line) return true;
      if (Date.now() - at > AGAIN_MS) {
        this.type(`${CLEAR}${typed}\t${SAY}`);
        at = Date.now();
      }
      return false;
    }, PATIENCE_MS).catch(() => {});
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }
}

/** What is typed before the tabulator, and the line after it. */
const cases: [typed: string, line: string][] = [
  ['network conn', 'network connect'],
  ['network connect ba', 'network connect backend'],
  ['network connect backend web', 'network connect backend webserver'],
  ['network disconnect backend ', 'network disconnect backend webserver'],
  ['network sandbox cr', 'network sandbox create'],
  ['network sandbox create --hostn', 'network sandbox create --hostname'],
  ['network sandbox create --netns a-fi', 'network sandbox create --netns a-file-to-find'],
  ['network create --driver=br', 'network create --driver=bridge'],
  ['network create -d nu', 'network create -d null'],
  ['network port webserver ', 'network port webserver 80/tcp'],
  ['network rm bridge ba', 'network rm bridge backend'],
  ['network endpoint join lon', 'network endpoint join lonely'],
  ['network endpoint join lonely oth', 'network endpoint join lonely other'],
  ['network endpoint leave backend/t', 'network endpoint leave backend/twice'],
  ['network completion z', 'network completion zsh'],
  ['network exec webserver -- pbt-on', 'network exec webserver -- pbt-only-here'],
];

describe.each(['bash', 'zsh', 'fish'] as const)('%s', (shell) => {
  let typist: Typist;
  beforeAll(async () => {
    typist = new Typist(shell);
    await typist.ready();
  }, 60_000);
  afterAll(() => typist?.close());

  test.each(cases)(
    '%s and the tabulator key make it %s',
    async (typed, line) => {
      await typist.becomes(typed, line);
      expect(typist.last(), typist.screen.slice(-400)).toBe(line);
    },
    60_000,
  );
});

test.each([
  [
    ['sandbox', ''],
    ['create', 'ls', 'inspect', 'rm'],
  ],
  [
    ['sandbox', 'inspect', ''],
    ['other', 'webserver'],
  ],
  [['sandbox', 'rm', 'other', ''], ['webserver']],
  [['connect', '--ip', ''], []],
  [['connect', 'backend', 'webserver', ''], []],
  [['create', ''], []],
  [
    ['create', '--config-from', 'b'],
    ['backend', 'bridge'],
  ],
])('%j can go on with %j', async (words, expected) => {
  expect((await ask(`unix://${lab.socket}`, words)).toSorted()).toEqual(expected.toSorted());
});

/** The values that `network __complete` answers. */
async function ask(host: string, words: readonly string[]): Promise<string[]> {
  const { stdout } = await execa(process.execPath, [join(DIST, 'network.js'), '__complete', '--host', host, ...words]);
  return stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')[0] ?? '']));
}

test('without a daemon, or with one that says nothing, names are no candidates and the shell does not hang', async () => {
  expect(await ask('unix:///nonexistent/pb.sock', ['connect', ''])).toEqual([]);
  expect(await ask('unix:///nonexistent/pb.sock', ['conn'])).toEqual(['connect']);
  const path = join(lab.folder, 'silent.sock');
  const silent = createServer(() => {}).listen(path);
  try {
    await waitUntil(() => existsSync(path), PATIENCE_MS);
    expect(await ask(`unix://${path}`, ['connect', ''])).toEqual([]);
  } finally {
    silent.close();
  }
}, 60_000);

test('names that a shell would take apart are not offered, and control characters are not shown', async () => {
  const path = join(lab.folder, 'lying.sock');
  const names = ['good', '$(reboot)', 'two words', 'a\nb', '`x`', ';x', "it's", '\u001b[31mred'];
  const body = JSON.stringify(names.map((Name) => ({ Name, Driver: 'dri\u001b[2Jver\nbad' })));
  const liar = createHttpServer((_request, response) => response.end(body)).listen(path);
  try {
    await waitUntil(() => existsSync(path), PATIENCE_MS);
    const program = [join(DIST, 'network.js'), '__complete', '--host', `unix://${path}`, 'inspect', ''];
    expect((await execa(process.execPath, program)).stdout).toBe('good\tdri [2Jver bad');
  } finally {
    liar.close();
  }
}, 60_000);
