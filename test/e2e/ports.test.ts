/** Published ports and the keeper that holds them, through the CLI: ranges, busy ports, lost rules, crashes. */

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { SandboxAnswer } from '../../src/base/index.ts';
import { Lab, WIRE, waitUntil } from './lab.ts';

let lab: Lab;
const children: ChildProcess[] = [];
beforeAll(async () => {
  lab = await Lab.open();
  await lab.ok('create', '--ipv6', 'net');
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const name of (await lab.ok('sandbox', 'ls', '-q')).split('\n').filter(Boolean)) await lab.ok('sandbox', 'rm', '-f', name);
});
afterAll(async () => {
  await lab.close();
});

const inspect = async (name: string): Promise<SandboxAnswer> =>
  (JSON.parse(await lab.ok('sandbox', 'inspect', name)) as SandboxAnswer[])[0] as SandboxAnswer;

/** A Node one-liner on the machine or outside, up when it prints a line. */
async function program(where: string, script: string): Promise<ChildProcess> {
  const child = spawn('nsenter', [`--net=${where}`, process.execPath, '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const first = createInterface({ input: child.stdout });
  await new Promise((resolve, reject) => {
    first.once('line', resolve);
    child.once('exit', () => reject(new Error('the program ended')));
  });
  return child;
}
const host = () => `/run/netns/${lab.host}`;
/** exit code of a TCP connect from outside: 0, or what the socket said. */
const connects = async (port: number, address: string = WIRE.host): Promise<string> => {
  const script = `const s=require('net').connect(${port},'${address}',()=>{console.log('open');process.exit()});s.on('error',e=>{console.log(e.code);process.exit()});setTimeout(()=>{console.log('hangs');process.exit()},3000)`;
  return (await lab.in('outside', process.execPath, '-e', script)).stdout;
};
const binds = async (port: number, kind: 'tcp' | 'udp' = 'tcp'): Promise<string> => {
  const script =
    kind === 'tcp'
      ? `require('net').createServer().listen({port:${port},host:'0.0.0.0'},()=>{console.log('bound');process.exit()}).on('error',e=>{console.log(e.code);process.exit()})`
      : `require('dgram').createSocket({type:'udp4',reuseAddr:true}).on('error',e=>{console.log(e.code);process.exit()}).bind(${port},()=>{console.log('bound');process.exit()})`;
  return (await lab.in('host', process.execPath, '-e', script)).stdout;
};

describe('publishing', () => {
  test('ranges, ephemeral ports, addresses and udp are as asked, and shown by port', async () => {
    await lab.ok(
      'sandbox',
      'create',
      'many',
      '--network',
      'net',
      '-p',
      '9000-9002:80-82',
      '-p',
      '127.0.0.1::90',
      '-p',
      '53:53/udp',
      '-p',
      `${WIRE.host}:9100:91`,
    );
    const lines = (await lab.ok('port', 'many')).split('\n');
    expect(lines).toEqual(
      expect.arrayContaining([
        '80/tcp -> 0.0.0.0:9000',
        '80/tcp -> [::]:9000',
        '82/tcp -> 0.0.0.0:9002',
        '53/udp -> [::]:53',
        `91/tcp -> ${WIRE.host}:9100`,
      ]),
    );
    const ephemeral = /90\/tcp -> 127\.0\.0\.1:(\d+)/.exec(lines.join('\n'))?.[1];
    const [from, to] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/).map(Number);
    expect(Number(ephemeral)).toBeGreaterThanOrEqual(from ?? 0);
    expect(Number(ephemeral)).toBeLessThanOrEqual(to ?? 0);
    expect(await lab.ok('port', 'many', '80')).toBe('0.0.0.0:9000\n[::]:9000');
    expect((await lab.cli('port', 'many', '99')).exitCode).toBe(1);
  });

  test('a udp port answers from outside, over IPv4 and IPv6', async () => {
    const echo = `const d=require('dgram');for(const t of ['udp4','udp6']){const s=d.createSocket({type:t,ipv6Only:t==='udp6'});s.on('message',(m,r)=>s.send('got '+m,r.port,r.address));s.bind(7000)}`;
    await lab.ok('run', '-d', '--name', 'udp', '--network', 'net', '-p', '7000:7000/udp', '--', process.execPath, '-e', echo);
    const ask = (family: 4 | 6, address: string) =>
      lab.in(
        'outside',
        process.execPath,
        '-e',
        `const s=require('dgram').createSocket('udp${family}');s.on('message',m=>{console.log(String(m));process.exit()});setInterval(()=>s.send('hi',7000,'${address}'),100);setTimeout(()=>process.exit(1),5000)`,
      );
    expect((await ask(4, WIRE.host)).stdout).toBe('got hi');
    expect((await ask(6, WIRE.host6)).stdout).toBe('got hi');
  });

  test('a port that a process holds is refused by name, and nothing is left', async () => {
    await program(host(), `require('net').createServer().listen(8081,'0.0.0.0',()=>console.log('up'))`);
    const before = (await lab.in('host', 'iptables-save')).stdout.replaceAll(/\[\d+:\d+\]|# .*/g, '');
    const refused = await lab.cli('sandbox', 'create', 'busy', '--network', 'net', '-p', '8082:80', '-p', '8081:81');
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toMatch(/0\.0\.0\.0:8081\/tcp.*in use/);
    expect(await lab.ok('sandbox', 'ls', '-q')).toBe('');
    expect((await lab.in('host', 'iptables-save')).stdout.replaceAll(/\[\d+:\d+\]|# .*/g, '')).toBe(before);
    expect(await binds(8082)).toBe('bound');
    expect(await lab.ok('sandbox', 'create', 'free', '--network', 'net', '-p', '8081-8085:80')).toMatch(/^[0-9a-f]{64}$/);
    expect(await lab.ok('port', 'free', '80')).toContain(':8082');
  });

  test('a port of another sandbox is refused, naming the sandbox', async () => {
    await lab.ok('sandbox', 'create', 'owner', '--network', 'net', '-p', '8090:80');
    const refused = await lab.cli('sandbox', 'create', 'late', '--network', 'net', '-p', '127.0.0.1:8090:80');
    expect(refused.stderr).toMatch(/port is already allocated.*sandbox owner/);
    await lab.ok('sandbox', 'rm', 'owner');
    await lab.ok('sandbox', 'create', 'late', '--network', 'net', '-p', '127.0.0.1:8090:80');
  });

  test('a port on loopback is closed from outside', async () => {
    await lab.ok(
      'run',
      '-d',
      '--name',
      'private',
      '--network',
      'net',
      '-p',
      '127.0.0.1:8070:80',
      '--',
      process.execPath,
      '-e',
      `require('http').createServer((q,r)=>r.end('in')).listen(80)`,
    );
    await waitUntil(
      async () => (await lab.in('host', 'curl', '-s', '-m', '1', 'http://127.0.0.1:8070/')).stdout === 'in',
      20_000,
    );
    expect(await connects(8070)).toBe('ECONNREFUSED');
  });

  test('published ports on an internal network are discarded with a warning', async () => {
    await lab.ok('create', '--internal', 'inner');
    const { stderr, exitCode } = await lab.cli('sandbox', 'create', 'in', '--network', 'inner', '-p', '8060:80');
    expect([exitCode, stderr]).toEqual([0, expect.stringContaining('discarded')]);
    expect(await lab.ok('port', 'in')).toBe('');
    expect(await binds(8060)).toBe('bound');
    await lab.ok('sandbox', 'rm', 'in');
    await lab.ok('rm', 'inner');
  });
});

describe('the keeper', () => {
  const SERVER = `require('http').createServer((q,r)=>r.end('here')).listen(80,'::')`;
  const keeperPids = (): number[] =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
          return (
            words.some((w) => w.endsWith('keeper.js')) && words.some((w) => w.includes(lab.runDir)) && words[0]?.includes('node')
          );
        } catch {
          return false;
        }
      })
      .map(Number);
  const asks = async (name: string): Promise<string> =>
    (await lab.cli('exec', 'asker', '--', 'dig', '+short', '+tries=1', '+time=1', name)).stdout;

  test('a host port is held against other processes, also while the daemon is down', async () => {
    await lab.ok('sandbox', 'create', 'box', '--network', 'net', '-p', '8100:80', '-p', '8100:80/udp');
    expect([await binds(8100), await binds(8100, 'udp')]).toEqual(['EADDRINUSE', 'EADDRINUSE']);
    await lab.stop('SIGTERM');
    expect([await binds(8100), await binds(8100, 'udp')]).toEqual(['EADDRINUSE', 'EADDRINUSE']);
    await lab.start();
    expect([await binds(8100), await binds(8100, 'udp')]).toEqual(['EADDRINUSE', 'EADDRINUSE']);
    await lab.ok('sandbox', 'rm', 'box');
    expect([await binds(8100), await binds(8100, 'udp')]).toEqual(['bound', 'bound']);
  });

  test('a lost rule means a refused connection, not one that hangs; the daemon and a start bring the rule back', async () => {
    await lab.ok('run', '-d', '--name', 'web', '--network', 'net', '-p', '8101:80', '--', process.execPath, '-e', SERVER);
    await waitUntil(async () => (await connects(8101)) === 'open', 20_000);
    await lab.in('host', 'iptables', '-t', 'nat', '-F');
    const seen = new Set<string>();
    await waitUntil(async () => {
      seen.add(await connects(8101));
      return seen.has('open');
    }, 20_000);
    expect([...seen].filter((one) => one !== 'open' && one !== 'ECONNREFUSED')).toEqual([]);
    await lab.stop('SIGTERM');
    await lab.in('host', 'iptables', '-t', 'nat', '-F');
    expect(await connects(8101)).toBe('ECONNREFUSED');
    await lab.start();
    expect(await connects(8101)).toBe('open');
  });

  test.each(['while the daemon runs', 'while the daemon is dead'])(
    'a udp client that began while rules were lost %s, and keeps its port, is answered when they are back',
    async (when) => {
      const isDead = when.endsWith('dead');
      const port = isDead ? 8104 : 8103;
      const echo = `const d=require('dgram');for(const t of ['udp4','udp6']){const s=d.createSocket({type:t,ipv6Only:t==='udp6'});s.on('message',(m,r)=>s.send('got '+m,r.port,r.address));s.bind(80)}`;
      await lab.ok('run', '-d', '--name', 'udp', '--network', 'net', '-p', `${port}:80/udp`, '--', process.execPath, '-e', echo);
      /** It asks every 0.3 s from one port, and ends when it is answered. */
      const asker = (where: string, own: number, family: 4 | 6, address: string): Promise<ChildProcess> =>
        program(
          where,
          `const s=require('dgram').createSocket('udp${family}');const ask=d=>s.send('hi',${port},'${address}',d);s.bind(${own},()=>{setInterval(ask,300);ask(()=>{console.log('asked');s.on('message',()=>process.exit())})})`,
        );
      const outside = `/run/netns/${lab.outside}`;
      const isAnswered = (one: ChildProcess): Promise<void> => waitUntil(() => one.exitCode === 0, 20_000);
      await isAnswered(await asker(outside, 4100, 4, WIRE.host));
      await isAnswered(await asker(outside, 4100, 6, WIRE.host6));
      if (isDead) await lab.stop('SIGKILL');
      const flush = await lab.in('host', 'sh', '-c', 'iptables -t nat -F; ip6tables -t nat -F');
      expect(flush.exitCode).toBe(0);
      const askers = await Promise.all([
        asker(outside, 4101, 4, WIRE.host),
        asker(outside, 4102, 6, WIRE.host6),
        asker(host(), 4103, 4, '127.0.0.1'),
      ]);
      if (isDead) await lab.start();
      await Promise.all(askers.map(isAnswered));
    },
  );

  test.each(['while the daemon runs', 'while the daemon is down'])(
    'killed %s, it is back within a second with names and ports',
    async (when) => {
      await lab.ok('run', '-d', '--name', 'web', '--network', 'net', '-p', '8102:80', '--', process.execPath, '-e', SERVER);
      await lab.ok('sandbox', 'create', 'asker', '--network', 'net');
      const address = (await inspect('web')).Networks['net']?.IPAddress;
      const { Netns } = await inspect('asker');
      expect(await asks('web')).toBe(address);
      if (when.endsWith('down')) await lab.stop('SIGTERM');
      const pids = keeperPids();
      expect(pids.length).toBeGreaterThan(0);
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      const inside = async (): Promise<string> =>
        (await lab.in('host', 'nsenter', `--net=${Netns}`, 'dig', '+short', '+tries=1', '+time=1', '@127.0.0.11', 'web')).stdout;
      await waitUntil(async () => (await inside()) === address, 10_000);
      await waitUntil(async () => (await binds(8102)) === 'EADDRINUSE', 10_000);
      expect(await connects(8102)).toBe('open');
      if (when.endsWith('down')) await lab.start();
      expect(await asks('web')).toBe(address);
      await lab.ok('sandbox', 'create', 'newer', '--network', 'net');
      expect(await asks('newer')).toBe((await inspect('newer')).Networks['net']?.IPAddress);
    },
  );

  test('a server inside a sandbox may have port 53 of every address', async () => {
    await lab.ok('sandbox', 'create', 'asker', '--network', 'net');
    const script = `const u=require('dgram').createSocket('udp4');u.bind(53,'0.0.0.0',()=>require('net').createServer().listen(53,'0.0.0.0',()=>{console.log('both');process.exit()}))`;
    expect((await lab.cli('exec', 'asker', '--', process.execPath, '-e', script)).stdout).toBe('both');
  });
});
