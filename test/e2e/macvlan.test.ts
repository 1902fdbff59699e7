/** Networks of macvlan by the command line tool: the usual command, traffic over kills of the daemon, a parent that goes. */

import { type ChildProcess, spawn } from 'node:child_process';
import { afterEach, expect, test } from 'vitest';
import type { NetworkJson } from '../../src/base/index.ts';
import { Lab, waitUntil } from './lab.ts';

const open: Lab[] = [];
const children: ChildProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const lab of open.splice(0)) await lab.close();
});

const CREATE = ['create', '-d', 'macvlan', '--subnet=10.0.0.0/24', '--ip-range=10.0.0.0/25', '--gateway=10.0.0.1'] as const;
/** A look of the daemon's is five seconds after the last one. */
const LOOK_MS = 20_000;

/** A machine whose `lan0` leads to the outside, where the router lives. */
async function lanLab(): Promise<Lab> {
  const lab = await Lab.open();
  open.push(lab);
  await plugIn(lab);
  return lab;
}

async function plugIn(lab: Lab): Promise<void> {
  await done(lab, 'host', 'ip', 'link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'lan0', 'netns', lab.outside);
  await done(lab, 'host', 'ip', 'link', 'set', 'lan0', 'up');
  await done(lab, 'outside', 'ip', 'addr', 'add', '10.0.0.1/24', 'dev', 'lan0');
  await done(lab, 'outside', 'ip', 'link', 'set', 'lan0', 'up');
}

async function done(lab: Lab, where: 'host' | 'outside', command: string, ...args: string[]): Promise<string> {
  const { stdout, stderr, exitCode } = await lab.in(where, command, ...args);
  if (exitCode !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const inspect = async (lab: Lab): Promise<NetworkJson> => (JSON.parse(await lab.ok('inspect', 'mymacvlan')) as [NetworkJson])[0];

const SERVE = "require('http').createServer((q, r) => r.end('hello\\n')).listen(80)";

/** The page as it is answered outside, once the server listens. */
async function fetched(lab: Lab, address: string, where: 'host' | 'outside' = 'outside'): Promise<void> {
  const get = async (): Promise<boolean> =>
    (await lab.in(where, 'curl', '-s', '-m', '2', `http://${address}/`)).stdout === 'hello';
  await waitUntil(get, LOOK_MS);
}

test('the usual command: a network, a process on it, names, the outside, and nothing left', async () => {
  const lab = await lanLab();
  const made = await lab.cli(...CREATE, '-o', 'parent=lan0', 'mymacvlan');
  expect(made.stderr).toContain('do not reach each other by the parent: -o host_access=true');
  const created = await lab.cli(...CREATE, '-o', 'parent=lan0', 'mymacvlan');
  expect(created.stderr).toContain('network with name mymacvlan already exists');
  await lab.ok('run', '-d', '--name', 'web', '--network', 'mymacvlan', '--', lab.node, '-e', SERVE);
  await lab.ok('run', '-d', '--name', 'maria', '--network', 'mymacvlan', '--', 'sleep', '600');
  const { Containers, Driver, Options, IPAM } = await inspect(lab);
  expect({ Driver, Options }).toEqual({ Driver: 'macvlan', Options: { parent: 'lan0' } });
  expect(IPAM.Config).toEqual([{ Subnet: '10.0.0.0/24', IPRange: '10.0.0.0/25', Gateway: '10.0.0.1' }]);
  const web = Object.values(Containers ?? {}).find(({ Name }) => Name === 'web');
  // The router has the first address.
  expect(web?.IPv4Address).toBe('10.0.0.2/24');
  await fetched(lab, '10.0.0.2');
  expect(await lab.ok('exec', 'maria', '--', 'getent', 'hosts', 'web')).toMatch(/^10\.0\.0\.2\s+web$/);
  expect(await lab.ok('exec', 'maria', '--', 'curl', '-s', 'http://web/')).toBe('hello');
  // Other names are asked for outside, which is behind the daemon's own way here.
  expect(await lab.ok('exec', 'maria', '--', 'getent', 'hosts', 'host.example')).toContain('203.0.113.7');
  expect((await lab.cli('rm', 'mymacvlan')).stderr).toContain('has active endpoints');
  await lab.ok('sandbox', 'rm', '-f', 'web', 'maria');
  await lab.ok('rm', 'mymacvlan');
  expect(await done(lab, 'host', 'ip', '-o', 'link', 'show', 'type', 'macvlan')).toBe('');
  expect(made.stdout.trim()).toMatch(/^[0-9a-f]{64}$/);
  expect(await lab.leftovers()).toEqual([]);
});

test('published ports are ignored, and the user is told', async () => {
  const lab = await lanLab();
  await lab.ok(...CREATE, '-o', 'parent=lan0', 'mymacvlan');
  const { stderr, exitCode } = await lab.cli(
    'run',
    '-d',
    '--name',
    'web',
    '--network',
    'mymacvlan',
    '-p',
    '8080:80',
    '--',
    'sleep',
    '600',
  );
  expect([exitCode, stderr.trim()]).toEqual([
    0,
    'WARNING: Published ports are discarded: mymacvlan (macvlan) has no port mapping, its sandboxes are reached by their own addresses',
  ]);
});

test(
  'traffic goes on while the daemon is killed and comes back; what it left half-made is nothing',
  { timeout: 90_000 },
  async () => {
    const lab = await lanLab();
    await lab.ok(...CREATE, '-o', 'parent=lan0', '-o', 'host_access=true', 'mymacvlan');
    await lab.ok('run', '-d', '--name', 'web', '--network', 'mymacvlan', '--', lab.node, '-e', SERVE);
    const { Containers } = await inspect(lab);
    const web = Object.values(Containers ?? {})[0];
    const address = web?.IPv4Address.replace(/\/.*/, '') ?? '';
    await fetched(lab, address);
    await fetched(lab, address, 'host');
    const pinger = spawn('nsenter', [`--net=/run/netns/${lab.outside}`, 'ping', '-i', '0.05', '-w', '60', address]);
    children.push(pinger);
    let text = '';
    pinger.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const answered = (): number => [...text.matchAll(/bytes from/g)].length;
    for (let kills = 0; kills < 3; kills++) {
      await lab.stop('SIGKILL');
      const before = answered();
      await waitUntil(() => answered() > before + 5, LOOK_MS);
      await lab.start();
    }
    const ended = new Promise((resolve) => pinger.once('exit', resolve));
    pinger.kill('SIGINT');
    await ended;
    expect(/(\d+) packets transmitted, (\d+) received/.exec(text)?.slice(1)).toSatisfy(
      (counts: string[] | undefined) => Number(counts?.[0]) - Number(counts?.[1]) <= 1,
    );
    expect(Object.values((await inspect(lab)).Containers ?? {})[0]).toEqual(web);
    await fetched(lab, address, 'host');
    await lab.reboot();
    expect((await inspect(lab)).Degraded).toContain('parent lan0 is not there');
    await plugIn(lab);
    await waitUntil(async () => (await inspect(lab)).Degraded === undefined, 60_000);
    // The process has lived on, and with it the sandbox.
    await fetched(lab, address);
    await fetched(lab, address, 'host');
  },
);

test('a parent that goes is seen and said, and endpoints come back with it by themselves', { timeout: 60_000 }, async () => {
  const lab = await lanLab();
  await lab.ok(...CREATE, '-o', 'parent=lan0', 'mymacvlan');
  await lab.ok('run', '-d', '--name', 'web', '--network', 'mymacvlan', '--', lab.node, '-e', SERVE);
  const { Containers } = await inspect(lab);
  await fetched(lab, '10.0.0.2');
  await done(lab, 'host', 'ip', 'link', 'del', 'lan0');
  await waitUntil(async () => (await inspect(lab)).Degraded !== undefined, LOOK_MS);
  expect((await lab.cli('run', '-d', '--name', 'late', '--network', 'mymacvlan', '--', 'sleep', '9')).stderr).toContain(
    'the requested parent interface lan0 was not found on this host',
  );
  await plugIn(lab);
  await waitUntil(async () => (await inspect(lab)).Degraded === undefined, LOOK_MS);
  expect((await inspect(lab)).Containers).toEqual(Containers);
  await fetched(lab, '10.0.0.2');
  expect(lab.log).not.toMatch(/"level":50.*(routes|cannot be restored)/);
});
