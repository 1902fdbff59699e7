/** `run`, `exec`, `logs`: exit codes, signals, terminal, `--rm`, as people expect of `docker run`. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { execa } from 'execa';
import type { SandboxAnswer } from '../../src/base/index.ts';
import { DIST, Lab, waitUntil } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', 'net');
});
afterAll(async () => {
  await lab.close();
});

const cliArgs = (...args: string[]): string[] => [join(DIST, 'network.js'), '--host', `unix://${lab.socket}`, ...args];
const names = async (): Promise<string[]> => (await lab.ok('sandbox', 'ls', '--format', '{{.Name}}')).split('\n').filter(Boolean);
const inspect = async (name: string): Promise<SandboxAnswer> =>
  (JSON.parse(await lab.ok('sandbox', 'inspect', name)) as SandboxAnswer[])[0] as SandboxAnswer;

test.each([
  ['its own', ['sh', '-c', 'exit 7'], 7],
  ['128 + n by a signal', ['sh', '-c', 'kill -KILL $$'], 137],
  ['127 for a command that is not there', ['no-such-command'], 127],
  ['126 for one that cannot be executed', ['/etc/passwd'], 126],
  ['0', ['true'], 0],
] as const)('the exit code of a foreground process is %s', async (_what, command, code) => {
  expect((await lab.cli('run', '--rm', '--name', 'job', '--network', 'net', '--', ...command)).exitCode).toBe(code);
  expect(await names()).not.toContain('job');
});

test('without --rm the sandbox stays when the process has ended, joined and resolvable', async () => {
  expect((await lab.cli('run', '--name', 'stays', '--network', 'net', '--', 'echo', 'done')).stdout).toBe('done');
  await waitUntil(async () => (await inspect('stays')).State === 'exited', 20_000);
  await lab.ok('sandbox', 'create', 'asker', '--network', 'net');
  const { Networks } = await inspect('stays');
  expect((await lab.cli('exec', 'asker', '--', 'dig', '+short', 'stays')).stdout).toBe(Networks['net']?.IPAddress);
  await lab.ok('sandbox', 'rm', 'stays', 'asker');
});

test('a process in the background with --rm takes the sandbox with it, also while the daemon was away', async () => {
  const id = await lab.ok('run', '-d', '--rm', '--name', 'brief', '--network', 'net', '--', 'sleep', '0.5');
  expect(id).toMatch(/^[0-9a-f]{64}$/);
  await waitUntil(async () => !(await names()).includes('brief'), 10_000);
  await lab.ok('run', '-d', '--rm', '--name', 'brief', '--network', 'net', '--', 'sleep', '0.7');
  await lab.stop('SIGKILL');
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await lab.start();
  await waitUntil(async () => !(await names()).includes('brief'), 10_000);
});

test('signals are forwarded to the foreground process', async () => {
  const child = spawn(
    lab.node,
    cliArgs(
      'run',
      '--rm',
      '--name',
      'sig',
      '--network',
      'net',
      '--',
      'sh',
      '-c',
      'trap "exit 42" TERM; echo up; while :; do sleep 0.05; done',
    ),
  );
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  expect(await ended).toBe(42);
  expect(await names()).not.toContain('sig');
});

test('on a terminal Ctrl-C reaches the process once, and not the CLI', async () => {
  const inner = [
    'let count = 0;',
    "process.on('SIGINT', () => console.log(`INT ${++count}`));",
    "process.on('SIGQUIT', () => { console.log('bye'); clearTimeout(end); process.exitCode = 3; });",
    'const end = setTimeout(() => {}, 20_000);',
    "console.log(process.stdin.isTTY && process.stdout.isTTY ? 'on a terminal' : 'on no terminal');",
  ].join(' ');
  const command = [lab.node, ...cliArgs('run', '--rm', '--name', 'tty', '--network', 'net', '--', lab.node, '-e', inner)]
    .map((word) => `'${word.replaceAll("'", `'\\''`)}'`)
    .join(' ');
  // A shell that stays in between would die of SIGQUIT: which shell it is, and whether it stays, is the environment's.
  const child = spawn('script', ['-qefc', `exec ${command}`, '/dev/null']);
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await waitUntil(() => text.includes('on a terminal'), 20_000);
  child.stdin.write('\x03');
  await waitUntil(() => text.includes('INT 1'), 20_000);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.stdin.write('\x1c');
  const code = await ended;
  expect({ code, text }).toEqual({ code: 3, text: expect.stringContaining('bye') as string });
  expect(text).not.toContain('INT 2');
});

test('exec has its own exit code and the same view', async () => {
  await lab.ok(
    'run',
    '-d',
    '--name',
    'box',
    '--hostname',
    'boxy',
    '--network',
    'net',
    '--add-host',
    'db:192.0.2.7',
    '--',
    'sleep',
    '100',
  );
  expect((await lab.cli('exec', 'box', '--', 'sh', '-c', 'exit 9')).exitCode).toBe(9);
  const { stdout } = await lab.cli('exec', 'box', '--', 'sh', '-c', 'hostname; getent hosts db; ip -o link | wc -l');
  expect(stdout.split('\n')).toEqual(['boxy', expect.stringMatching(/192\.0\.2\.7\s+db/), '2']);
  expect((await lab.cli('exec', 'nobody', '--', 'true')).stderr).toContain('No such sandbox: nobody');
  await lab.ok('sandbox', 'rm', '-f', 'box');
});

test('logs shows what a background process wrote, and follows until it ends', async () => {
  await lab.ok(
    'run',
    '-d',
    '--name',
    'talker',
    '--network',
    'net',
    '--',
    'sh',
    '-c',
    'for i in 1 2 3; do echo line $i; echo err $i >&2; sleep 0.3; done; echo to stdout >/dev/stdout',
  );
  expect((await lab.cli('logs', '-f', 'talker')).stdout).toBe('line 1\nerr 1\nline 2\nerr 2\nline 3\nerr 3\nto stdout');
  expect((await lab.cli('logs', 'talker')).stdout).toContain('line 3');
  await lab.ok('sandbox', 'rm', '-f', 'talker');
});

test('the log of a process that writes without end stays bounded, its end is kept', async () => {
  await lab.ok(
    'run',
    '-d',
    '--name',
    'flood',
    '--network',
    'net',
    '--',
    'sh',
    '-c',
    'head -c 30000000 /dev/zero | tr "\\0" x; echo THE END; sleep 100',
  );
  const { Files } = await inspect('flood');
  // Not there for a moment whenever it is turned over.
  const isWritten = async (): Promise<boolean> =>
    (await execa('tail', ['-c', '8', Files.OutputLog], { reject: false, stripFinalNewline: false })).stdout === 'THE END\n';
  await waitUntil(isWritten, 15_000);
  const { stdout } = await execa('du', ['-cb', Files.OutputLog, `${Files.OutputLog}.1`]);
  expect(Number(/(\d+)\s+total/.exec(stdout)?.[1])).toBeLessThanOrEqual(16 * 1024 * 1024);
  await lab.ok('sandbox', 'rm', '-f', 'flood');
});

test('a forced removal ends a process that ignores SIGTERM', { timeout: 30_000 }, async () => {
  await lab.ok(
    'run',
    '-d',
    '--name',
    'stubborn',
    '--network',
    'net',
    '--',
    'sh',
    '-c',
    'trap "" TERM; while :; do sleep 0.1; done',
  );
  const { Process } = await inspect('stubborn');
  await lab.ok('sandbox', 'rm', '-f', 'stubborn');
  // Nobody waits for it but PID 1: dead is enough.
  await waitUntil(
    () => !existsSync(`/proc/${Process?.Pid}/stat`) || / Z /.test(readFileSync(`/proc/${Process?.Pid}/stat`, 'utf8')),
    5000,
  );
});

test('a command that does not see the mounts of the daemon says so', async () => {
  await lab.ok('sandbox', 'create', 'unseen');
  const { Netns } = await inspect('unseen');
  const script = 'umount "$0" && exec "$@"';
  const command = [lab.node, ...cliArgs('exec', 'unseen', '--', 'true')];
  const { exitCode, stderr } = await execa('unshare', ['-m', 'sh', '-c', script, Netns, ...command], { reject: false });
  expect([exitCode, stderr]).toEqual([125, expect.stringMatching(/is not a namespace: .*mount namespace of the daemon/)]);
  await lab.ok('sandbox', 'rm', 'unseen');
});

test('a command begins when the daemon knows its process, and never when the client died before', async () => {
  const done = join(lab.folder, 'done');
  const door = join(lab.folder, 'door.sock');
  let open = (): void => {};
  let asked: (pid: number) => void = () => {};
  const server = createServer((client) => {
    const daemon = connect(lab.socket);
    for (const [from, to] of [
      [client, daemon],
      [daemon, client],
    ] as const)
      from.on('error', () => to.destroy()).on('close', () => to.destroy());
    daemon.pipe(client);
    client.on('data', (chunk) => {
      const pid = /"Pid":(\d+)/.exec(chunk.toString())?.[1];
      if (pid === undefined) return void daemon.write(chunk);
      open = () => daemon.write(chunk);
      asked(Number(pid));
    });
  });
  await new Promise<void>((resolve) => server.listen(door, resolve));
  const start = async (): Promise<{ readonly child: ChildProcess; readonly pid: number }> => {
    const declared = new Promise<number>((resolve) => (asked = resolve));
    const args = [join(DIST, 'network.js'), '--host', `unix://${door}`, 'run', '--name', 'held', '--', 'touch', done];
    const child = spawn(lab.node, args);
    return { child, pid: await declared };
  };
  try {
    const killed = await start();
    await waitUntil(() => commandOf(killed.pid) === 'sh', 5000);
    killed.child.kill('SIGKILL');
    await waitUntil(() => commandOf(killed.pid) === undefined, 5000);
    expect(existsSync(done)).toBe(false);
    await lab.ok('sandbox', 'rm', 'held');

    const { child } = await start();
    const ended = new Promise((resolve) => child.once('exit', resolve));
    open();
    expect(await ended).toBe(0);
    expect(existsSync(done)).toBe(true);
    // However short it was: its end is known.
    await waitUntil(async () => (await inspect('held')).State === 'exited', 20_000);
    await lab.ok('sandbox', 'rm', 'held');
  } finally {
    server.close();
  }
});

function commandOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

test('a run that cannot have what it asks for leaves nothing', async () => {
  expect((await lab.cli('run', '--name', 'bad', '--network', 'nowhere', '--', 'true')).exitCode).toBe(1);
  expect((await lab.cli('run', '--name', 'bad', '--network', 'net', '-p', '80:80:80:80', '--', 'true')).exitCode).toBe(125);
  expect((await lab.cli('run', '--network', 'net', '--', 'true')).exitCode).toBe(125);
  expect(await names()).toEqual([]);
  await lab.ok('rm', 'net');
  expect(await lab.leftovers()).toEqual([]);
  expect(lab.log).not.toMatch(/"level":50/);
});
