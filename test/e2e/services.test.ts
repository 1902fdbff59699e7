/** Services of networks that hosts share: three daemons on one underlay, a real etcd of three members. */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ServiceJson } from '../../src/base/index.ts';
import { EtcdCluster } from '../contract/etcd.ts';
import { Lab, WIRE, waitUntil } from './lab.ts';

const NAMES = ['one', 'two', 'three'] as const;
const LATE_MS = 40_000;
/** The shortest that may be asked for. */
const LEASE_S = 3;

let etcd: EtcdCluster;
let hosts: Lab[];
const servers = new Map<string, ChildProcess>();
const underlay = `pbv-${randomBytes(3).toString('hex')}`;

const ip = (netns: string, ...args: string[]) => execa('ip', ['-n', netns, ...args]);

async function host(name: string, i: number): Promise<Lab> {
  const cluster = ['--cluster', etcd.address('/services'), '--node-name', name];
  return Lab.open({ flags: [...cluster, '--advertise', `192.0.2.${i + 1}`, '--node-lease', String(LEASE_S)] });
}

/** One wire for all. */
async function join(lab: Lab, i: number): Promise<void> {
  await ip(underlay, 'link', 'add', `h${i}`, 'type', 'veth', 'peer', 'name', 'under', 'netns', lab.host);
  await ip(underlay, 'link', 'set', `h${i}`, 'master', 'wire', 'up');
  await ip(lab.host, 'addr', 'add', `192.0.2.${i + 1}/24`, 'dev', 'under');
  await ip(lab.host, 'link', 'set', 'under', 'up');
}

beforeAll(async () => {
  etcd = await EtcdCluster.start(3);
  await execa('ip', ['netns', 'add', underlay]);
  await ip(underlay, 'link', 'add', 'name', 'wire', 'type', 'bridge');
  await ip(underlay, 'link', 'set', 'wire', 'up');
  hosts = [];
  for (const [i, name] of NAMES.entries()) hosts.push(await host(name, i));
  for (const [i, lab] of hosts.entries()) await join(lab, i);
  await lab(0).ok('create', '-d', 'overlay', '--subnet', '10.78.0.0/24', 'blue');
  for (const i of [0, 1, 2]) await lab(i).ok('sandbox', 'create', '--network', 'blue', `client-${i}`);
}, 120_000);
afterAll(async () => {
  for (const server of servers.values()) server.kill('SIGKILL');
  for (const one of hosts ?? []) await one.close();
  await execa('ip', ['netns', 'del', underlay], { reject: false });
  await etcd.close();
});

const lab = (i: number): Lab => {
  const found = hosts[i];
  if (found === undefined) throw new Error(`no host ${i}`);
  return found;
};

/** Answers one line, its own name and who asks, and closes when the client does. */
const SERVER = `
const [name] = process.argv.slice(1);
const server = require('node:net').createServer((s) => { s.on('error', () => {}); s.write(name + ' ' + s.remoteAddress + '\\n'); s.on('end', () => s.end()); });
server.listen(80, '0.0.0.0', 1024, () => console.log('up'));
process.on('SIGTERM', () => server.close());
`;

/** A sandbox with a server in it. */
async function serve(i: number, name: string): Promise<void> {
  if ((await lab(i).cli('sandbox', 'inspect', name)).exitCode !== 0)
    await lab(i).ok('sandbox', 'create', '--network', 'blue', name);
  const key = await lab(i).ok('sandbox', 'inspect', '--format', '{{.Netns}}', name);
  const child = spawn('nsenter', [`--net=${key}`, process.execPath, '-e', SERVER, name], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  servers.set(name, child);
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    child.once('exit', reject);
  });
}

function kill(name: string): void {
  servers.get(name)?.kill('SIGKILL');
  servers.delete(name);
}

const addressOf = (i: number, sandbox: string) =>
  lab(i).ok('sandbox', 'inspect', '--format', '{{.Networks.blue.IPAddress}}', sandbox);
async function resolved(i: number, name: string): Promise<string[]> {
  const { stdout } = await lab(i).cli('exec', `client-${i}`, 'getent', 'ahostsv4', name);
  return [...new Set(stdout.split('\n').flatMap((line) => line.split(' ')[0] || []))].toSorted();
}
async function service(i: number, name: string): Promise<ServiceJson> {
  const [found] = JSON.parse(await lab(i).ok('service', 'inspect', name)) as ServiceJson[];
  if (found === undefined) throw new Error(`no service ${name}`);
  return found;
}
const statesOf = async (i: number, name: string): Promise<string> =>
  (await service(i, name)).Members.map(({ Name, State, Host }) => `${Name} ${State} ${Host}`).join(', ');
