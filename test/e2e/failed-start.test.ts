/** A start that fails leaves nothing behind on a machine that has nothing of ours: no rule, no link, no route, no keeper. */

import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DIST, Lab, mountsUnder, waitUntil } from './lab.ts';

const NOBODY = 65_534;

let lab: Lab;
let folder: string;
beforeAll(async () => {
  lab = await Lab.open();
  folder = join(lab.folder, 'other');
  const loopish = ['link add loopish type bridge', 'addr add 127.9.0.1/16 dev loopish', 'link set loopish up'];
  for (const words of loopish) await lab.in('outside', 'ip', ...words.split(' '));
  // The kernel gives it to the wire a moment after the wire is up.
  const linkLocal = ['-6', 'addr', 'show', 'dev', 'wire0', 'scope', 'link', '-tentative'];
  await waitUntil(async () => (await lab.in('outside', 'ip', ...linkLocal)).stdout.includes('fe80'), 30_000);
});
afterAll(async () => {
  await lab.close();
});

/** What a daemon may make in the namespace of the outside world, where none has run. */
async function world(): Promise<unknown> {
  const run = async (...words: [string, ...string[]]): Promise<string[]> =>
    (await lab.in('outside', ...words)).stdout.split('\n').filter(Boolean);
  return {
    rules: [...(await run('iptables-save')), ...(await run('ip6tables-save'))].filter((line) => line.includes('PATCHBAY')),
    tables: (await run('nft', 'list', 'tables')).filter((line) => line.includes('patchbay')),
    links: (await run('ip', '-o', 'link')).map((line) => line.split(':')[1]),
    addresses: (await run('ip', '-o', 'addr')).map((line) => line.split(/\s+/).slice(1, 4)),
    routes: await run('ip', 'route'),
    forwarding: await run('sysctl', 'net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding'),
    policy: (await run('iptables', '-S', 'FORWARD')).slice(0, 1),
  };
}

const keepers = async (): Promise<string> => (await lab.in('host', 'pgrep', '-f', join(folder, 'run'))).stdout;

test.each([
  [['--bridge', 'missing0'], /missing0: there is no such link/, 'bad_config'],
  [['--bridge', 'wire0'], /wire0: it is not a bridge/, 'bad_config'],
  [['--bridge', 'loopish'], /127\.9\.0\.0\/16.*loopback/, 'bad_subnet'],
  [['--default-address-pool', 'base=10.0.0.0/24,size=8'], /size/, 'bad_'],
  [['--group', 'nosuch'], /nosuch: there is no such group/, 'bad_config'],
  [['--group', '4294967295'], /4294967295: there is no such group/, 'bad_config'],
])('%j', { timeout: 120_000 }, async (flags, says, code) => {
  const before = await world();
  const { exitCode, stderr } = await start('--host', `unix://${join(lab.folder, 'other.sock')}`, ...flags);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(says);
  expect(stderr).toContain(`patchbayd: ${code}`);
  await leavesNothing(before);
});

test('a socket that another daemon serves', { timeout: 120_000 }, async () => {
  const before = await world();
  const { exitCode, stderr } = await start('--host', `unix://${lab.socket}`);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/another daemon serves/);
  await leavesNothing(before);
  expect(await lab.ok('ls', '-q')).not.toBe('');
});

test.each([
  ['the socket', (): string => join(lab.folder, 'text')],
  ['the socket of a plugin', (): string => join(folder, 'plugin', 'patchbay-bridge.sock')],
])('a file in the place of %s is nobody’s to take away', { timeout: 120_000 }, async (_what, place) => {
  const path = place();
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, 'kept');
  const before = await world();
  const socket = path.endsWith('.sock') ? join(lab.folder, 'other.sock') : path;
  const { exitCode, stderr } = await start('--host', `unix://${socket}`);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/is there and is no socket/);
  expect(stderr).toContain('patchbayd: bad_config');
  expect(readFileSync(path, 'utf8')).toBe('kept');
  await leavesNothing(before);
});

test('a state directory that has things of others, whose rights stay', { timeout: 120_000 }, async () => {
  const before = await world();
  const shared = join(lab.folder, 'shared');
  mkdirSync(shared, { mode: 0o755 });
  writeFileSync(join(shared, 'text'), 'kept');
  const { exitCode, stderr } = await start('--host', `unix://${join(lab.folder, 'other.sock')}`, '--state-dir', shared);
  expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/shared: "text" is there: use a folder[^]*bad_config/)]);
  expect([statSync(shared).mode & 0o777, readdirSync(shared)]).toEqual([0o755, ['text']]);
  await leavesNothing(before);
});

