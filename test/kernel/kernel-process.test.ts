import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import {
  lockFile,
  missingCapabilities,
  isPeerGone,
  peerCredentials,
  probeKernel,
  processStartTime,
  requireCapabilities,
  requireKernel,
  signalProcess,
  watchProcess,
} from '../../src/kernel/index.ts';
import { hasSlices, runProgram, testFolder } from './support.ts';

const children: ChildProcess[] = [];

function start(
  command: string,
  args: readonly string[],
  stdio: ('ignore' | 'pipe' | number)[] = ['ignore', 'pipe', 'ignore'],
): ChildProcess & { pid: number } {
  const child = spawn(command, args, { stdio });
  children.push(child);
  if (child.pid === undefined) throw new Error(`${command} did not start`);
  return child as ChildProcess & { pid: number };
}

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

const exited = (child: ChildProcess): Promise<unknown> =>
  (child.exitCode ?? child.signalCode) === null ? once(child, 'exit') : Promise.resolve();

describe('a watched process', () => {
  test('is told to have ended, once, also when it is not our child', async () => {
    // The shell prints the pid of a grandchild and goes.
    const shell = start('sh', ['-c', 'sleep 0.3 & echo $!']);
    if (shell.stdout === null) throw new Error('no output');
    const [line] = (await once(shell.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    let calls = 0;
    await new Promise<void>((done) => {
      watchProcess(pid, () => {
        calls++;
        done();
      });
    });
    expect(processStartTime(pid)).toBeUndefined();
    await new Promise((done) => setTimeout(done, 20));
    expect(calls).toBe(1);
  });

  test('may end while nobody looks, and is no longer told after close', async () => {
    const quiet = start('sleep', ['5']);
    const seen: string[] = [];
    const watch = watchProcess(quiet.pid, () => seen.push('closed'));
    watchProcess(quiet.pid, () => seen.push('open'));
    watch.close();
    watch.close();
    quiet.kill('SIGKILL');
    await exited(quiet);
    await new Promise((done) => setTimeout(done, 20));
    expect(seen).toEqual(['open']);
    expect(() => watchProcess(quiet.pid, () => {})).toThrow(expect.objectContaining({ errno: 'ESRCH' }));
  });

  test('may be one of hundreds, without a thread for each', async () => {
    const before = readFileSync('/proc/self/status', 'utf8').match(/^Threads:\s*(\d+)/m)?.[1];
    const parent = start(
      'sh',
      ['-c', 'exec 3<&0; for i in $(seq 200); do cat <&3 >/dev/null & echo $!; done; wait'],
      ['pipe', 'pipe', 'ignore'],
    );
    if (parent.stdout === null || parent.stdin === null) throw new Error('no output');
    let text = '';
    for await (const chunk of parent.stdout) {
      text += String(chunk);
      if (text.trim().split('\n').length === 200) break;
    }
    const ends = text
      .trim()
      .split('\n')
      .map((pid) => new Promise<void>((done) => void watchProcess(Number(pid), done)));
    expect(readFileSync('/proc/self/status', 'utf8').match(/^Threads:\s*(\d+)/m)?.[1]).toBe(before);
    parent.stdin.end();
    await Promise.all(ends);
    expect(ends).toHaveLength(200);
  });

  test('does not keep the watcher alive', async () => {
    const { stdout, timedOut } = await runProgram(
      (kernel) => `import { watchProcess } from '${kernel}/pidfd.ts'; watchProcess(1, () => {}); console.log('watching');`,
    );
    expect(timedOut).toBe(false);
    expect(stdout).toBe('watching');
  });
});

describe('slices', () => {
  test('are those that were asked for, in threads that are started later and over a restart too, and its niceness stays', async () => {
    const { stdout, stderr } = await runProgram(
      (kernel) => `
        import { Worker, isMainThread } from 'node:worker_threads';
        import { readFileSync, readdirSync } from 'node:fs';
        import { setPriority, getPriority } from 'node:os';
        import { askForSlices } from '${kernel}/slice.ts';
        import * as libc from '${kernel}/libc.ts';
        const slice = (thread) => Number(/^se\\.slice +: +(\\d+)$/m.exec(readFileSync('/proc/self/task/' + thread + '/sched', 'utf8'))?.[1]);
        if (isMainThread && process.env.AGAIN === undefined) {
          setPriority(3);
          console.log('granted', askForSlices(300));
          libc.execute(process.execPath, [process.execPath, ...process.argv.slice(1)], ['AGAIN=1', 'NODE_PATH=' + process.env.NODE_PATH]);
        } else if (isMainThread) {
          new Worker(new URL('file://' + process.argv[1]), { env: process.env });
          setTimeout(() => {
            console.log('slices', [...new Set(readdirSync('/proc/self/task').map(slice))].join(), 'nice', getPriority());
            process.exit();
          }, 500);
        } else setInterval(() => {}, 1000);`,
    );
    // Before Linux 6.12 there is no such wish, and it is no error.
    const wanted = hasSlices() ? /^granted 300\nslices 300000 nice 3$/ : /^granted 0\nslices .* nice 3$/;
    expect(stdout, stderr).toMatch(wanted);
  });
});

describe('a process', () => {
  test('keeps its start time, and differs by it from others', async () => {
    const first = start('sleep', ['5']);
    await new Promise((done) => setTimeout(done, 30));
    const second = start('sleep', ['5']);
    expect(processStartTime(first.pid)).toMatch(/^\d+$/);
    expect(processStartTime(first.pid)).toBe(processStartTime(first.pid));
    expect(processStartTime(second.pid)).not.toBe(processStartTime(first.pid));
    expect(processStartTime(2 ** 22 + 1)).toBeUndefined();
  });

  test('whose name is hostile is read all the same', async () => {
    const child = start('bash', ['-c', 'printf ") 1 2 3 (" > /proc/self/comm; echo ready; read -t 5 x < <(sleep 5)']);
    if (child.stdout === null) throw new Error('no output');
    await once(child.stdout, 'data');
    expect(readFileSync(`/proc/${child.pid}/comm`, 'utf8')).toContain(') 1 2 3 (');
    expect(Number(processStartTime(child.pid))).toBeGreaterThan(100);
  });

  test('is signalled only while it is the one that was meant', async () => {
    const child = start('sleep', ['5']);
    expect(signalProcess(child.pid, 'SIGTERM', '1')).toBe(false);
    expect(child.exitCode).toBeNull();
    const startTime = processStartTime(child.pid);
    if (startTime === undefined) throw new Error('not alive');
    expect(signalProcess(child.pid, 'SIGTERM', startTime)).toBe(true);
    await exited(child);
    expect(child.signalCode).toBe('SIGTERM');
    expect(signalProcess(child.pid, 'SIGTERM')).toBe(false);
  });
});

describe('a lock file', () => {
  test('is held by one at a time and names its holder', async () => {
    const path = join(testFolder(), 'lock');
    const lock = await lockFile(path);
    await expect(lockFile(path)).rejects.toMatchObject({
      code: 'daemon_running',
      message: expect.stringContaining(`process ${process.pid} holds`),
    });
    lock.close();
    lock.close();
    (await lockFile(path)).close();
  });

  test('is no link: what that names is not written over', async () => {
    const folder = testFolder();
    writeFileSync(join(folder, 'precious'), 'kept');
    symlinkSync(join(folder, 'precious'), join(folder, 'lock'));
    await expect(lockFile(join(folder, 'lock'))).rejects.toMatchObject({
      code: 'bad_config',
      message: expect.stringContaining(`${join(folder, 'lock')} is a link`),
    });
    expect(readFileSync(join(folder, 'precious'), 'utf8')).toBe('kept');
  });

  test('stays held by a child that inherited the descriptor, until that ends', async () => {
    const path = join(testFolder(), 'lock');
    const lock = await lockFile(path);
    const child = start('sleep', ['5'], ['ignore', 'pipe', 'ignore', lock.fd]);
    lock.close();
    await expect(lockFile(path)).rejects.toThrow('holds');
    child.kill('SIGKILL');
    await exited(child);
    (await lockFile(path)).close();
  });

  test('is not inherited by other children', async () => {
    const path = join(testFolder(), 'lock');
    const lock = await lockFile(path);
    start('sleep', ['5']);
    lock.close();
    (await lockFile(path)).close();
  });

  test('is free again when its holder was killed', async () => {
    const path = join(testFolder(), 'lock');
    const holder = start('flock', [path, 'sh', '-c', 'echo held; exec sleep 5']);
    if (holder.stdout === null) throw new Error('no output');
    await once(holder.stdout, 'data');
    await expect(lockFile(path)).rejects.toThrow('another process holds');
    const sleeper = readFileSync(`/proc/${holder.pid}/task/${holder.pid}/children`, 'utf8').trim();
    signalProcess(Number(sleeper), 'SIGKILL');
    await exited(holder);
    (await lockFile(path)).close();
  });

  test('is waited for while only children of a dead holder have it', async () => {
    const path = join(testFolder(), 'lock');
    const lock = await lockFile(path);
    const child = start('sleep', ['60'], ['ignore', 'pipe', 'ignore', lock.fd]);
    lock.close();
    // As a killed daemon left it: this process, but an earlier one by its start.
    writeFileSync(path, `${process.pid} 1\n`);
    let isOurs = false;
    const waiting = lockFile(path).then((ours) => {
      isOurs = true;
      return ours;
    });
    await expect(lockFile(join(path, 'x'))).rejects.toThrow('ENOTDIR');
    expect(isOurs).toBe(false);
    child.kill('SIGKILL');
    await exited(child);
    (await waiting).close();
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid} ${processStartTime(process.pid)}\n`);
  });
});

test('the peer of a unix socket that only ends sending is there, one that has closed is gone', async () => {
  const path = join(testFolder(), 'socket');
  const server = createServer({ allowHalfOpen: true }).listen(path);
  await once(server, 'listening');
  const client = connect({ path, allowHalfOpen: true });
  const [accepted] = (await once(server, 'connection')) as [Socket & { _handle: { fd: number } }];
  const { fd } = accepted._handle;
  expect(isPeerGone(fd)).toBe(false);
  accepted.resume();
  client.end();
  await once(accepted, 'end');
  expect(isPeerGone(fd)).toBe(false);
  client.destroy();
  await once(client, 'close');
  expect(isPeerGone(fd)).toBe(true);
  accepted.destroy();
  server.close();
});

test('the peer of a unix socket is known by process, user and group', async () => {
  const path = join(testFolder(), 'socket');
  const server = createServer().listen(path);
  await once(server, 'listening');
  const client = connect(path);
  const [accepted] = (await once(server, 'connection')) as [Socket & { _handle: { fd: number } }];
  expect(peerCredentials(accepted._handle.fd)).toEqual({ pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
  client.destroy();
  accepted.destroy();
  server.close();
});

/** Namespaces and sockets that this process holds open. */
const held = (): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return /^(net|socket):/.test(target) ? [target] : [];
    } catch {
      return [];
    }
  });

describe('the probe', () => {
  test('finds what this kernel has and leaves nothing', async () => {
    const before = held();
    const found = await probeKernel();
    for (const feature of ['veth', 'bridge', 'macvlan', 'vxlan', 'nf_tables', 'conntrack', 'xt'] as const)
      expect(found[feature]).toBe(true);
    for (const feature of ['ipvlan', 'vlan', 'dummy'] as const) expect(typeof found[feature]).toBe('boolean');
    // Some sockets are closed off the thread.
    await expect.poll(held, { timeout: 10_000 }).toEqual(before);
    expect(await probeKernel()).toEqual(found);
  });

  test('refuses with one sentence that names what is missing', async () => {
    await requireKernel(['veth', 'bridge']);
    const found = await probeKernel();
    const missing = (['ipvlan', 'vlan', 'dummy'] as const).filter((feature) => !found[feature]);
    const outcome = await requireKernel(['veth', ...missing]).then(
      () => 'has all',
      (error: unknown) => String(error),
    );
    expect(outcome).toMatch(missing.length === 0 ? 'has all' : new RegExp(`the kernel lacks ${missing.join('.*')}`));
  });
});

test('this process has the capabilities that it needs', () => {
  expect(missingCapabilities()).toEqual([]);
  requireCapabilities();
});