const everywhere = (name: string, wanted: readonly string[]) =>
  waitUntil(async () => {
    for (const i of [0, 1, 2]) if (`${await resolved(i, name)}` !== `${wanted.toSorted()}`) return false;
    return true;
  }, LATE_MS);

test('a service made on one host is there on all, and its members are whoever has been added anywhere', async () => {
  const id = await lab(0).ok(
    'service',
    'create',
    '--network',
    'blue',
    '--health-tcp',
    '80',
    '--health-interval',
    '200ms',
    '--health-retries',
    '1',
    'web',
  );
  for (const i of [0, 1, 2]) await waitUntil(async () => (await lab(i).ok('service', 'ls', '-q', '--no-trunc')) === id, LATE_MS);
  const [vip] = (await service(2, 'web')).VirtualIPs;
  await everywhere('web', [vip ?? '']);
  expect(await lab(1).cli('service', 'create', '--network', 'blue', 'web')).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('already exists'),
  });
  expect(await lab(1).cli('rm', 'blue')).toMatchObject({ exitCode: 1 });
  for (const i of [0, 1, 2]) {
    await serve(i, `web-${i}`);
    await lab(i).ok('service', 'add', 'web', `web-${i}`);
  }
  const addresses = await Promise.all([0, 1, 2].map((i) => addressOf(i, `web-${i}`)));
  await everywhere('tasks.web', addresses);
  expect(await statesOf(1, 'web')).toBe('web-0 healthy one, web-1 healthy two, web-2 healthy three');
  const [net] = JSON.parse(await lab(1).ok('inspect', '-v', 'blue')) as {
    Services: Record<string, { VIP: string; Tasks: unknown[] }>;
  }[];
  expect(net?.Services['web']).toMatchObject({ VIP: vip, Tasks: [{}, {}, {}] });
});

test('a member that fails its check is out of all hosts, and back when it passes', async () => {
  const [a, b, c] = await Promise.all([0, 1, 2].map((i) => addressOf(i, `web-${i}`)));
  kill('web-1');
  await everywhere('tasks.web', [a ?? '', c ?? '']);
  await serve(1, 'web-1');
  await everywhere('tasks.web', [a ?? '', b ?? '', c ?? '']);
});

/** Answers at /well as long as the file is there. */
const HTTP_SERVER = `
const { existsSync } = require('node:fs');
const [file] = process.argv.slice(1);
const answer = (q, r) => { r.statusCode = q.url === '/well' && existsSync(file) ? 204 : 503; r.end(); };
require('node:http').createServer(answer).listen(8000, '0.0.0.0', () => console.log('up'));
`;