test.each([
  ['--state-dir', '', NOBODY, 0o700, /belongs to user 65534: chown it to root/],
  ['--run-dir', '', NOBODY, 0o755, /belongs to user 65534: chown it to root/],
  ['--run-dir', '', 0, 0o777, /others may write in .*: chmod go-w it/],
  ['--run-dir', 'netns', 0, 0o777, /others may write in .*netns: chmod go-w it/],
  ['--run-dir', 'keeper', NOBODY, 0o777, /keeper belongs to user 65534/],
])('%s, its folder %j of user %i with mode %o: it is others’ too', { timeout: 120_000 }, async (flag, name, uid, mode, says) => {
  const before = await world();
  const given = join(lab.folder, 'given');
  mkdirSync(join(given, name), { recursive: true });
  chownSync(join(given, name), uid, 0);
  chmodSync(join(given, name), mode);
  const { exitCode, stderr } = await start('--host', `unix://${join(lab.folder, 'other.sock')}`, flag, given);
  expect([exitCode, stderr]).toEqual([1, expect.stringMatching(says)]);
  expect(stderr).toContain('patchbayd: bad_config');
  expect([statSync(join(given, name)).mode & 0o7777, existsSync(join(given, 'store'))]).toEqual([mode, false]);
  rmSync(given, { recursive: true });
  await leavesNothing(before);
});

test.each([
  ['sandboxes', 'netns'],
  ['netns', 'keeper'],
  ['keeper', '.'],
])('a run directory whose folder %s is %s too', { timeout: 120_000 }, async (name, other) => {
  const before = await world();
  const given = join(lab.folder, 'given');
  mkdirSync(join(given, other), { recursive: true });
  symlinkSync(other, join(given, name));
  const { exitCode, stderr } = await start('--host', `unix://${join(lab.folder, 'other.sock')}`, '--run-dir', given);
  expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/are one folder: remove the link/)]);
  expect(stderr).toContain('patchbayd: bad_config');
  rmSync(given, { recursive: true });
  await leavesNothing(before);
});

test.each([
  ['--state-dir', '/proc/patchbay/state'],
  ['--state-dir', '/etc/passwd'],
  ['--run-dir', '/proc/patchbay/run'],
  ['--run-dir', '/etc/passwd'],
  ['--host', 'unix:///proc/patchbay/other.sock'],
  ['--host', 'unix:///etc/passwd/other.sock'],
  ['--plugin-dir', '/proc/patchbay/plugins'],
])('%s %s, where no folder can be made', { timeout: 120_000 }, async (flag, value) => {
  const before = await world();
  const socket = flag === '--host' ? [] : ['--host', `unix://${join(lab.folder, 'other.sock')}`];
  const { exitCode, stderr } = await start(...socket, flag, value);
  expect([exitCode, stderr]).toEqual([1, expect.stringContaining(`patchbayd: ${flag} ${value}: `)]);
  expect(stderr).toContain('patchbayd: bad_config');
  await leavesNothing(before);
});

test('plugins that another daemon serves', { timeout: 120_000 }, async () => {
  const before = await world();
  const flags = ['--host', `unix://${join(lab.folder, 'other.sock')}`, '--plugin-dir', join(lab.folder, 'plugins')];
  const { exitCode, stderr } = await start(...flags);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/another process serves .*patchbay-bridge\.sock/);
  await leavesNothing(before);
});

test('a bridge that is missing, with networks there already: they stay as they were', { timeout: 120_000 }, async () => {
  await lab.ok('create', 'net');
  await lab.ok('sandbox', 'create', '--network', 'net', '-p', '8080:80', 'box');
  const rules = async (): Promise<string> => (await lab.in('host', 'iptables-save')).stdout.replaceAll(/\[\d+:\d+\]|^#.*$/gm, '');
  const before = await rules();
  await lab.stop();
  await expect(lab.start(['--bridge', 'missing0'])).rejects.toThrow(/missing0: there is no such link/);
  lab.daemon = undefined;
  expect(await rules()).toBe(before);
  await lab.start();
  expect(await lab.ok('port', 'box')).toContain('8080');
});

function start(...flags: string[]) {
  const folders = ['state', 'run', 'plugin'].flatMap((name) => [`--${name}-dir`, join(folder, name)]);
  return lab.in('outside', 'timeout', '60', lab.node, join(DIST, 'patchbayd.js'), ...folders, ...flags);
}

async function leavesNothing(before: unknown): Promise<void> {
  expect(await world()).toEqual(before);
  const made = ['netns', 'sandboxes'].map((name) => join(folder, 'run', name)).filter(existsSync);
  expect(made.flatMap((path) => readdirSync(path))).toEqual([]);
  expect(mountsUnder(folder)).toEqual([]);
  // A keeper that was started ends by itself after five seconds with nothing to keep.
  await waitUntil(async () => (await keepers()) === '', 60_000);
  rmSync(folder, { recursive: true, force: true });
}
