import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createNetns, currentNetns, openNetns, pinNetns, removeNetnsPin } from '../../src/kernel/index.ts';
import { hostAt, runProgram, testFolder, testHosts } from './support.ts';

const here = (): string => readlinkSync('/proc/thread-self/ns/net');

describe('a network namespace', () => {
  test('is created empty, entered, left, and gone after its pin is removed', () => {
    const pin = join(testFolder(), 'ns');
    const home = here();
    const ns = createNetns(pin);
    expect(here()).toBe(home);
    const inside = ns.run(() => ({
      link: here(),
      devices: readFileSync('/proc/thread-self/net/dev', 'utf8').split('\n').slice(2, -1),
    }));
    expect(inside.link).not.toBe(home);
    expect(inside.devices.map((line) => line.split(':')[0]?.trim())).toEqual(['lo']);
    expect(here()).toBe(home);
    ns[Symbol.dispose]();
    removeNetnsPin(pin);
    expect(existsSync(pin)).toBe(false);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(pin);
  });

  test('keeps its identity however it is opened, and a successor at the same path has another one', () => {
    const folder = testFolder();
    const pin = join(folder, 'a');
    using first = createNetns(pin);
    using again = openNetns(pin);
    expect(again.identity).toBe(first.identity);
    using other = pinNetns(first, join(folder, 'b'));
    expect(other.identity).toBe(first.identity);
    const seen = new Set([first.identity]);
    for (const ns of [first, again, other]) ns[Symbol.dispose]();
    removeNetnsPin(join(folder, 'b'));
    for (let i = 0; i < 5; i++) {
      removeNetnsPin(pin);
      using next = createNetns(pin);
      expect(seen.has(next.identity)).toBe(false);
      seen.add(next.identity);
    }
    removeNetnsPin(pin);
  });

  test('outlives its first pin through a pin of our own', async () => {
    const [a] = await testHosts(1);
    const pin = join(testFolder(), 'own');
    if (a === undefined) throw new Error('no host');
    using own = pinNetns(a.host, pin);
    removeNetnsPin(a.path);
    expect(own.run(here)).toBe(a.host.run(here));
    removeNetnsPin(pin);
  });

  test('may be entered from inside another one and comes back to it, also after an error', async () => {
    const hosts = await testHosts(2);
    const outer = hostAt(hosts, 0).host;
    const inner = hostAt(hosts, 1).host;
    const home = here();
    const names = outer.run(() => {
      const before = here();
      const nested = inner.run(() => [here(), outer.run(here)]);
      expect(() =>
        inner.run(() => {
          throw new Error('inside');
        }),
      ).toThrow('inside');
      return [before, ...nested, here()];
    });
    expect(names[0]).toBe(names[3]);
    expect(names[0]).toBe(names[2]);
    expect(names[1]).not.toBe(names[0]);
    expect(names).not.toContain(home);
    expect(here()).toBe(home);
  });

  test('refuses asynchronous work, by type and at run time', async () => {
    const host = hostAt(await testHosts(1), 0).host;
    const home = here();
    // @ts-expect-error a promise is not a value that run returns
    expect(() => host.run(async () => 1)).toThrow('synchronous');
    // @ts-expect-error nor is any other thenable
    expect(() => host.run((): PromiseLike<number> => Promise.resolve(1))).toThrow('synchronous');
    const untyped: () => unknown = () => Promise.reject(new Error('nobody waits for this'));
    expect(() => host.run(untyped as () => number)).toThrow('synchronous');
    expect(here()).toBe(home);
  });

  test.each(['main', 'worker'])('that cannot be left ends the process at once (%s thread)', async (thread) => {
    const work = (kernel: string): string => `
      import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
      import { Worker, isMainThread } from 'node:worker_threads';
      import { createNetns, removeNetnsPin } from '${kernel}/netns.ts';
      function leaveNoWay() {
        const pin = process.argv[2] + '/pin';
        const home = readlinkSync('/proc/thread-self/ns/net');
        const ns = createNetns(pin);
        ns.run(() => {
          removeNetnsPin(pin);
          // Every descriptor of the namespace to go back to.
          for (const fd of readdirSync('/proc/self/fd')) {
            try {
              if (readlinkSync('/proc/self/fd/' + fd) === home) closeSync(Number(fd));
            } catch {}
          }
          console.log('inside');
        });
        console.log('outside');
      }
      if (isMainThread && ${JSON.stringify(thread)} === 'worker') new Worker(process.argv[1], { argv: process.argv.slice(2) });
      else leaveNoWay();`;
    const { signal, stdout } = await runProgram(work);
    expect(signal).toBe('SIGABRT');
    expect(stdout).not.toContain('outside');
  });

  test('is inherited by children started inside', async () => {
    const host = hostAt(await testHosts(1), 0).host;
    const child = host.run(() => spawnSync('readlink', ['/proc/self/ns/net'], { encoding: 'utf8' }).stdout.trim());
    expect(child).toBe(host.run(here));
    expect(child).not.toBe(here());
  });

  test('that is current is home outside run, and the entered one inside', async () => {
    const host = hostAt(await testHosts(1), 0).host;
    using inside = host.run(() => currentNetns());
    using home = currentNetns();
    expect(inside.identity).toBe(host.identity);
    expect(home.identity).not.toBe(host.identity);
  });

  test('is refused when closed', async () => {
    const folder = testFolder();
    const ns = createNetns(join(folder, 'x'));
    ns[Symbol.dispose]();
    ns[Symbol.dispose]();
    expect(() => ns.run(() => 1)).toThrow('closed');
    removeNetnsPin(join(folder, 'x'));
  });
});

describe('a path that is no network namespace', () => {
  test.each([
    ['a regular file', '/etc/hostname'],
    ['a device', '/dev/null'],
    ['a folder', '/tmp'],
    ['another kind of namespace', '/proc/self/ns/mnt'],
    ['nothing', '/nonexistent/ns'],
  ])('%s is refused', (_, path) => {
    expect(() => openNetns(path)).toThrow(expect.objectContaining({ code: 'bad_netns' }));
  });

  test('a pipe without a writer is refused without waiting', () => {
    const path = join(testFolder(), 'pipe');
    execFileSync('mkfifo', [path]);
    expect(() => openNetns(path)).toThrow(expect.objectContaining({ code: 'bad_netns' }));
  });
});

describe('removing a pin', () => {
  test('accepts what is gone and takes an empty file, as a crash may leave', () => {
    const folder = testFolder();
    removeNetnsPin(join(folder, 'gone'));
    const empty = join(folder, 'empty');
    writeFileSync(empty, '');
    removeNetnsPin(empty);
    expect(existsSync(empty)).toBe(false);
  });

  test('refuses files with content and folders', () => {
    const folder = testFolder();
    const file = join(folder, 'file');
    writeFileSync(file, 'precious');
    mkdirSync(join(folder, 'sub'));
    expect(() => removeNetnsPin(file)).toThrow('not a namespace pin');
    expect(() => removeNetnsPin(join(folder, 'sub'))).toThrow('not a namespace pin');
    expect(readFileSync(file, 'utf8')).toBe('precious');
  });

  test('takes every mount that lies on it', async () => {
    const host = hostAt(await testHosts(1), 0);
    execFileSync('mount', ['--bind', host.path, host.path]);
    removeNetnsPin(host.path);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(host.path);
  });

  test('creating over an existing file fails and leaves the file', () => {
    const file = join(testFolder(), 'there');
    writeFileSync(file, 'x');
    expect(() => createNetns(file)).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    expect(readFileSync(file, 'utf8')).toBe('x');
  });
});