test('a check by HTTP and one by a command say who serves, on all hosts', async () => {
  const file = `${lab(0).folder}/well`;
  const often = ['--health-interval', '200ms', '--health-retries', '1'];
  const checks = { 'by-http': ['--health-http', ':8000/well'], 'by-command': ['--health-cmd', `cat ${file} | grep -q yes`] };
  await lab(0).ok('sandbox', 'create', '--network', 'blue', 'checked');
  const key = await lab(0).ok('sandbox', 'inspect', '--format', '{{.Netns}}', 'checked');
  const server = spawn('nsenter', [`--net=${key}`, process.execPath, '-e', HTTP_SERVER, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  servers.set('checked', server);
  await once(server.stdout, 'data');
  const state = async (wanted: string): Promise<void> => {
    for (const name of Object.keys(checks))
      await waitUntil(async () => (await statesOf(1, name)) === `checked ${wanted} one`, LATE_MS);
  };
  for (const [name, check] of Object.entries(checks)) {
    await lab(0).ok('service', 'create', '--network', 'blue', ...check, ...often, name);
    await lab(0).ok('service', 'add', name, 'checked');
  }
  await state('unhealthy');
  writeFileSync(file, 'yes');
  await state('healthy');
  rmSync(file);
  await state('unhealthy');
  for (const name of Object.keys(checks)) await lab(0).ok('service', 'rm', name);
  kill('checked');
  await lab(0).ok('sandbox', 'rm', 'checked');
});

test('one that drains gets nobody new, serves again when it is added, and goes when it is removed', async () => {
  const [a, b, c] = await Promise.all([0, 1, 2].map((i) => addressOf(i, `web-${i}`)));
  await lab(2).ok('service', 'drain', 'web', 'web-2');
  await everywhere('tasks.web', [a ?? '', b ?? '']);
  expect(await statesOf(0, 'web')).toContain('web-2 draining three');
  await lab(2).ok('service', 'add', 'web', 'web-2');
  await everywhere('tasks.web', [a ?? '', b ?? '', c ?? '']);
  await lab(2).ok('service', 'remove', '--wait', 'web', 'web-2');
  await waitUntil(async () => !(await statesOf(0, 'web')).includes('web-2'), LATE_MS);
  await lab(2).ok('service', 'add', 'web', 'web-2');
  await everywhere('tasks.web', [a ?? '', b ?? '', c ?? '']);
});

/** How many of the connections reached whom, what failed and what was refused, since the last report. */
interface Report {
  readonly names: Record<string, number>;
  readonly from: readonly string[];
  readonly failed: readonly string[];
  readonly refused: number;
}

/** Connects to an address again and again, several at once; holds each for a while, and expects a whole answer and a clean end. */
const LOADER = `
const net = require('node:net');
const [address, width, holdMs] = process.argv.slice(1);
const fresh = () => ({ names: {}, from: new Set(), failed: [], refused: 0 });
let report = fresh();
function once() {
  let text = '';
  const socket = net.connect({ host: address, port: 80 });
  const timer = setTimeout(() => socket.destroy(new Error('timed out')), 10_000);
  socket.on('connect', () => setTimeout(() => socket.end(), Math.random() * Number(holdMs)));
  socket.on('data', (data) => (text += data));
  socket.on('error', (error) => (error.code === 'ECONNREFUSED' ? report.refused++ : report.failed.push(error.code ?? error.message)));
  socket.on('close', (hadError) => {
    clearTimeout(timer);
    const [, name, from] = /^(\\S+) (\\S+)\\n$/.exec(text) ?? [];
    if (!hadError && name === undefined) report.failed.push('half an answer');
    if (!hadError && name !== undefined) { report.names[name] = (report.names[name] ?? 0) + 1; report.from.add(from); }
    setTimeout(once, hadError ? 20 : 0);
  });
}
for (let i = 0; i < Number(width); i++) once();
process.stdin.on('data', () => { console.log(JSON.stringify({ ...report, from: [...report.from] })); report = fresh(); });
process.stdin.on('end', () => process.exit(0));
`;

class Load implements Disposable {
  readonly #child;
  constructor(key: string, address: string, width: number, holdMs: number) {
    const words = [`--net=${key}`, process.execPath, '-e', LOADER, address, String(width), String(holdMs)];
    this.#child = spawn('nsenter', words, { stdio: ['pipe', 'pipe', 'inherit'] });
  }
  async report(): Promise<Report> {
    const answer = once(this.#child.stdout, 'data') as Promise<[Buffer]>;
    this.#child.stdin.write('report\n');
    return JSON.parse(String((await answer)[0])) as Report;
  }
  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
const load = async (i: number, address: string, width = 8, holdMs = 200): Promise<Load> =>
  new Load(await lab(i).ok('sandbox', 'inspect', '--format', '{{.Netns}}', `client-${i}`), address, width, holdMs);
/** Reports of a load, added up until `isEnough`. */
async function sumOf(from: Load, isEnough: (sum: number) => boolean): Promise<Record<string, number>> {
  const sums: Record<string, number> = {};
  await waitUntil(async () => {
    const { names, failed, refused } = await from.report();
    expect([failed, refused]).toEqual([[], 0]);
    for (const [name, count] of Object.entries(names)) sums[name] = (sums[name] ?? 0) + count;
    return isEnough(Object.values(sums).reduce((a, b) => a + b, 0));
  }, LATE_MS);
  return sums;
}

const vipOf = async (): Promise<string> => (await service(0, 'web')).VirtualIPs[0] ?? '';

test('each client balances over all members evenly, and members see its own address', { timeout: 120_000 }, async () => {
  for (const i of [0, 1, 2]) {
    using some = await load(i, await vipOf(), 16, 0);
    const address = await addressOf(i, `client-${i}`);
    const sums = Object.values(await sumOf(some, (sum) => sum >= 3000));
    expect(sums).toHaveLength(3);
    const mean = sums.reduce((a, b) => a + b, 0) / 3;
    for (const count of sums) expect(Math.abs(count - mean)).toBeLessThan(mean / 10);
    await waitUntil(async () => (await some.report()).from.length > 0, LATE_MS);
    expect((await some.report()).from.filter((one) => one !== address)).toEqual([]);
  }
});

test('a member that is killed is missed until its check has seen it, and not after', { timeout: 120_000 }, async () => {
  const [a, b, c] = await Promise.all([0, 1, 2].map((i) => addressOf(i, `web-${i}`)));
  using some = await load(0, await vipOf());
  kill('web-2');
  await everywhere('tasks.web', [a ?? '', b ?? '']);
  // Those that were on their way when it was found.
  await waitUntil(async () => (await some.report()).refused === 0, LATE_MS);
  await some.report();
  expect(Object.keys(await sumOf(some, (sum) => sum > 200)).toSorted()).toEqual(['web-0', 'web-1']);
  await serve(2, 'web-2');
  await everywhere('tasks.web', [a ?? '', b ?? '', c ?? '']);
});

test(
  '1 → 5 → 0 → 3 under load: no connection fails, and only without a member one is refused',
  { timeout: 240_000 },
  async () => {
    await lab(0).ok('service', 'create', '--network', 'blue', 'scaled');
    const [vip] = (await service(0, 'scaled')).VirtualIPs;
    const up = async (n: number): Promise<void> => {
      await serve(n % 3, `s-${n}`);
      await lab(n % 3).ok('service', 'add', 'scaled', `s-${n}`);
    };
    const down = async (n: number): Promise<void> => {
      await lab(n % 3).ok('service', 'remove', '--wait', 'scaled', `s-${n}`);
      await waitUntil(async () => !(await statesOf(0, 'scaled')).includes(`s-${n} `), LATE_MS);
      kill(`s-${n}`);
    };
    await up(0);
    const served = async (i: number): Promise<boolean> => (await resolved(i, 'tasks.scaled')).length > 0;
    for (const i of [0, 1, 2]) await waitUntil(() => served(i), LATE_MS);
    const loads = [await load(0, vip ?? ''), await load(1, vip ?? ''), await load(2, vip ?? '')];
    try {
      const reports = () => Promise.all(loads.map((one) => one.report()));
      for (const n of [1, 2, 3, 4]) await up(n);
      for (const one of loads) await sumOf(one, (sum) => sum > 100);
      for (const n of [0, 1, 2, 3]) await down(n);
      for (const { failed, refused } of await reports()) expect([failed, refused]).toEqual([[], 0]);
      await down(4);
      await waitUntil(async () => (await reports()).every(({ names }) => Object.keys(names).length === 0), LATE_MS);
      for (const { failed } of await reports()) expect(failed).toEqual([]);
      for (const n of [5, 6, 7]) await up(n);
      for (const i of [0, 1, 2]) await waitUntil(async () => (await resolved(i, 'tasks.scaled')).length === 3, LATE_MS);
      for (const { failed } of await reports()) expect(failed).toEqual([]);
      for (const one of loads)
        expect(Object.keys(await sumOf(one, (sum) => sum > 100)).toSorted()).toEqual(['s-5', 's-6', 's-7']);
    } finally {
      for (const one of loads) one[Symbol.dispose]();
    }
    await lab(1).ok('service', 'rm', 'scaled');
    for (const n of [5, 6, 7]) kill(`s-${n}`);
  },
);

/** Prints what the first answer says; nothing when nobody answers. */
const ASKER = `
const socket = require('node:net').connect({ host: process.argv[1], port: 8080 });
setTimeout(() => process.exit(1), 3000);
socket.on('error', () => process.exit(1));
socket.on('data', (data) => process.stdout.write(data, () => process.exit(0)));
`;

test(
  'a published port answers on every host, also on one without a member, and nowhere when the service is gone',
  { timeout: 120_000 },
  async () => {
    const id = await lab(0).ok('service', 'create', '--network', 'blue', '-p', '8080:80', 'open');
    for (const i of [0, 1]) await lab(i).ok('service', 'add', 'open', `web-${i}`);
    const asked = async (i: number, from: 'host' | 'outside'): Promise<string> => {
      // From a host that of the next one, over the underlay.
      const at = from === 'host' ? `192.0.2.${((i + 1) % 3) + 1}` : WIRE.host;
      const { stdout } = await lab(i).in(from, process.execPath, '-e', ASKER, at);
      return stdout.split(' ')[0] ?? '';
    };
    for (const i of [0, 1, 2])
      for (const from of ['host', 'outside'] as const) {
        const names = new Set<string>();
        await waitUntil(async () => {
          names.add(await asked(i, from));
          return names.has('web-0') && names.has('web-1');
        }, LATE_MS);
      }
    for (const i of [0, 1, 2]) {
      expect(await lab(i).ok('sandbox', 'ls', '-a', '--filter', 'network=blue')).toContain(`ingress_${id.slice(0, 12)}`);
      expect(await lab(i).ok('sandbox', 'ls', '--filter', 'network=blue')).not.toContain('ingress_');
    }
    // Ours and the engine's words for who has the port.
    const twice = await lab(2).cli('service', 'create', '--network', 'blue', '-p', '8080:81', 'other');
    expect(twice).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('8080') });
    await lab(1).ok('service', 'rm', id);
    for (const i of [0, 1, 2]) await waitUntil(async () => (await asked(i, 'host')) === '', LATE_MS);
    for (const i of [0, 1, 2])
      await waitUntil(async () => !(await lab(i).ok('sandbox', 'ls', '-a')).includes('ingress_'), LATE_MS);
  },
);

test('a daemon that is killed takes no name with it, a host that dies takes its members until it is back', async () => {
  const [a, b, c] = await Promise.all([0, 1, 2].map((i) => addressOf(i, `web-${i}`)));
  const vips = (await service(0, 'web')).VirtualIPs;
  await lab(1).stop('SIGKILL');
  await waitUntil(async () => `${await resolved(0, 'tasks.web')}` === `${[a, c].toSorted()}`, LATE_MS);
  expect(await statesOf(0, 'web')).toContain('web-1 down two');
  await lab(1).start();
  await everywhere('tasks.web', [a ?? '', b ?? '', c ?? '']);
  await everywhere(
    'web',
    vips.filter((one) => !one.includes(':')),
  );
});

test('without etcd nothing is added, and who fails is out of its own host; later all hosts agree', async () => {
  const [a, b, c] = await Promise.all([0, 1, 2].map((i) => addressOf(i, `web-${i}`)));
  await etcd.killAll();
  expect((await lab(0).cli('service', 'create', '--network', 'blue', 'other')).stderr).toMatch(/cluster|etcd|store/);
  expect((await lab(0).cli('service', 'rm', 'web')).exitCode).toBe(1);
  expect((await lab(0).cli('service', 'add', 'web', 'client-0')).exitCode).toBe(1);
  kill('web-0');
  await waitUntil(async () => `${await resolved(0, 'tasks.web')}` === `${[b, c].toSorted()}`, LATE_MS);
  await lab(2).stop('SIGKILL');
  await lab(2).start();
  expect(await resolved(2, 'tasks.web')).toContain(c);
  await etcd.startAll();
  await everywhere('tasks.web', [b ?? '', c ?? '']);
  await serve(0, 'web-0');
  await everywhere('tasks.web', [a ?? '', b ?? '', c ?? '']);
});

test('data made anew: services, names and members are told again', { timeout: 120_000 }, async () => {
  const [vip] = (await service(0, 'web')).VirtualIPs;
  await etcd.killAll();
  etcd.forget();
  await etcd.startAll();
  await waitUntil(
    async () => (await statesOf(1, 'web').catch(() => '')) === 'web-0 healthy one, web-1 healthy two, web-2 healthy three',
    LATE_MS,
  );
  await everywhere('web', [vip ?? '']);
  await waitUntil(async () => (await lab(1).cli('service', 'create', '--network', 'blue', 'second')).exitCode === 0, LATE_MS);
  expect((await service(1, 'second')).VirtualIPs).not.toContain(vip);
  expect((await lab(2).cli('service', 'create', '--network', 'blue', 'web')).exitCode).toBe(1);
  await lab(1).ok('service', 'rm', 'second');
});

test('a service is removed from everywhere while a host is away, and its name and network are free', async () => {
  await lab(2).stop('SIGKILL');
  await lab(0).ok('service', 'rm', 'web');
  await waitUntil(async () => (await resolved(1, 'web')).length === 0, LATE_MS);
  await lab(2).start();
  await waitUntil(async () => (await lab(2).ok('service', 'ls', '-q')) === '', LATE_MS);
  await everywhere('tasks.web', []);
  await everywhere('web', []);
  await lab(2).ok('service', 'create', '--network', 'blue', 'web');
  await lab(0).ok('service', 'rm', 'web');
});
